package messaging

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// This file keeps a Stream listening: it opens the first connection and
// replaces lost ones.

// connect opens a connection and subscribes, again and again until it has
// succeeded or ctx ends. The first time a permanent failure ends it too.
func (s *Stream) connect(ctx context.Context, pause, first bool) (*generation, error) {
	b := s.t.backoff()
	for {
		g, err := s.attempt(ctx, pause, first)
		switch {
		case err == nil:
			return g, nil
		case ctx.Err() != nil:
			return nil, err
		case isPermanent(err) && first:
			return nil, err
		}
		s.tellFailing(err)
		if !first {
			s.t.opts.Logger.Warn("patchbay: cannot listen again yet", "from", describe(&s.sub), "error", err)
		}
		if werr := b.wait(ctx); werr != nil {
			return nil, gaveUp(werr, err)
		}
		pause = false
	}
}

func (s *Stream) tellFailing(err error) {
	s.mu.Lock()
	s.why = err
	s.mu.Unlock()
	if s.hooks.failing != nil {
		s.hooks.failing(err)
	}
}

// offer reports ErrUnsupported for what sub needs and the peer does not have.
func (c *Capabilities) offer(sub *Subscription) error {
	switch {
	case sub.Group != "" && !c.Groups:
		return fmt.Errorf("%w: groups", ErrUnsupported)
	case sub.Tap && !c.Taps:
		return fmt.Errorf("%w: taps", ErrUnsupported)
	}
	return nil
}

func (s *Stream) attempt(ctx context.Context, pause, first bool) (*generation, error) {
	conn, err := s.open(ctx, pause, first)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	g := &generation{stream: s, number: s.number + 1, conn: conn, caps: conn.Capabilities(), broken: make(chan struct{})}
	s.mu.Unlock()
	if err := g.caps.offer(&s.sub); err != nil {
		s.release(ctx, g)
		return nil, err
	}
	sub := s.sub
	sub.Deliver = func(d *Delivery) bool { return s.offer(g, d) }
	g.listener, err = conn.Listen(ctx, sub)
	if err != nil {
		s.release(ctx, g)
		return nil, err
	}
	g.address = g.listener.Address()
	return g, nil
}

// open returns the connection to listen on.
func (s *Stream) open(ctx context.Context, pause, first bool) (Conn, error) {
	if s.t.shares {
		return s.share(ctx)
	}
	c, err := s.dialer.dial(ctx, pause, !first, func(err error) bool {
		s.tellFailing(err)
		return true
	})
	if err == nil {
		s.t.count.conns.Add(1)
	}
	return c, err
}

// share returns the connection that the transport sends with.
func (s *Stream) share(ctx context.Context) (Conn, error) {
	for {
		c, err := s.t.pool.slots[0].get(ctx, 1)
		switch {
		case err == nil:
			return c.Conn, nil
		case ctx.Err() != nil, isPermanent(err), errors.Is(err, ErrClosed):
			return nil, err
		}
		s.tellFailing(err)
	}
}

// release ends a generation's connection. One that is shared lives on without the
// listener.
func (s *Stream) release(ctx context.Context, g *generation) {
	if s.t.shares {
		if g.listener != nil {
			_ = g.listener.Close(ctx) // Stream.Close has told why it failed
		}
		return
	}
	s.t.closeWithin(ctx, g.conn)
	s.t.count.conns.Add(-1)
}

// became makes g the present generation, and wakes the pollers. It reports
// false, and ends g, if the stream was stopped meanwhile.
func (s *Stream) became(g *generation) bool {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		s.release(s.work, g)
		return false
	}
	s.number = g.number
	s.since, s.why = time.Now(), nil
	g.lives.Store(true)
	s.gen.Store(g)
	s.wake()
	s.mu.Unlock()
	if f := s.t.opts.Trace.Listening; f != nil {
		f(s.sub, g.number)
	}
	return true
}

// wake tells who waits that gen or stopped changed. s.mu is held.
func (s *Stream) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// keep replaces lost connections until the stream is stopped.
func (s *Stream) keep() {
	defer close(s.kept)
	for {
		g, err := s.current(s.work)
		if err != nil {
			return
		}
		select {
		case <-g.conn.Done():
		case <-g.broken: // the listener alone, or a poller saw it first
		case <-s.work.Done():
			return
		}
		s.mu.Lock()
		if s.stopped {
			s.mu.Unlock()
			return // Close ends it
		}
		why := g.lost() // before we end it ourselves
		s.gen.Store(nil)
		s.since, s.why = time.Now(), why
		s.wake()
		s.mu.Unlock()
		if !g.caps.StableReply {
			s.movedFrom(g.address)
		}
		ctx, cancel := context.WithTimeout(s.work, lostConnTime)
		s.release(ctx, g)
		cancel()
		if !s.t.shares { // else it is the pool's, which tells
			s.t.connLost("a listening connection", why)
		}
		n, err := s.connect(s.work, true, false)
		if err != nil {
			return
		}
		if !s.became(n) {
			return
		}
		s.t.opts.Logger.Info("patchbay: listening again", "from", describe(&s.sub))
		if n.address != g.address {
			s.movedFrom(g.address)
		}
	}
}

// movedFrom tells that nothing is received at that reply address any more.
func (s *Stream) movedFrom(address string) {
	if s.hooks.moved != nil {
		s.hooks.moved(address)
	}
}

// current returns the present generation; it waits while there is none.
func (s *Stream) current(ctx context.Context) (*generation, error) {
	for {
		if g := s.gen.Load(); g != nil {
			return g, nil
		}
		s.mu.Lock()
		g, changed, stopped := s.gen.Load(), s.changed, s.stopped
		s.mu.Unlock()
		switch {
		case stopped:
			return nil, ErrClosed
		case g != nil:
			return g, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
