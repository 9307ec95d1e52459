package amqp1

import "github.com/patchbay-go/patchbay/messaging"

// artemis is Apache ActiveMQ Artemis. It makes a queue, or an address with
// subscribers, for whoever attaches or sends, and accepts what goes to nobody.
func artemis() *profile {
	// What a link says by a capability, a message on an anonymous link says by
	// this annotation: that its address is a queue, or one that is broadcast.
	const destination = "x-opt-jms-dest"
	var (
		toQueue = map[any]any{destination: int8(0)}
		toTopic = map[any]any{destination: int8(1)}
		queues  = []string{"queue"}
		topics  = []string{"topic"}
	)
	place := func(n node) terminus {
		switch n.kind {
		case nodeBroadcast:
			return terminus{address: n.name, capabilities: topics, annotations: toTopic}
		case nodeReply: // said by its owner; a reply to who has left must not make a queue
			return terminus{address: n.name, capabilities: queues}
		}
		return terminus{address: n.name, capabilities: queues, annotations: toQueue}
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
		target:         place,
		source:         place,
		anonymous:      true,
		settledReplies: true,
		requeue:        failed,
		drop:           rejected, // kept aside, if the address has a dead-letter-address
		drains:         false,
	}
}
