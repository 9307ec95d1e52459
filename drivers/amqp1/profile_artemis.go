package amqp1

import "github.com/patchbay-go/patchbay/messaging"

// artemis is Apache ActiveMQ Artemis. It makes a queue, or an address with
// subscribers, for whoever attaches or sends, and accepts what goes to nobody.
func artemis() *profile {
	queues, topics := []string{"queue"}, []string{"topic"}
	place := func(n node) terminus {
		switch n.kind {
		case nodeBroadcast:
			return terminus{address: n.name, capabilities: topics}
		case nodeReply: // there are many; and one to who has left must not make a queue
			return terminus{address: n.name, capabilities: queues, anonymous: true}
		}
		return terminus{address: n.name, capabilities: queues}
	}
	return &profile{
		name:     "artemis",
		product:  "apache-activemq-artemis",
		hostname: plainHost,
		capabilities: func(string) messaging.Capabilities {
			return messaging.Capabilities{
				Durable: true, Ordered: true, Requeue: true, TTL: true, Priority: true,
				OfflineCast: true, DeliveryCount: true, StableReply: true, Exchanges: true,
			}
		},
		target:  place,
		source:  place,
		relays:  true,
		requeue: failed,
		drop:    rejected, // kept aside, if the address has a dead-letter-address
		drains:  false,
	}
}
