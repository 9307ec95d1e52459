package amqp1

import "github.com/patchbay-go/patchbay/messaging"

// generic is for peers that are not known: it asks for queues and topics by the
// capabilities that most brokers understand, has a link for each address, as
// every peer allows, and promises only what AMQP 1.0 itself does.
func generic() *profile {
	place := func(n node) terminus {
		if n.kind == nodeBroadcast {
			return terminus{address: n.name, capabilities: []string{"topic"}}
		}
		return terminus{address: n.name, capabilities: []string{"queue"}}
	}
	return &profile{
		name:         "generic",
		hostname:     plainHost,
		capabilities: func(string) messaging.Capabilities { return messaging.Capabilities{Requeue: true, Exchanges: true} },
		target:       place,
		source:       place,
		dynamicReply: true,
		requeue:      failed,
		drop:         rejected,
	}
}
