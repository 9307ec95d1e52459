package messaging

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// SendOptions are the properties of one send. Nil means the zero value. What
// needs a capability that the peer does not have fails with ErrUnsupported
// before anything is sent.
type SendOptions struct {
	TTL       time.Duration // rest of the message's life
	Priority  uint8         // 0 to 9
	Durable   bool
	Mandatory bool // see Message.Mandatory
	Ensure    bool
	OrderKey  string
	Retry     int   // attempts after one that was surely not sent; 0: until ctx ends; negative: none
	Codec     Codec // default: the transport's first

	unawaited bool // see Message.Unawaited
}

// Send sends e and waits for its outcome. An empty e.ID is filled in. What was
// surely not sent is tried again until ctx ends (see SendOptions.Retry); if ctx
// ends while the outcome is awaited, that is ErrOutcomeUnknown. Errors are an
// *OpError and match exactly one of the four outcomes.
func (t *Transport) Send(ctx context.Context, to Address, e *Envelope, o *SendOptions) error {
	if o == nil {
		o = &SendOptions{}
	}
	tries := 0
	for {
		w := t.waiter(to)
		if err := t.dispatch(ctx, to, e, o, w, &w.sending, &tries, false); err != nil {
			w.free()
			return err
		}
		err := w.wait(ctx)
		if err == nil {
			return nil
		}
		if !t.retry(ctx, to, o, &tries, err) {
			return opError("sending to", to.String(), err)
		}
	}
}

// Start sends e without waiting for the outcome, which the Receipt tells, so
// that many sends can be under way at once. It waits, under ctx, for a
// connection, its window and its blocked state only. An error means that there
// is no Receipt; it is one as Send's.
func (t *Transport) Start(ctx context.Context, to Address, e *Envelope, o *SendOptions) (*Receipt, error) {
	if o == nil {
		o = &SendOptions{}
	}
	r := &Receipt{sending: sending{t: t}, to: to, done: make(chan struct{})}
	if err := t.dispatch(ctx, to, e, o, (*receiptCompletion)(r), &r.sending, new(int), false); err != nil {
		return nil, err
	}
	return r, nil
}

// dispatch hands e to a connection: encoded anew for each attempt, since the
// rest of the deadline travels with it. s is the part of c that knows the
// connection; tries counts the attempts that failed. The error is an *OpError with
// an outcome, or errMoved; c is told nothing then.
func (t *Transport) dispatch(ctx context.Context, to Address, e *Envelope, o *SendOptions, c Completion, s *sending, tries *int, call bool) error {
	if e.ID == "" {
		e.ID = t.ids.next()
	}
	var began time.Time
	if t.opts.Trace.Sent != nil {
		began = time.Now()
	}
	for {
		err := t.attempt(ctx, to, e, o, c, s, call)
		if err == nil {
			return nil
		}
		if errors.Is(err, errMoved) {
			return err
		}
		if !t.retry(ctx, to, o, tries, err) {
			t.count.outcome(err)
			if f := t.opts.Trace.Sent; f != nil {
				f(to, time.Since(began), err)
			}
			return opError("sending to", to.String(), err)
		}
	}
}

