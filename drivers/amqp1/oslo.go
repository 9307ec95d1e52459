package amqp1

import (
	"strings"

	"github.com/patchbay-go/patchbay/messaging"
)

// osloAddresses are the options of oslo.messaging's old amqp1 driver that say how
// it makes addresses. It had two ways: with dots, for brokers, and with slashes,
// for routers.
type osloAddresses struct {
	mode     string // of addressing_mode
	exchange string // where an address names none
	notify   string // the same for notifications
	vhost    string // part of the addresses; empty: none

	// Legacy.
	server, broadcast, group string

	// Routable.
	rpc, notes                  string
	multicast, unicast, anycast string
}

const (
	modeDynamic  = "dynamic"
	modeLegacy   = "legacy"
	modeRoutable = "routable"
)

// osloOptions are the names of the options that mean nothing without wire=oslo.
func osloOptions() []string {
	return []string{
		"addressing_mode", "pseudo_vhost", "server_request_prefix", "broadcast_prefix", "group_request_prefix",
		"rpc_address_prefix", "notify_address_prefix", "multicast_address", "unicast_address", "anycast_address",
		"default_rpc_exchange", "default_notification_exchange",
	}
}

func readOsloAddresses(r *messaging.OptionReader, o *options) osloAddresses {
	a := osloAddresses{
		mode:      r.Enum("addressing_mode", modeDynamic, modeDynamic, modeLegacy, modeRoutable),
		exchange:  r.String("default_rpc_exchange", o.controlExchange),
		notify:    r.String("default_notification_exchange", o.controlExchange),
		server:    r.String("server_request_prefix", "exclusive"),
		broadcast: r.String("broadcast_prefix", "broadcast"),
		group:     r.String("group_request_prefix", "unicast"),
		rpc:       r.String("rpc_address_prefix", "openstack.org/om/rpc"),
		notes:     r.String("notify_address_prefix", "openstack.org/om/notify"),
		multicast: r.String("multicast_address", "multicast"),
		unicast:   r.String("unicast_address", "unicast"),
		anycast:   r.String("anycast_address", "anycast"),
	}
	if pseudo := r.Bool("pseudo_vhost", true); pseudo && o.wire == wireOslo {
		// The virtual host is a part of the addresses, and not asked for.
		a.vhost, o.vhost = o.vhost, ""
	}
	return a
}

// addressing returns how addresses are made for a broker.
func (o *options) addressing(p *profile) addressing {
	switch {
	case o.wire != wireOslo:
		return nativeAddresses{o.controlExchange}
	case o.oslo.mode == modeLegacy, o.oslo.mode == modeDynamic && p.legacyOslo:
		return legacyAddresses(o.oslo)
	}
	return routableAddresses(o.oslo)
}

// exchangeOf returns the exchange of an address.
func (o *osloAddresses) exchangeOf(a messaging.Address) string {
	switch {
	case a.Exchange != "":
		return a.Exchange
	case a.Kind == messaging.KindNotify:
		return o.notify
	}
	return o.exchange
}

// kindOf returns the kind of node of an address.
func kindOf(a messaging.Address) nodeKind {
	switch {
	case a.Kind == messaging.KindNotify:
		return nodeNotes
	case a.Fanout:
		return nodeBroadcast
	}
	return nodeWork
}

type legacyAddresses osloAddresses

func (l legacyAddresses) node(a messaging.Address) node {
	o := osloAddresses(l)
	prefix, last := o.group, ""
	switch {
	case a.Fanout:
		prefix, last = o.broadcast, "all"
	case a.Server != "":
		prefix, last = o.server, a.Server
	}
	return node{kindOf(a), joinParts(".", prefix, o.vhost, o.exchangeOf(a), a.Topic, last)}
}

type routableAddresses osloAddresses

func (r routableAddresses) node(a messaging.Address) node {
	o := osloAddresses(r)
	prefix, how := o.rpc, o.anycast
	switch {
	case a.Kind == messaging.KindNotify:
		prefix = o.notes
	case a.Fanout:
		how = o.multicast
	case a.Server != "":
		how = o.unicast
	}
	return node{kindOf(a), joinParts("/", prefix, how, o.vhost, o.exchangeOf(a), a.Topic, a.Server)}
}

// joinParts joins what is not empty.
func joinParts(separator string, parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		if p == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(separator)
		}
		b.WriteString(p)
	}
	return b.String()
}
