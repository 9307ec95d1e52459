package messaging

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// pool holds the connections for sending. It shares them: a caller gets a
// connection together with others, never for itself, because AMQP connections
// multiplex and brokers count them. A send with an OrderKey always uses the slot
// of that key; the others use the least loaded slot, and a further slot is
// filled only while the windows of all open ones are full.
type pool struct {
	t     *Transport
	seed  maphash.Seed
	slots []*slot
}

func newPool(t *Transport) *pool {
	n := max(1, t.opts.MaxConns)
	if t.driver.SingleConn() {
		n = 1
	}
	p := &pool{t: t, seed: maphash.MakeSeed()}
	for i := range n {
		p.slots = append(p.slots, &slot{t: t, dialer: t.newDialer(), keep: i == 0})
	}
	return p
}

// slot is the place of one connection; its successive connections share a
// dialer.
type slot struct {
	t      *Transport
	keep   bool    // never closed for being idle
	dialer *dialer // used by the dialling of the moment only
	live   atomic.Pointer[pooled]
	mu     sync.Mutex // protects the following
	dial   *dialing   // under way, or nil
	lost   bool       // the last connection was lost: pause before the next dial
	why    error      // there is no connection; nil: there is, or nobody has asked for one since
}

// pooled is a connection in a slot, and what is in flight on it.
type pooled struct {
	Conn
	t        *Transport
	caps     Capabilities
	inFlight atomic.Int64
	sends    atomic.Uint64
}

func (c *pooled) alive() bool {
	select {
	case <-c.Done():
		return false
	default:
		return true
	}
}

func (c *pooled) begin() {
	c.sends.Add(1)
	c.inFlight.Add(1)
	c.t.count.inFlight.Add(1)
}

func (c *pooled) end() {
	c.inFlight.Add(-1)
	c.t.count.inFlight.Add(-1)
}

// dialing is one attempt to fill a slot, shared by all who wait for it. It
// outlives callers that give up, so that the next one finds a connection.
type dialing struct {
	waiters int           // protected by slot.mu, like the following
	rounds  int           // that failed
	failed  chan struct{} // closed and replaced at each failed round
	last    error         // of the last round
	done    chan struct{} // closed in the end: conn or err is set
	conn    *pooled
	err     error
}

// get returns a connection for a send with that key. It waits under ctx, and
// at most for rounds failed rounds of dialling if rounds is positive. Errors
// match ErrNotSent.
func (p *pool) get(ctx context.Context, key string, rounds int) (*pooled, error) {
	if key != "" {
		return p.slots[maphash.String(p.seed, key)%uint64(len(p.slots))].get(ctx, rounds)
	}
	var best *pooled
	var empty *slot
	least := int64(0)
	for _, s := range p.slots {
		c := s.live.Load()
		if c == nil || !c.alive() {
			if empty == nil {
				empty = s
			}
			continue
		}
		if n := c.inFlight.Load(); best == nil || n < least {
			best, least = c, n
		}
		if least == 0 {
			break
		}
	}
	switch {
	case best == nil:
		return p.slots[0].get(ctx, rounds)
	case empty != nil && least >= int64(p.t.opts.Window):
		empty.fill()
	}
	return best, nil
}

// get returns the slot's connection, and dials if there is none.
func (s *slot) get(ctx context.Context, rounds int) (*pooled, error) {
	if c := s.live.Load(); c != nil && c.alive() {
		return c, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, context.Cause(ctx))
	}
	s.t.count.poolWaits.Add(1)
	d, before, err := s.join()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	case d == nil:
		return s.get(ctx, rounds)
	}
	defer s.leave(d)
	for {
		s.mu.Lock()
		failed, n := d.failed, d.rounds-before
		s.mu.Unlock()
		if rounds > 0 && n >= rounds {
			return nil, fmt.Errorf("%w: %w", ErrNotSent, s.lastError(d))
		}
		select {
		case <-d.done:
			if d.err != nil {
				return nil, fmt.Errorf("%w: %w", ErrNotSent, d.err)
			}
			return d.conn, nil
		case <-failed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrNotSent, gaveUp(context.Cause(ctx), s.lastError(d)))
		}
	}
}