// attempt makes one attempt to send.
func (t *Transport) attempt(ctx context.Context, to Address, e *Envelope, o *SendOptions, c Completion, s *sending, call bool) error {
	rounds := 0
	if o.Retry != 0 {
		rounds = 1 // an attempt to connect is an attempt to send
	}
	conn, err := t.pool.get(ctx, o.OrderKey, rounds)
	if err != nil {
		return err
	}
	if call && !conn.caps.StableReply && !t.calls.isAt(e.ReplyTo) {
		return errMoved
	}
	m := t.messages.Get().(*Message)
	defer t.recycle(m)
	if err := t.encode(ctx, m, e, o, &conn.caps, call); err != nil {
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	if f := t.opts.Trace.Sent; f != nil {
		s.start = time.Now()
	}
	s.conn = conn
	conn.begin()
	if err := conn.Send(ctx, to, m, c); err != nil {
		conn.end()
		s.conn = nil
		return err
	}
	return nil
}

// recycle keeps a message's buffers for the next send, unless they are large.
func (t *Transport) recycle(m *Message) {
	if cap(m.Body) <= 64<<10 {
		t.messages.Put(m)
	}
}

// encode makes the message of one attempt, and checks it against what the peer
// can do.
func (t *Transport) encode(ctx context.Context, m *Message, e *Envelope, o *SendOptions, caps *Capabilities, call bool) error {
	m.Reset()
	m.TTL, m.Priority, m.OrderKey = o.TTL, o.Priority, o.OrderKey
	m.Durable, m.Mandatory, m.Ensure, m.Unawaited = o.Durable, o.Mandatory, o.Ensure, call || o.unawaited
	if err := caps.allow(m); err != nil {
		return err
	}
	if call {
		// A request that its caller gave up is of no use to anybody.
		if deadline, ok := ctx.Deadline(); ok {
			e.Timeout = max(time.Until(deadline), time.Millisecond)
			if caps.TTL && (m.TTL == 0 || e.Timeout < m.TTL) {
				m.TTL = e.Timeout
			}
		}
	}
	codec := o.Codec
	if codec == nil {
		codec = t.codecs[0]
	}
	if err := codec.Encode(e, m); err != nil {
		return fmt.Errorf("%w: encoding: %w", ErrPermanent, err)
	}
	if caps.MaxMessage > 0 && int64(len(m.Body)) > caps.MaxMessage {
		return fmt.Errorf("%w: %d bytes, the peer takes %d", ErrTooLarge, len(m.Body), caps.MaxMessage)
	}
	return nil
}

// allow reports ErrUnsupported for what m needs and the peer does not have.
func (c *Capabilities) allow(m *Message) error {
	for _, need := range [...]struct {
		what  string
		wants bool
		has   bool
	}{
		{"time to live", m.TTL != 0, c.TTL},
		{"priority", m.Priority != 0, c.Priority},
		{"durable messages", m.Durable, c.Durable},
		{"mandatory delivery", m.Mandatory, c.Mandatory},
	} {
		if need.wants && !need.has {
			return fmt.Errorf("%w: %s", ErrUnsupported, need.what)
		}
	}
	if m.TTL < 0 || m.Priority > 9 {
		return fmt.Errorf("%w: ttl %v and priority %d are out of range", ErrPermanent, m.TTL, m.Priority)
	}
	return nil
}

// retry decides whether a send that failed is tried again, counts it, and waits
// before it is. Only what was certainly not sent is.
func (t *Transport) retry(ctx context.Context, to Address, o *SendOptions, tries *int, err error) bool {
	attempt := *tries
	*tries++
	if !errors.Is(err, ErrNotSent) || isPermanent(err) || ctx.Err() != nil || t.isClosed() || o.Retry < 0 || (o.Retry > 0 && attempt >= o.Retry) {
		return false
	}
	t.count.retries.Add(1)
	if f := t.opts.Trace.Retried; f != nil {
		f(to, attempt+1, err)
	}
	if errors.Is(err, ErrConnLost) && attempt == 0 {
		return true // the pool itself waits before it dials again
	}
	b := t.backoff()
	b.tries = attempt
	return b.wait(ctx) == nil
}

// sending is what every Completion of the core has: the connection it went
// over, to be given back.
type sending struct {
	t     *Transport
	conn  *pooled
	start time.Time // set when a Trace wants to know
}

// settle counts the outcome and releases the connection.
func (s *sending) settle(to Address, err error) {
	s.conn.end()
	s.t.count.outcome(err)
	if f := s.t.opts.Trace.Sent; f != nil {
		f(to, time.Since(s.start), err)
	}
}

// waiter is the Completion of Send. It is used again.
type waiter struct {
	sending
	to     Address
	events chan event   // the outcome, and what alarm tells
	state  atomic.Int32 // 0: pending, 1: completed, 2: abandoned
	alarm  alarm
}

func (t *Transport) waiter(to Address) *waiter {
	t.waiting.Lock()
	w, ok := t.waiters.get()
	t.waiting.Unlock()
	if !ok {
		// Complete never waits: at most two rings, an old one and one of the present
		// wait, are told before the outcome.
		w = &waiter{events: make(chan event, 3)}
	}
	w.sending = sending{t: t}
	w.to = to
	w.state.Store(0)
	return w
}

// free makes w ready for another send. Nobody else holds it.
func (w *waiter) free() {
	t := w.t
	t.waiting.Lock()
	defer t.waiting.Unlock()
	if !t.waiters.put(w) {
		w.alarm.stop()
	}
}

// Complete implements Completion.
func (w *waiter) Complete(err error) {
	w.settle(w.to, err)
	if w.state.CompareAndSwap(0, 1) {
		w.events <- event{err: err}
		return
	}
	w.free() // abandoned
}

// wait returns the outcome, and gives w back.
func (w *waiter) wait(ctx context.Context) error {
	for len(w.events) > 0 { // told already, perhaps: no need to make ctx's channel
		if ev := <-w.events; !ev.rang {
			return w.told(ev)
		}
	}
	done := w.alarm.set(ctx, w.events)
	for waiting := true; waiting; {
		select {
		case ev := <-w.events:
			if !ev.rang {
				return w.told(ev)
			}
			waiting = !w.alarm.isOver()
		case <-done:
			waiting = false
		}
	}
	if w.state.CompareAndSwap(0, 2) {
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, context.Cause(ctx))
	}
	for {
		if ev := <-w.events; !ev.rang {
			return w.told(ev)
		}
	}
}

// told frees w and returns the outcome.
func (w *waiter) told(ev event) error {
	w.free()
	return ev.err
}

// Receipt tells the outcome of one send. It is safe for concurrent use.
type Receipt struct {
	sending
	to   Address
	done chan struct{}
	err  error // set before done is closed
}

// receiptCompletion is the driver's view of a Receipt.
type receiptCompletion Receipt

// Complete implements Completion.
func (r *receiptCompletion) Complete(err error) {
	r.settle(r.to, err)
	if err != nil {
		err = opError("sending to", r.to.String(), err)
	}
	r.err = err
	close(r.done)
}

// Done is closed when the outcome is known.
func (r *Receipt) Done() <-chan struct{} { return r.done }

// Err returns the outcome: nil once the message was accepted, else an
// *OpError with one of the four outcomes. Before Done is closed it is
// ErrOutcomeUnknown.
func (r *Receipt) Err() error {
	select {
	case <-r.done:
		return r.err
	default:
		return &OpError{Op: "sending to", Addr: r.to.String(), Err: ErrOutcomeUnknown}
	}
}

// Wait waits for the outcome and returns Err. If ctx ends first, the error is
// ErrOutcomeUnknown and wraps ctx's cause; Wait may be called again.
func (r *Receipt) Wait(ctx context.Context) error {
	if closes(ctx, r.done) {
		return r.err
	}
	return &OpError{
		Op: "waiting for the outcome of", Addr: r.to.String(),
		Err: fmt.Errorf("%w: %w", ErrOutcomeUnknown, context.Cause(ctx)),
	}
}
