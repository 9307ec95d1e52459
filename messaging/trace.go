package messaging

import "time"

// Trace is told what happens inside a Transport. Each func may be nil. They
// are called synchronously, some from hot paths and concurrently, so they must
// be fast and must not call back into the Transport. More may be added.
type Trace struct {
	// Dialed: an attempt to connect ended. Err is nil when it succeeded.
	Dialed func(host string, attempt int, took time.Duration, err error)
	// ConnLost: an open connection ended without being closed by us.
	ConnLost func(host string, err error)
	// Sent: the outcome of a send is known: nil, or one of the four outcomes.
	// Took is the time since the message was handed to a connection or, if it
	// never was, since the send began. A send that is tried again after it was
	// handed over is told once for each time.
	Sent func(to Address, took time.Duration, err error)
	// Retried: a send that was certainly not sent will be tried again.
	Retried func(to Address, attempt int, err error)
	// Listening: a stream receives, for the first time (generation 1) or again
	// after a lost connection.
	Listening func(sub Subscription, generation int)
	// Received: a delivery was decoded and goes to a poller.
	Received func(in *Incoming)
	// Duplicate: a delivery was dropped because its id was seen before.
	Duplicate func(id string, redelivered bool)
	// Undecodable: a delivery was dropped because no codec understands it.
	Undecodable func(d *Delivery, err error)
	// ReplyDropped: a reply came for no call that waits: late, twice, or never ours.
	ReplyDropped func(callID string)
	// Settled: a delivery was settled.
	Settled func(in *Incoming, o Outcome, err error)
}