func (s *slot) lastError(d *dialing) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return d.last
}

// fill begins to dial in the background if nobody does.
func (s *slot) fill() {
	if d, _, err := s.join(); err == nil && d != nil {
		s.leave(d)
	}
}

// join returns the dialling under way, begun if need be, and how many of its rounds
// have failed before; or nil if the slot has a connection by now.
func (s *slot) join() (d *dialing, before int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dial == nil {
		if c := s.live.Load(); c != nil && c.alive() {
			return nil, 0, nil
		}
		d := &dialing{failed: make(chan struct{}), done: make(chan struct{})}
		if !s.t.start(func() { s.run(d) }) {
			return nil, 0, ErrClosed
		}
		s.dial = d
	}
	s.dial.waiters++
	return s.dial, s.dial.rounds, nil
}

func (s *slot) leave(d *dialing) {
	s.mu.Lock()
	d.waiters--
	s.mu.Unlock()
}

// run dials until it has a connection, nobody waits any more, or the failure
// is permanent. Then it watches over the connection until it ends.
func (s *slot) run(d *dialing) {
	s.mu.Lock()
	pause := s.lost
	s.mu.Unlock()
	c, err := s.dialer.dial(s.t.life, pause, false, func(err error) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		d.last, s.why = err, err
		d.rounds++
		close(d.failed)
		d.failed = make(chan struct{})
		if d.waiters == 0 {
			s.dial, s.lost = nil, false // who comes from now on begins another
		}
		return d.waiters > 0
	})
	if err != nil && s.t.life.Err() != nil {
		err = ErrClosed
	}
	var pc *pooled
	if err == nil {
		pc = &pooled{Conn: c, t: s.t, caps: c.Capabilities()}
		s.t.count.conns.Add(1)
	}
	s.mu.Lock()
	d.conn, d.err, d.last = pc, err, err
	if s.dial == d {
		s.live.Store(pc)
		s.dial, s.lost, s.why = nil, false, err
	}
	s.mu.Unlock()
	close(d.done)
	if pc != nil {
		s.watch(pc)
	}
}

// watch waits until the connection is lost, has been idle for too long, or the
// transport closes, and ends it.
func (s *slot) watch(c *pooled) {
	defer s.t.count.conns.Add(-1)
	var tick <-chan time.Time
	if idle := s.t.opts.ConnIdle; !s.keep && idle > 0 {
		ticker := time.NewTicker(idle)
		defer ticker.Stop()
		tick = ticker.C
	}
	for sends := uint64(0); ; {
		select {
		case <-c.Done():
			s.mu.Lock()
			s.lost = true
			if s.live.Load() == c {
				s.why = c.Err()
			}
			s.mu.Unlock()
			s.live.CompareAndSwap(c, nil)
			s.t.connLost("a sending connection", c.Err())
			s.t.closeConn(c.Conn)
			return
		case <-tick:
			if n := c.sends.Load(); n != sends || c.inFlight.Load() > 0 {
				sends = n
				continue
			}
			s.live.CompareAndSwap(c, nil)
			s.t.closeConn(c.Conn)
			return
		case <-s.t.closing:
			s.live.CompareAndSwap(c, nil)
			s.t.closeConn(c.Conn)
			return
		}
	}
}

// connLost tells of a connection that ended by itself.
func (t *Transport) connLost(what string, err error) {
	if errors.Is(err, ErrClosed) {
		return
	}
	t.count.connsLost.Add(1)
	t.opts.Logger.Warn("patchbay: lost "+what, "url", t.url.String(), "error", err)
	if f := t.opts.Trace.ConnLost; f != nil {
		f(t.url.String(), err)
	}
}
