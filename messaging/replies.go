package messaging

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// replyPrefetch is how many replies may wait in the client: they are cheap to
// handle, so many.
const replyPrefetch = 1024

// address returns the reply address, once replies sent to it arrive. The
// first call opens the transport's one reply listener.
func (r *callTable) address(ctx context.Context) (string, error) {
	for {
		s, opening, err := r.open()
		if err != nil {
			return "", err
		}
		if s != nil {
			g, err := s.current(ctx)
			switch {
			case err == nil:
				return g.address, nil
			case ctx.Err() != nil && !errors.Is(err, ErrClosed):
				return "", gaveUp(err, s.health().Err)
			}
			return "", err
		}
		select {
		case <-opening:
		case <-ctx.Done():
			return "", gaveUp(context.Cause(ctx), r.lastError())
		}
		if err := r.lastError(); err != nil {
			return "", err
		}
	}
}

// open returns the stream of replies, or a channel that is closed when the opening
// of it, which this began if nobody had, is over.
func (r *callTable) open() (s *Stream, opening <-chan struct{}, err error) {
	if s := r.stream.Load(); s != nil {
		return s, nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stream.Load() == nil && r.opening == nil {
		opening := make(chan struct{})
		if !r.t.start(func() { r.listen(opening) }) {
			return nil, nil, ErrClosed
		}
		r.opening, r.openErr = opening, nil
		r.t.pool.slots[0].fill() // the request needs a connection too, at the same time
	}
	return r.stream.Load(), r.opening, nil
}

// addressNow is address without the wait: it returns "" while there is none.
func (r *callTable) addressNow() (string, error) {
	s, _, err := r.open()
	if s == nil {
		return "", err
	}
	return s.Address(), nil
}

// isAt reports whether replies to that address still reach us.
func (r *callTable) isAt(address string) bool {
	s := r.stream.Load()
	if s == nil {
		return false
	}
	g := s.gen.Load()
	return g != nil && g.address == address
}

func (r *callTable) lastError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.openErr
}

// failing keeps why the opening under way fails, for callers that give up.
func (r *callTable) failing(err error) {
	r.mu.Lock()
	r.openErr = err
	r.mu.Unlock()
}

// listen opens the reply stream and delivers what it receives to the calls,
// until the transport closes. It outlives the call that caused it.
func (r *callTable) listen(opening chan struct{}) {
	s, err := r.t.listen(r.t.life, Subscription{
		Reply:    "reply_" + r.t.ids.next(),
		Prefetch: replyPrefetch,
	}, streamHooks{moved: r.moved, failing: r.failing}, r)
	r.mu.Lock()
	r.stream.Store(s)
	r.openErr, r.opening = err, nil
	r.mu.Unlock()
	close(opening)
	if err != nil {
		return
	}
	for {
		in, err := s.Poll(r.t.life)
		if err != nil {
			return
		}
		r.Take(in)
	}
}

// Reserve implements Taker.
func (r *callTable) Reserve() bool { return true }

// moved is told by the stream that it does not listen at that address any more:
// what is sent there is lost, so its calls end now.
func (r *callTable) moved(from string) {
	r.fail(fmt.Errorf("%w with its connection", ErrReplyLost), func(c *call) bool { return c.reply == from })
}

// Take implements Taker.
func (r *callTable) Take(in *Incoming) {
	if in == nil {
		return
	}
	t := r.t
	if lost := in.delivery.Lost; lost != nil {
		r.deliver(in.CallID, event{err: fmt.Errorf("%w: %w", ErrServerLost, lost)}, true)
		return
	}
	// A reply that cannot be acknowledged comes again, and is dropped then. It is the
	// call's once that is told.
	_ = in.Settle(t.life, Ack)
	ev := event{beat: in}
	if in.Final {
		ev = event{reply: in}
	}
	if !r.deliver(in.CallID, ev, in.Final) {
		r.unexpected(in)
	}
}

// unexpected handles a reply or a heartbeat for no call that waits.
func (r *callTable) unexpected(in *Incoming) {
	if !in.Final {
		r.t.abandon(in)
		return
	}
	r.t.count.replyDropped.Add(1)
	if f := r.t.opts.Trace.ReplyDropped; f != nil {
		f(in.CallID)
	}
}

// Reply sends e as the reply to in, in the wire format of the request, and
// waits for its outcome. It fills in e's Kind and CallID. A reply address that is
// not there may be that of a caller which is reconnecting: it is tried again for
// Options.ReplyWindow, or until the caller's deadline. Then the error is
// ErrReplyRefused, and further replies to that address have one attempt for a
// while.
func (t *Transport) Reply(ctx context.Context, in *Incoming, e *Envelope) error {
	until := time.Now().Add(max(0, t.opts.ReplyWindow))
	if !in.Deadline.IsZero() && in.Deadline.Before(until) {
		until = in.Deadline
	}
	b := t.backoff()
	for {
		err := t.ReplyOnce(ctx, in, e)
		if !errors.Is(err, ErrNoRoute) || errors.Is(err, ErrReplyRefused) {
			return err
		}
		to := Address{Kind: KindReply, Direct: in.ReplyTo}
		wait := min(b.next(), time.Second)
		if time.Now().Add(wait).After(until) {
			if t.refuse.add(in.ReplyTo) {
				t.noise.warn("patchbay: abandoned replies, their address is gone", "address", in.ReplyTo)
			}
			return t.refused(to)
		}
		if err := sleep(ctx, wait); err != nil {
			return &OpError{Op: "replying to", Addr: to.String(), Err: fmt.Errorf("%w: %w", ErrNoRoute, err)}
		}
	}
}

