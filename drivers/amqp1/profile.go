package amqp1

import (
	"strings"

	"github.com/patchbay-go/patchbay/messaging"
)

// profile says what a broker does where AMQP 1.0 leaves it open. To add a broker,
// write one in a file of its own and add it to profiles.
type profile struct {
	name    string // of the option "broker"
	product string // what the peer's property "product" begins with; empty: none, it has to be asked for

	// capabilities of a broker of that version.
	capabilities func(version string) messaging.Capabilities

	// hostname is how a virtual host is asked for when a connection is opened.
	hostname func(vhost string) string

	// target is where messages for a node are sent, and source where they are
	// received from.
	target func(n node) terminus
	source func(n node) terminus

	// queue is what has to be declared before a node can be received from, with a
	// name of limit bytes at most (0: none); nil: nothing has to be. The func is nil if
	// the broker makes nodes when they are attached to.
	queue func(n node, instance string) *queue
	limit int

	// managed is the profile of a broker whose REST port is given. Nil: it has none, or
	// needs none.
	managed *profile

	// relays: the peer takes links that are attached to no node, for targets that
	// are anonymous. The others have a link each.
	relays bool

	// dynamicReply: the broker chooses reply addresses, and they end with their
	// connection.
	dynamicReply bool

	// legacyOslo: with wire=oslo, the older of oslo.messaging's two addressings is the
	// one that works.
	legacyOslo bool

	// absent is the name of a node that is not there. Mandatory delivery is
	// possible only if a link to it is refused: a broker that was told to make
	// nodes for senders too would accept messages that nobody ever gets. Empty:
	// the capabilities are right as they are.
	absent string

	// open is the address of a node that is always there, where links are not
	// anonymous: from a link to it the size of the largest message is known.
	open string

	// answers reports whether a reply to that address, which anybody can name in his
	// request, costs others nothing. Nil: no address does.
	answers func(address string) bool

	// noRoute: a message that the broker releases had nowhere to go. Else it was
	// not taken, and may be sent again.
	noRoute bool

	// How a delivery is settled: Ack is always accepted.
	requeue settlement
	drop    settlement

	// drains: the broker answers when credit is drained although it has
	// nothing to send.
	drains bool

	// firstAcquirer: the broker says by that field whether a message was delivered
	// before. Else it does by the count of deliveries.
	firstAcquirer bool
}

// settlement is an outcome of a delivery in AMQP 1.0.
type settlement uint8

const (
	accepted settlement = iota
	rejected
	released // not an attempt
	failed   // modified: one more attempt
)

// profiles are the brokers that are known, the last for all others.
func profiles() []*profile {
	return []*profile{rabbitMQ(), brokerJ(), artemis(), generic()}
}

func profileNames() []string {
	var names []string
	for _, p := range profiles() {
		names = append(names, p.name)
	}
	return names
}

// profileNamed returns the profile that the option names, nil for none.
func profileNamed(name string) *profile {
	for _, p := range profiles() {
		if p.name == name {
			return p
		}
	}
	return nil
}

// profileOf returns the profile for what a peer says it is.
func profileOf(product string) *profile {
	all := profiles()
	for _, p := range all {
		if p.product != "" && strings.HasPrefix(product, p.product) {
			return p
		}
	}
	return all[len(all)-1]
}

// plainHost asks for a virtual host by its name.
func plainHost(vhost string) string { return vhost }

// wasDelivered reports whether a message was delivered before.
func (p *profile) wasDelivered(a *arrival) bool {
	return a.count > 0 || p.firstAcquirer && a.header && !a.first
}
