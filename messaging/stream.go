package messaging

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// defaultPrefetch is used where a Subscription does not say.
const defaultPrefetch = 64

// Stream receives what Listen subscribed to, across lost connections: it opens
// another and subscribes again with the same names. It is safe for concurrent
// use.
type Stream struct {
	t      *Transport
	sub    Subscription
	kinds  []Kind // of the sources
	hooks  streamHooks
	dialer *dialer
	dedup  *dedup
	taker  atomic.Pointer[Taker] // nil: Poll returns everything

	work   context.Context //nolint:containedctx // the keeper's lifetime: it ends with Stop
	cancel context.CancelFunc
	kept   chan struct{} // closed when the keeper has ended

	gen atomic.Pointer[generation] // nil while there is no connection; written under mu

	mu      sync.Mutex    // protects the following
	number  int           // of generations so far
	since   time.Time     // when gen last changed
	why     error         // there is no generation
	changed chan struct{} // closed and replaced when gen or stopped changes
	stopped bool          // there is no generation any more
	last    *generation   // the one that Stop found: Close ends it
	closing bool

	closed   chan struct{} // closed when Close is done
	closeErr error         // set before
}

// streamHooks tell the reply table what it must know of its stream.
type streamHooks struct {
	moved   func(from string) // that reply address is not ours any more; may be told twice
	failing func(err error)   // the first connection cannot be opened yet
}

// Taker takes messages on the goroutine that received them, which saves a
// hand-over between goroutines. Its methods do not block, and are called
// concurrently.
type Taker interface {
	// Reserve reports whether there is room for a message; Take follows then.
	Reserve() bool
	// Take takes the message, as Poll would return it. It is nil if none came of
	// it after all, as of a duplicate.
	Take(in *Incoming)
}

// generation is one connection of a stream, with what it listens with.
type generation struct {
	stream   *Stream
	number   int
	conn     Conn
	listener Listener
	address  string
	caps     Capabilities
	lives    atomic.Bool   // it was the stream's present one
	broken   chan struct{} // closed when a poller saw it fail
	why      error         // what it saw; set before broken is closed
	once     sync.Once
}

// fail tells the keeper what a poller saw.
func (g *generation) fail(err error) {
	g.once.Do(func() {
		g.why = err
		close(g.broken)
	})
}

// lost returns why the generation ended, once broken or Done is closed.
func (g *generation) lost() error {
	if err := g.conn.Err(); err != nil {
		return err
	}
	return g.why
}

// Listen subscribes and returns a Stream once messages that are sent from then
// on arrive. It waits for a connection, and tries again, until ctx ends; a
// permanent failure (ErrAuth, a *PreconditionError) ends it at once. An empty
// sub.Instance and a zero sub.Prefetch are filled in. The transport never
// sends and listens on one connection, unless its driver needs that or its user
// wants it (see Sharer).
func (t *Transport) Listen(ctx context.Context, sub Subscription) (*Stream, error) {
	s, err := t.listen(ctx, sub, streamHooks{}, nil)
	if err != nil {
		return nil, opError("listening on", describe(&sub), err)
	}
	return s, nil
}

func describe(sub *Subscription) string {
	switch {
	case sub.Reply != "":
		return fmt.Sprintf("reply address %q", sub.Reply)
	case len(sub.Sources) == 0:
		return "nothing"
	}
	return sub.Sources[0].String()
}

func (t *Transport) listen(ctx context.Context, sub Subscription, hooks streamHooks, taker Taker) (*Stream, error) {
	if sub.Instance == "" {
		sub.Instance = t.ids.next()
	}
	if sub.Prefetch <= 0 {
		sub.Prefetch = defaultPrefetch
	}
	if (len(sub.Sources) == 0) == (sub.Reply == "") {
		return nil, fmt.Errorf("%w: a subscription has sources or a reply address", ErrInvalidTarget)
	}
	if sub.Tap && sub.Group != "" {
		return nil, fmt.Errorf("%w: a subscription is a tap or has a group", ErrInvalidTarget)
	}
	s := &Stream{
		t: t, sub: sub, hooks: hooks, dialer: t.newDialer(),
		since: time.Now(),
		kept:  make(chan struct{}), changed: make(chan struct{}), closed: make(chan struct{}),
	}
	t.opens(s)
	defer t.opened(s)
	kind := KindReply
	for i, a := range sub.Sources {
		if i == 0 {
			kind = a.Kind
		}
		s.kinds = append(s.kinds, a.Kind)
	}
	if kind != KindReply {
		s.dedup = newDedup(t.opts.Dedup)
	}
	if taker != nil {
		s.Offer(taker)
	}
	s.work, s.cancel = context.WithCancel(t.life)
	ctx, done := t.bound(ctx)
	defer done()
	g, err := s.connect(ctx, false, true)
	if err != nil {
		s.cancel()
		return nil, err
	}
	if !t.adopt(s) {
		s.cancel()
		s.release(ctx, g)
		return nil, ErrClosed
	}
	if !s.became(g) {
		return nil, ErrClosed
	}
	return s, nil
}

// opens notes a stream that waits for its first connection, for Health, until opened.
func (t *Transport) opens(s *Stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opening[s] = struct{}{}
}

func (t *Transport) opened(s *Stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.opening, s)
}

// adopt starts the keeper of a stream whose first connection is there.
func (t *Transport) adopt(s *Stream) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	delete(t.opening, s)
	t.streams[s] = struct{}{}
	t.count.streams.Add(1)
	t.wg.Go(s.keep)
	return true
}

