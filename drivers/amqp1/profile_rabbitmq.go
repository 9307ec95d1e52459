package amqp1

import (
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/patchbay-go/patchbay/messaging"
)

// rabbitMQ is RabbitMQ 4. Queues are declared over its management node, and bound
// to an exchange that is always there: one for each node that is shared, one for
// each listener of a broadcast. All of them are durable, since RabbitMQ is about
// to refuse those that are neither durable nor exclusive.
func rabbitMQ() *profile {
	const exchange = "amq.direct"
	queueAddress := func(name string) string { return "/queues/" + url.PathEscape(name) }
	p := &profile{
		name:          "rabbitmq",
		product:       "RabbitMQ",
		hostname:      func(vhost string) string { return "vhost:" + vhost },
		limit:         255,
		relays:        true,
		answers:       isQueueAddress,
		noRoute:       true,
		requeue:       failed,
		drop:          rejected, // dead-lettered, if the queue's policy says so
		drains:        true,
		firstAcquirer: true,
	}
	p.capabilities = func(version string) messaging.Capabilities {
		return messaging.Capabilities{
			Durable: true, Ordered: true, Requeue: true, Mandatory: true, TTL: true, Groups: true,
			OfflineCast: true, StableReply: true, Exchanges: true,
			DeliveryCount: atLeast(version, 4, 3), // before, a classic queue does not count what was given back
		}
	}
	p.target = func(n node) terminus {
		name := fit(n.name, p.limit)
		switch n.kind {
		case nodeNotes, nodeBroadcast:
			return terminus{address: "/exchanges/" + exchange + "/" + url.PathEscape(name), anonymous: true}
		}
		return terminus{address: queueAddress(name), anonymous: true}
	}
	p.source = func(n node) terminus { return terminus{address: queueAddress(fit(n.name, p.limit))} }
	p.queue = func(n node, instance string) *queue {
		q := &queue{name: fit(n.name, p.limit)}
		switch n.kind {
		case nodeBroadcast:
			return &queue{name: fit(n.name+"."+instance, p.limit), private: true, bindings: []string{q.name}}
		case nodeNotes:
			q.bindings = []string{q.name}
		case nodeReply:
			q.private = true
		}
		return q
	}
	return p
}

// isQueueAddress reports whether an address is one of a queue. For one of another
// form, or of an exchange that is not there, the broker ends the link, which all
// share, and then its session for what had been sent after it: others' replies. 4.0
// sometimes overlooks the session that is begun next, too.
func isQueueAddress(address string) bool {
	escaped, ok := strings.CutPrefix(address, "/queues/")
	if !ok || escaped == "" || strings.Contains(escaped, "/") {
		return false
	}
	name, err := url.PathUnescape(escaped)
	return err == nil && utf8.ValidString(name)
}

// atLeast compares the beginning of a version.
func atLeast(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, err1 := strconv.Atoi(parts[0])
	b, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (a > major || a == major && b >= minor)
}
