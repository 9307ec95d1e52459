package amqp1

import "github.com/patchbay-go/patchbay/messaging"

// brokerJ is Qpid Broker-J. Its virtual host has to have policies that make a
// queue when somebody receives from it, or its REST port is given; broadcasts go over
// an exchange that is always there.
func brokerJ() *profile {
	const exchange = "amq.direct"
	p := &profile{
		name:     "qpid",
		product:  "Apache Qpid Broker-J",
		hostname: plainHost,
		capabilities: func(string) messaging.Capabilities {
			return messaging.Capabilities{
				Durable: true, Ordered: true, Requeue: true, Mandatory: true, TTL: true,
				OfflineCast: true, DeliveryCount: true, StableReply: true, Exchanges: true,
			}
		},
		// A link for each: one unknown address on an anonymous one ends the connection.
		target: func(n node) terminus {
			if n.kind == nodeBroadcast {
				return terminus{address: exchange, subject: n.name}
			}
			return terminus{address: n.name}
		},
		source: func(n node) terminus {
			if n.kind == nodeBroadcast {
				return terminus{address: exchange + "/" + n.name}
			}
			return terminus{address: n.name}
		},
		legacyOslo: true,
		absent:     "rpc.patchbay.nobody",
		open:       exchange,
		requeue:    failed,
		drop:       accepted, // what is rejected comes again, for ever
		drains:     true,
	}
	managed := *p
	managed.queue = func(n node, _ string) *queue {
		if n.kind == nodeBroadcast {
			return nil // it makes a queue for each link to an exchange
		}
		return &queue{name: n.name, private: n.kind == nodeReply}
	}
	p.managed = &managed
	return p
}