// ReplyOnce is Reply without the patience: if the address is not there, the
// error is ErrNoRoute at once, and ErrReplyRefused too only if Reply gave that
// address up a short while ago. For who must not wait on behalf of a caller that
// may be gone, and can call Reply elsewhere.
func (t *Transport) ReplyOnce(ctx context.Context, in *Incoming, e *Envelope) error {
	to, err := replyAddress(in, e)
	if err != nil {
		return err
	}
	given := e.ID
	if given == "" && e.Final && len(in.CallID) <= idLength {
		e.ID = in.CallID // a call has one final reply
	}
	err = t.sendReply(ctx, to, e, &SendOptions{Codec: in.codec, Mandatory: in.from.caps.Mandatory})
	e.ID = given
	return t.replied(to, err)
}

// replied notes the outcome of a reply for those which follow, and returns it.
func (t *Transport) replied(to Address, err error) error {
	switch {
	case err == nil:
		t.refuse.forget(to.Direct) // its owner came back
	case errors.Is(err, ErrReplyRefused): // the driver knows that the address does not come back
		t.count.replyRefused.Add(1)
	case errors.Is(err, ErrNoRoute) && t.refuse.has(to.Direct):
		return t.refused(to)
	}
	return err
}

// StartReply is one attempt of ReplyOnce without the wait: c is told the outcome,
// some milliseconds late if that is cheaper, and must not block. An error means
// that c is told nothing.
func (t *Transport) StartReply(ctx context.Context, in *Incoming, e *Envelope, c Completion) error {
	to, err := replyAddress(in, e)
	if err != nil {
		return err
	}
	if e.ID == "" && e.Final && len(in.CallID) <= idLength {
		e.ID = in.CallID
	}
	p := t.passing.Get().(*passing)
	p.sending, p.to, p.then = sending{t: t}, to, c
	o := SendOptions{Codec: in.codec, Mandatory: in.from.caps.Mandatory, unawaited: true}
	if err := t.dispatch(ctx, to, e, &o, p, &p.sending, new(int), false); err != nil {
		p.free()
		return err
	}
	return nil
}

// passing is the Completion of StartReply: it passes the outcome on. It is pooled.
type passing struct {
	sending
	to   Address
	then Completion
}

// Complete implements Completion.
func (p *passing) Complete(err error) {
	p.settle(p.to, err)
	then, err := p.then, p.t.replied(p.to, err)
	p.free()
	then.Complete(err)
}

func (p *passing) free() {
	t := p.t
	*p = passing{}
	t.passing.Put(p)
}

// replyAddress makes e a reply to in, and returns where it goes.
func replyAddress(in *Incoming, e *Envelope) (Address, error) {
	e.Kind, e.CallID = KindReply, in.CallID
	if in.ReplyTo == "" || in.CallID == "" {
		return Address{}, &OpError{Op: "replying", Err: fmt.Errorf("%w: nobody waits for a reply", ErrInvalidTarget)}
	}
	return Address{Kind: KindReply, Direct: in.ReplyTo}, nil
}

// maxReplySends bounds how often one reply is sent.
const maxReplySends = 5

// sendReply sends a reply, and again if the outcome is unknown because its
// connection was lost: of replies, and of heartbeats, one too many does no harm,
// since a caller takes the first reply and drops the others.
func (t *Transport) sendReply(ctx context.Context, to Address, e *Envelope, o *SendOptions) error {
	for n := 1; ; n++ {
		err := t.Send(ctx, to, e, o)
		if !errors.Is(err, ErrOutcomeUnknown) || n == maxReplySends || ctx.Err() != nil || t.isClosed() {
			return err
		}
	}
}

func (t *Transport) refused(to Address) error {
	t.count.replyRefused.Add(1)
	return &OpError{Op: "replying to", Addr: to.String(), Err: fmt.Errorf("%w: %w", ErrNoRoute, ErrReplyRefused)}
}

// refusals remembers reply addresses that are not there, so that they are waited
// for once, not again for each reply.
type refusals struct {
	mu    sync.Mutex
	until map[string]time.Time
	some  atomic.Bool // until is not empty; written under mu
}

const (
	refusalTime = time.Minute
	refusalMax  = 1024
)

func newRefusals() *refusals { return &refusals{until: make(map[string]time.Time)} }

func (r *refusals) has(address string) bool {
	if !r.some.Load() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	until, ok := r.until[address]
	if ok && time.Now().After(until) {
		delete(r.until, address)
		ok = false
	}
	r.some.Store(len(r.until) > 0)
	return ok
}

func (r *refusals) forget(address string) {
	if !r.some.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.until, address)
	r.some.Store(len(r.until) > 0)
}

// add remembers the address and reports whether it was unknown.
func (r *refusals) add(address string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.until[address]; ok {
		return false
	}
	if len(r.until) >= refusalMax {
		now := time.Now()
		for a, until := range r.until {
			if now.After(until) || len(r.until) >= refusalMax {
				delete(r.until, a)
			}
		}
	}
	r.until[address] = time.Now().Add(refusalTime)
	r.some.Store(true)
	return true
}
