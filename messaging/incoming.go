package messaging

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/internal/throttle"
)

// Incoming is a message that was received and decoded. It belongs to who
// polled it, and is settled exactly once.
type Incoming struct {
	Envelope
	Source      int       // index in Subscription.Sources
	Redelivered bool      // the broker says that it was delivered before
	Count       int       // earlier deliveries; -1: unknown
	Deadline    time.Time // when the caller gives up; zero: unknown
	Size        int       // bytes of the message's body as received

	from       *generation // which it came over
	codec      Codec       // of its wire format: replies use it too
	settled    atomic.Bool
	tracked    bool      // by the stream's dedup, which then guards the following
	delivery   *Delivery // the one to settle; a newer one after a reconnect
	generation int       // of the stream's connection that delivery came over
}

// Settle tells the broker what became of the message. The second call, and
// every one after it, returns ErrSettled and does nothing. It is safe for
// concurrent use. Nil means that the outcome was written: if it does not
// arrive, the message comes again, and is dropped as a duplicate if it comes to
// this stream. If the message came again already, over a new connection or
// channel, it is that delivery which is settled. Requeue needs Capabilities.Requeue: without
// it the error is ErrUnsupported, and the message still has to be settled.
func (in *Incoming) Settle(ctx context.Context, o Outcome) error {
	if o == Requeue && !in.from.caps.Requeue {
		return &OpError{Op: "settling", Err: fmt.Errorf("%w: requeue", ErrUnsupported)}
	}
	if in.settled.Swap(true) {
		return &OpError{Op: "settling", Err: ErrSettled}
	}
	d := in.from.stream.dedup.finish(in, o)
	err := d.Settle(ctx, o)
	for d = d.replaced; d != nil; d = d.replaced {
		_ = d.Settle(ctx, o)
	}
	if f := in.from.stream.t.opts.Trace.Settled; f != nil {
		f(in, o, err)
	}
	if err != nil {
		return &OpError{Op: "settling", Err: err}
	}
	return nil
}

// Release lets the driver use the memory of a message again: nobody uses in, or
// anything in it but its strings, from then on. Nobody has to call it; it is for who
// handles many messages and knows that nothing of them is kept. It does nothing
// unless the message was settled, once and for good, and no Trace was shown it.
func (in *Incoming) Release() {
	d, trace := in.delivery, in.from.stream.t.opts.Trace
	if &d.incoming != in || d.replaced != nil || !d.settled.Load() || trace.Received != nil || trace.Settled != nil {
		return
	}
	if r, ok := d.settler.(Recycler); ok {
		r.Recycle(d)
	}
}

// codecFor returns the codec of a message's content type.
func (t *Transport) codecFor(m *Message) Codec {
	for _, c := range t.codecs {
		if c.Accepts(m) {
			return c
		}
	}
	return nil
}

// decode makes the Incoming of a delivery that came over g.
func (t *Transport) decode(g *generation, d *Delivery, kind Kind) (*Incoming, error) {
	in := &d.incoming
	in.Source, in.Redelivered, in.Count, in.Size = d.Source, d.Redelivered, d.Count, len(d.Body)
	in.from, in.delivery, in.generation = g, d, g.number
	in.Kind = kind
	if d.Lost != nil {
		in.CallID, in.Final = d.CorrelationID, true
		return in, nil //nolint:nilerr // the loss is what the message says
	}
	if limit := t.opts.MaxMessage; limit > 0 && int64(len(d.Body)) > limit {
		return nil, fmt.Errorf("%w: %w: %d bytes, the limit is %d", ErrUndecodable, ErrTooLarge, len(d.Body), limit)
	}
	in.codec = t.codecFor(&d.Message)
	if in.codec == nil {
		return nil, fmt.Errorf("%w: content type %.64q", ErrUndecodable, d.ContentType)
	}
	if err := in.codec.Decode(&d.Message, &in.Envelope); err != nil {
		return nil, err
	}
	if in.Timeout > 0 {
		in.Deadline = time.Now().Add(in.Timeout)
	}
	return in, nil
}

// undecodable counts, tells and drops a delivery that cannot be decoded, so
// that it does not come back.
func (t *Transport) undecodable(ctx context.Context, d *Delivery, from string, err error) {
	t.count.undecodable.Add(1)
	t.noise.warn("patchbay: dropped a message that cannot be decoded", "from", from, "error", err)
	if f := t.opts.Trace.Undecodable; f != nil {
		f(d, err)
	}
	if err := d.Settle(ctx, Drop); err != nil && !errors.Is(err, ErrConnLost) {
		t.opts.Logger.Warn("patchbay: dropping a message", "from", from, "error", err)
	}
}

// quiet logs what a stranger can cause at will, and with it the number of lines
// that it did not log.
type quiet struct {
	log   *slog.Logger
	limit throttle.Limit
}

func (q *quiet) warn(msg string, args ...any) {
	others, ok := q.limit.Allow()
	if !ok {
		return
	}
	if others > 0 {
		args = append(args, "not_logged", others)
	}
	q.log.Warn(msg, args...)
}