// Poll returns the next message. It may be called concurrently. While the
// connection is down it waits for the next one. It returns ErrClosed after
// Stop, Close or Transport.Close, and ctx's cause when that ends: nothing is lost
// then. What cannot be decoded, and duplicates, never reach the poller.
func (s *Stream) Poll(ctx context.Context) (*Incoming, error) {
	for {
		g, err := s.current(ctx)
		if err != nil {
			return nil, s.pollError(err)
		}
		d, err := g.listener.Poll(ctx)
		if err == nil {
			if in := s.accept(ctx, g, d); in != nil {
				return in, nil
			}
			continue
		}
		if ctx.Err() != nil && !errors.Is(err, ErrConnLost) {
			return nil, s.pollError(context.Cause(ctx))
		}
		g.fail(err) // unless the stream is stopped, the keeper replaces it
		select {
		case <-ctx.Done():
			return nil, s.pollError(context.Cause(ctx))
		case <-s.gone(g):
		}
	}
}

// Offer has messages offered to t before they wait for Poll, where the driver can
// do that. Poll returns those which t has no room for, and all that waited before.
func (s *Stream) Offer(t Taker) { s.taker.Store(&t) }

// offer gives a delivery to the taker, if there is one and it has room. What comes
// before the stream has the connection waits for that, or would be lost with it if
// the stream is stopped meanwhile; but a reply is always taken.
func (s *Stream) offer(g *generation, d *Delivery) bool {
	t := s.taker.Load()
	if t == nil || !g.lives.Load() && s.sub.Reply == "" || !(*t).Reserve() {
		return false
	}
	(*t).Take(s.accept(s.t.life, g, d))
	return true
}

// Address returns the address at which a subscription with Reply receives over
// its present connection, in the form in which it is sent to; empty while there
// is no connection, and for other subscriptions.
func (s *Stream) Address() string {
	if g := s.gen.Load(); g != nil {
		return g.address
	}
	return ""
}

func (s *Stream) pollError(err error) error {
	return &OpError{Op: "polling", Addr: describe(&s.sub), Err: err}
}

// gone returns a channel that is closed when g is no longer the present
// generation.
func (s *Stream) gone(g *generation) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gen.Load() == g && !s.stopped {
		return s.changed
	}
	c := make(chan struct{})
	close(c)
	return c
}

// accept decodes a delivery, and returns nil if nobody is to see it.
func (s *Stream) accept(ctx context.Context, g *generation, d *Delivery) *Incoming {
	kind := KindReply
	known := d.Source >= 0 && d.Source < len(s.kinds)
	if known {
		kind = s.kinds[d.Source]
	}
	in, err := s.t.decode(g, d, kind)
	if err != nil {
		from := describe(&s.sub)
		if known {
			from = s.sub.Sources[d.Source].String()
		}
		// A delivery in hand is settled even if the poller leaves.
		s.t.undecodable(context.WithoutCancel(ctx), d, from, err)
		return nil
	}
	switch s.dedup.begin(in) {
	case handled:
		_ = d.Settle(context.WithoutCancel(ctx), Ack) // if it is lost, the message is dropped again
		fallthrough
	case adopted:
		s.t.count.duplicates.Add(1)
		if f := s.t.opts.Trace.Duplicate; f != nil {
			f(in.ID, in.Redelivered)
		}
		return nil
	}
	s.t.count.received.Add(1)
	if f := s.t.opts.Trace.Received; f != nil {
		f(in)
	}
	return in
}

// Stop ends the subscription: no new messages, those prefetched but not polled
// go back unharmed, and those polled can still be settled and answered. It
// returns how many went back. It may be called while the connection is down.
func (s *Stream) Stop(ctx context.Context) (returned int, err error) {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return 0, nil
	}
	s.stopped = true
	g := s.gen.Swap(nil)
	s.last = g
	s.wake()
	s.mu.Unlock()
	s.cancel()
	if g == nil {
		return 0, nil
	}
	if returned, err = g.listener.Stop(ctx); err != nil && !errors.Is(err, ErrConnLost) && !errors.Is(err, ErrClosed) {
		return returned, opError("stopping to listen on", describe(&s.sub), err)
	}
	return returned, nil
}

// Close frees the subscription, its private queues and its connection. It
// implies Stop. What was polled and not settled goes back. It may be called
// again, and concurrently: the first call works, the others wait for it until
// their own ctx ends.
func (s *Stream) Close(ctx context.Context) error {
	s.mu.Lock()
	first := !s.closing
	s.closing = true
	s.mu.Unlock()
	if first {
		s.closeErr = s.end(ctx)
		close(s.closed)
		return s.closeErr
	}
	if !closes(ctx, s.closed) {
		return &OpError{Op: "closing the listener of", Addr: describe(&s.sub), Err: context.Cause(ctx)}
	}
	return s.closeErr
}

func (s *Stream) end(ctx context.Context) error {
	_, err := s.Stop(ctx)
	<-s.kept
	s.mu.Lock()
	g := s.last
	s.mu.Unlock()
	if g != nil {
		if cerr := g.listener.Close(ctx); cerr != nil && !errors.Is(cerr, ErrConnLost) && !errors.Is(cerr, ErrClosed) && err == nil {
			err = opError("closing the listener of", describe(&s.sub), cerr)
		}
		s.release(ctx, g)
	}
	s.t.mu.Lock()
	delete(s.t.streams, s)
	s.t.mu.Unlock()
	s.t.count.streams.Add(-1)
	return err
}
