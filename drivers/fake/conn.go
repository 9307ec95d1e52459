package fake

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/patchbay-go/patchbay/messaging"
)

// state is a set of conditions of a connection. Without any, a send takes no
// lock of the connection.
type state = uint32

const (
	closed  state = 1 << iota // no more sends; Done is closed, or Close waits for outcomes
	blocked                   // connection.blocked: sends wait
	frozen                    // nothing reaches the broker, and nothing comes from it
	holding                   // sends reach the broker, their confirms do not come back
)

// conn is one connection. It has no goroutine: what it sends is routed and
// confirmed inside Send, unless a fault holds it back.
type conn struct {
	broker *Broker
	host   messaging.HostPort
	name   string
	window int

	state atomic.Uint32 // written under mu
	done  chan struct{}
	route atomic.Pointer[route] // of the message sent last

	mu        sync.Mutex // guards the following; taken before all locks of the topology
	err       error      // why it ended
	changed   chan struct{}
	pending   []pending // in the order of Send and Settle
	listeners map[*listener]struct{}
}

// pending is what a fault holds back: a send, or a settle.
type pending struct {
	run        func() error         // what the broker does not know yet; nil once it does
	outcome    error                // of run
	completion messaging.Completion // nil: nobody asks
}

func newConn(b *Broker, ep messaging.Endpoint, window int, s state) *conn {
	c := &conn{
		broker: b, host: ep.Host, name: ep.Name, window: window,
		done:      make(chan struct{}),
		changed:   make(chan struct{}),
		listeners: map[*listener]struct{}{},
	}
	c.state.Store(s)
	return c
}

// Send routes m. It tells c the outcome before it returns, unless a fault holds
// the outcome back.
func (c *conn) Send(ctx context.Context, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
	if ctx.Err() != nil {
		return notSent(context.Cause(ctx))
	}
	if limit := c.broker.maxMessage; limit > 0 && int64(len(m.Body)) > limit {
		return notSent(messaging.ErrTooLarge)
	}
	if c.state.Load() != 0 {
		held, err := c.sendHeld(ctx, to, m, done)
		if held || err != nil {
			return err
		}
	}
	outcome := c.broker.topology.publish(to, m, &c.route)
	if done != nil {
		done.Complete(outcome)
	}
	return nil
}

// sendHeld sends while a fault lasts. It returns false when that is over.
func (c *conn) sendHeld(ctx context.Context, to messaging.Address, m *messaging.Message, done messaging.Completion) (held bool, err error) {
	for {
		c.mu.Lock()
		s, changed := c.state.Load(), c.changed
		switch {
		case s&closed != 0:
			err := cmp.Or(c.err, messaging.ErrClosed) // nil: Close waits for outcomes
			c.mu.Unlock()
			return false, notSent(err)
		case s&blocked == 0 && len(c.pending) < c.window:
			held := c.hold(s, to, m, done)
			c.mu.Unlock()
			return held, nil
		}
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return false, notSent(waitError(ctx, "waiting until the connection takes more"))
		}
	}
}

// hold keeps the send, or its outcome, until the fault is over. mu is held.
func (c *conn) hold(s state, to messaging.Address, m *messaging.Message, done messaging.Completion) bool {
	p := pending{completion: done}
	switch {
	case s&frozen != 0:
		own := cloneMessage(m)
		p.run = func() error { return c.broker.topology.publish(to, &own, &c.route) }
	case s&holding != 0:
		p.outcome = c.broker.topology.publish(to, m, &c.route)
	default:
		return false
	}
	c.pending = append(c.pending, p)
	return true
}

// setState switches conditions on or off, and lets go what they held back.
func (c *conn) setState(bits state, on bool) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	s := c.state.Load() &^ bits
	if on {
		s |= bits
	}
	released := c.release(s)
	c.state.Store(s) // only now: later sends must not overtake the released
	close(c.changed)
	c.changed = make(chan struct{})
	listeners := c.snapshot()
	c.mu.Unlock()

	for _, p := range released {
		p.complete(p.outcome)
	}
	for _, l := range listeners {
		l.resume()
	}
}

