package messaging

import (
	"context"
	"sync/atomic"
	"time"
)

// Header is one application header of a Message. Values are text: what a
// foreign peer sends as another scalar is rendered as text by the driver, and
// what is no scalar is left out (ADR 0002).
type Header struct {
	Key   string
	Value string
}

// Message is what a driver moves: encoded, opaque, with the properties that
// every messaging protocol knows. A driver keeps nothing of a Message it was
// given, neither its slices nor a pointer, after Send has returned; a Message
// inside a Delivery belongs to whoever polled it.
type Message struct {
	ID              string // unique; empty: the codec keeps it in the body
	CorrelationID   string // of a reply: the call it answers
	ReplyTo         string // a reply address; empty: no reply is wanted
	ContentType     string
	ContentEncoding string
	Headers         []Header
	Body            []byte

	TTL       time.Duration // rest of life; 0: for ever. Needs Capabilities.TTL
	Priority  uint8         // 0 (default) to 9. Needs Capabilities.Priority
	Durable   bool          // survives a restart of the broker where the queue does too. Needs Capabilities.Durable
	Mandatory bool          // unroutable is ErrNoRoute instead of silence; a fanout to nobody where that is known. Needs Capabilities.Mandatory
	Ensure    bool          // declare the destination's queue first, so that nothing is lost without a listener (notifications)
	Unawaited bool          // nobody waits for its outcome, which may be told late, with that of others: a request whose reply will say that it arrived, a reply
	OrderKey  string        // messages with the same key go over the same Conn while it lives, in the order of Send
}

// Header returns the value of the first header with that key, and whether
// there is one.
func (m *Message) Header(key string) (string, bool) {
	for i := range m.Headers {
		if m.Headers[i].Key == key {
			return m.Headers[i].Value, true
		}
	}
	return "", false
}

// Reset clears m for reuse and keeps its buffers.
func (m *Message) Reset() {
	clear(m.Headers)
	*m = Message{Headers: m.Headers[:0], Body: m.Body[:0]}
}

// Outcome is what a receiver decides about a delivery.
type Outcome uint8

// The outcomes of a delivery.
const (
	Ack     Outcome = iota // handled: the broker forgets it
	Requeue                // give it to somebody again, perhaps to us. Needs Capabilities.Requeue
	Drop                   // refused: it never comes back (it is dead-lettered where the queue says so)
)

// String returns the outcome's name.
func (o Outcome) String() string {
	switch o {
	case Ack:
		return "ack"
	case Requeue:
		return "requeue"
	case Drop:
		return "drop"
	}
	return "unknown"
}

// Settler is a driver's side of Delivery.Settle. It is called once for each
// delivery at most, possibly concurrently for different deliveries, and after
// Listener.Stop too. A nil error means that the outcome was written, not that
// the broker knows it. A settle on a lost connection is ErrConnLost.
type Settler interface {
	Settle(ctx context.Context, d *Delivery, o Outcome) error
}

// Recycler is an optional ability of a Settler: it is given back a delivery that was
// settled, once nobody uses it or anything in it any more but strings, so that it
// can be used again. It does not block, and is called concurrently.
type Recycler interface{ Recycle(d *Delivery) }

// Delivery is a message that arrived. Its receiver settles it exactly once. A
// message that comes again is another Delivery: what the core makes of one is in it.
type Delivery struct {
	Message
	Source      int    // index in Subscription.Sources
	Count       int    // earlier attempts to deliver it; -1: unknown
	Lost        error  // reply listeners only: the peer that would answer CorrelationID is gone; nothing to settle
	Tag         uint64 // the driver's own
	Redelivered bool   // it was handed out before, to us or to another

	settled  atomic.Bool
	settler  Settler
	incoming Incoming  // what it is decoded into: one allocation less
	replaced *Delivery // an earlier one of the same message, when its Incoming is settled by this
}

// NewDelivery returns a delivery of m that s settles. A nil s means that there
// is nothing to settle: Settle then succeeds once. Drivers call it; m's slices
// pass into the delivery's ownership.
func NewDelivery(m Message, s Settler) *Delivery {
	d := new(Delivery)
	d.Init(m, s)
	return d
}

// Init is NewDelivery for a driver that allocates deliveries together with what
// they hold. d must be zero.
func (d *Delivery) Init(m Message, s Settler) {
	d.Message, d.Count, d.settler = m, -1, s
}

// Settle tells the broker what became of the delivery. The second call, and
// every one after it, returns ErrSettled and does nothing. It is safe for
// concurrent use. Nil means that the outcome was written: only the broker
// knows whether it arrived, and if not, the message comes back, Redelivered.
func (d *Delivery) Settle(ctx context.Context, o Outcome) error {
	if d.settled.Swap(true) {
		return ErrSettled
	}
	if d.settler == nil {
		return nil
	}
	return d.settler.Settle(ctx, d, o)
}
