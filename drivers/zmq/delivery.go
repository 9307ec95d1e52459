package zmq

import (
	"context"
	"fmt"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

// delivery is a delivery together with its settler: one thing instead of two.
type delivery struct {
	message messaging.Delivery
	session *session
	source  *source // nil: there is nothing to settle
	seq     uint64
	flags   uint8     // of the request
	expires time.Time // zero: never
}

// stale reports whether nobody is served by handling it. A cast is owed even when
// its link is gone: it was accepted.
func (d *delivery) stale() bool {
	if !d.expires.IsZero() && time.Now().After(d.expires) {
		return true
	}
	if d.message.ReplyTo == "" {
		return false
	}
	select {
	case <-d.session.over:
		return true
	default:
		return false
	}
}

// Settle implements messaging.Settler.
func (d *delivery) Settle(_ context.Context, _ *messaging.Delivery, o messaging.Outcome) error {
	if d.source == nil {
		return nil
	}
	l := d.source.listener
	l.mu.Lock()
	d.source.free()
	gone := l.gone
	l.mu.Unlock()
	if gone != nil {
		return gone
	}
	outcome := proto.Ack
	switch o {
	case messaging.Requeue:
		outcome = proto.Requeue
	case messaging.Drop:
		outcome = proto.Drop
	}
	if !d.session.settle(d, outcome) {
		return fmt.Errorf("%w: the sender's link was lost", messaging.ErrConnLost)
	}
	return nil
}

// inbound makes deliveries of what comes over a link. It is for the goroutine that
// reads the link.
type inbound struct {
	c      *conn
	number uint64     // of the link, for reply addresses
	spare  []delivery // for small messages
}

// Small messages are allocated together: that is most of what they cost. Whoever
// keeps one keeps the others, so large ones are not among them.
const (
	together  = 16
	smallSize = 1 << 10 // bytes of properties and body
)

// delivery makes a delivery of a message, and returns the reply address that it was
// sent to.
func (in *inbound) delivery(m *link.Message) (d *delivery, to string, err error) {
	if int64(len(m.Third)) > in.c.o.maxMessage {
		return nil, "", fmt.Errorf("%w: a body of %d bytes", link.ErrLimit, len(m.Third))
	}
	msg := messaging.Message{Body: m.Third}
	if to, err = proto.ParseProps(m.Second, &msg); err != nil {
		return nil, "", err
	}
	if msg.ReplyTo != "" {
		msg.ReplyTo = replyAddress(in.number, msg.ReplyTo)
	}
	d = in.allocate(len(m.Second) + len(m.Third))
	d.message.Init(msg, d)
	return d, to, nil
}

func (in *inbound) allocate(size int) *delivery {
	if size > smallSize {
		return new(delivery)
	}
	if len(in.spare) == 0 {
		in.spare = make([]delivery, together)
	}
	d := &in.spare[0]
	in.spare = in.spare[1:]
	return d
}