// release does what state s no longer holds back, and returns those whose
// outcome may be told. mu is held.
func (c *conn) release(s state) []pending {
	if s&frozen != 0 {
		return nil
	}
	for i := range c.pending {
		if p := &c.pending[i]; p.run != nil {
			p.outcome, p.run = p.run(), nil
		}
	}
	if s&holding != 0 {
		return nil
	}
	released := c.pending
	c.pending = nil
	return released
}

func (p *pending) complete(outcome error) {
	if p.completion != nil {
		p.completion.Complete(outcome)
	}
}

// holdSettle keeps a settle until the freeze is over. It returns false when that
// is not so any more.
func (c *conn) holdSettle(run func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.state.Load()&frozen == 0 {
		return false
	}
	c.pending = append(c.pending, pending{run: func() error { run(); return nil }})
	return true
}

// Listen declares the queues that sub needs and consumes from them.
func (c *conn) Listen(ctx context.Context, sub messaging.Subscription) (messaging.Listener, error) {
	if err := checkSubscription(&sub); err != nil {
		return nil, err
	}
	if err := c.broker.awaitThaw(ctx, c.done); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Load()&closed != 0 {
		return nil, lostError(c.err)
	}
	l := newListener(c, sub)
	c.listeners[l] = struct{}{}
	c.broker.topology.subscribe(l)
	return l, nil
}

// Capabilities are all there are.
func (c *conn) Capabilities() messaging.Capabilities {
	return messaging.Capabilities{
		Durable: true, Ordered: true, Requeue: true, Mandatory: true, TTL: true,
		Priority: true, Groups: true, Taps: true, OfflineCast: true, DeadLetter: true,
		DeliveryCount: true, StableReply: true, Exchanges: true,
		MaxMessage: c.broker.maxMessage,
	}
}

func (c *conn) Done() <-chan struct{} { return c.done }

func (c *conn) Err() error {
	select {
	case <-c.done:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.err
	default:
		return nil
	}
}

// Close refuses further sends, waits for outcomes that a fault holds back until
// ctx ends, and ends the connection.
func (c *conn) Close(ctx context.Context) error {
	c.mu.Lock()
	if c.err == nil {
		c.state.Store(c.state.Load() | closed)
	}
	for c.err == nil && len(c.pending) > 0 && ctx.Err() == nil {
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		c.mu.Lock()
	}
	c.mu.Unlock()
	c.end(messaging.ErrClosed)
	<-c.done
	return nil
}

// end ends the connection, once.
func (c *conn) end(reason error) {
	if c.die(reason) {
		c.bury()
	}
}

// die stops all traffic, and returns true the first time. It is apart from bury
// so that connections which die together do not inherit each other's messages.
func (c *conn) die(reason error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.err = reason
	c.state.Store(closed)
	close(c.changed)
	return true
}

// bury gives back unsettled deliveries, makes pending outcomes unknown, and
// closes Done. It follows a die that returned true.
func (c *conn) bury() {
	c.mu.Lock()
	reason, unknown, listeners := c.err, c.pending, c.snapshot()
	c.pending, c.listeners = nil, nil
	c.mu.Unlock()

	c.broker.forget(c)
	for _, l := range listeners {
		l.abandon(reason)
	}
	for _, p := range unknown {
		p.complete(fmt.Errorf("%w: %w", messaging.ErrOutcomeUnknown, reason))
	}
	close(c.done)
}

// snapshot returns the listeners. mu is held.
func (c *conn) snapshot() []*listener {
	ls := make([]*listener, 0, len(c.listeners))
	for l := range c.listeners {
		ls = append(ls, l)
	}
	return ls
}

func cloneMessage(m *messaging.Message) messaging.Message {
	own := *m
	own.Headers = slices.Clone(m.Headers)
	own.Body = slices.Clone(m.Body)
	return own
}
