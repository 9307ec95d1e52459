package conformance_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/patchbay-go/patchbay/messaging"
)

// This file wraps a driver so that a mutant can break it anywhere. What no hook
// changes is passed on.

// hooks are where a mutant can interfere. Each is called instead of the
// driver's method, and may call it.
type hooks struct {
	open    func(u *messaging.URL)
	dial    func(ctx context.Context, w *world, ep messaging.Endpoint, next func(context.Context) (messaging.Conn, error)) (messaging.Conn, error)
	caps    func(c *messaging.Capabilities)
	send    func(ctx context.Context, c *conn, to messaging.Address, m *messaging.Message, done messaging.Completion) error
	listen  func(sub *messaging.Subscription)
	offer   func(deliver func(*messaging.Delivery) bool) func(*messaging.Delivery) bool // makes Subscription.Deliver
	address func(string) string
	poll    func(ctx context.Context, l *listener) (*messaging.Delivery, error)
	deliver func(l *listener, d *messaging.Delivery) // changes what Poll returns
	settle  func(ctx context.Context, s *settler, o messaging.Outcome) error
	stop    func(ctx context.Context, l *listener) (int, error)
	leave   func(ctx context.Context, l *listener) error // Listener.Close
	close   func(ctx context.Context, c *conn) error
}

// world is what the parts of one broken driver know of each other.
type world struct {
	hooks
	end chan struct{} // closed when the run is over: what hangs must end then

	mu        sync.Mutex
	listeners []*listener    // all that are open
	counts    map[string]int // whatever a mutant counts
	changed   chan struct{}
}

func newWorld(h hooks) *world {
	return &world{hooks: h, end: make(chan struct{}), counts: map[string]int{}, changed: make(chan struct{})}
}

// count adds to a counter and returns its new value.
func (w *world) count(key string, n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[key] += n
	close(w.changed)
	w.changed = make(chan struct{})
	return w.counts[key]
}

// servers returns the open listeners on a topic, or all with "".
func (w *world) servers(topic string) []*listener {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ls []*listener
	for _, l := range w.listeners {
		if len(l.sub.Sources) > 0 && (topic == "" || l.sub.Sources[0].Topic == topic) {
			ls = append(ls, l)
		}
	}
	return ls
}

// server returns the name of the server that listens there.
func (l *listener) server() string {
	if len(l.sub.Sources) < 2 {
		return ""
	}
	return l.sub.Sources[1].Server
}

// driver is that of one transport.
type driver struct {
	messaging.Driver
	w *world
}

func (d *driver) Dial(ctx context.Context, ep messaging.Endpoint) (messaging.Conn, error) {
	next := func(ctx context.Context) (messaging.Conn, error) { return d.Driver.Dial(ctx, ep) }
	var inner messaging.Conn
	var err error
	if d.w.dial != nil {
		inner, err = d.w.dial(ctx, d.w, ep, next)
	} else {
		inner, err = next(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &conn{Conn: inner, w: d.w, driver: d}, nil
}

type conn struct {
	messaging.Conn
	w      *world
	driver *driver
	lost   atomic.Bool
}

// cut ends the connection as though the link had gone.
func (c *conn) cut(ctx context.Context) {
	c.lost.Store(true)
	_ = c.Conn.Close(ctx)
}

func (c *conn) Err() error {
	if err := c.Conn.Err(); err == nil || !c.lost.Load() {
		return err
	}
	return messaging.ErrConnLost
}

func (c *conn) Capabilities() messaging.Capabilities {
	caps := c.Conn.Capabilities()
	if c.w.caps != nil {
		c.w.caps(&caps)
	}
	return caps
}

func (c *conn) Send(ctx context.Context, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
	if c.w.send != nil {
		return c.w.send(ctx, c, to, m, done)
	}
	return c.Conn.Send(ctx, to, m, done)
}

func (c *conn) Listen(ctx context.Context, sub messaging.Subscription) (messaging.Listener, error) {
	if c.w.listen != nil {
		c.w.listen(&sub)
	}
	if c.w.offer == nil {
		sub.Deliver = nil // so that all passes through Poll, where it can be changed
	} else {
		sub.Deliver = c.w.offer(sub.Deliver)
	}
	inner, err := c.Conn.Listen(ctx, sub)
	if err != nil {
		return nil, err
	}
	l := &listener{Listener: inner, w: c.w, conn: c, sub: sub}
	c.w.mu.Lock()
	c.w.listeners = append(c.w.listeners, l)
	c.w.mu.Unlock()
	return l, nil
}

func (c *conn) Close(ctx context.Context) error {
	c.w.mu.Lock()
	c.w.listeners = slices.DeleteFunc(c.w.listeners, func(l *listener) bool { return l.conn == c })
	c.w.mu.Unlock()
	if c.w.close != nil {
		return c.w.close(ctx, c)
	}
	return c.Conn.Close(ctx)
}

type listener struct {
	messaging.Listener
	w    *world
	conn *conn
	sub  messaging.Subscription

	mu    sync.Mutex
	count int // whatever a mutant counts
}

func (l *listener) Address() string {
	if l.w.address != nil {
		return l.w.address(l.Listener.Address())
	}
	return l.Listener.Address()
}

func (l *listener) Poll(ctx context.Context) (*messaging.Delivery, error) {
	if l.w.poll != nil {
		return l.w.poll(ctx, l)
	}
	return l.next(ctx)
}

// next polls the driver and puts the mutant between the delivery and it.
func (l *listener) next(ctx context.Context) (*messaging.Delivery, error) {
	d, err := l.Listener.Poll(ctx)
	switch {
	case err != nil && l.conn.lost.Load():
		return nil, messaging.ErrConnLost
	case err != nil:
		return nil, err
	}
	outer := messaging.NewDelivery(d.Message, &settler{l: l, inner: d})
	outer.Source, outer.Redelivered, outer.Count, outer.Lost, outer.Tag = d.Source, d.Redelivered, d.Count, d.Lost, d.Tag
	if l.w.deliver != nil {
		l.w.deliver(l, outer)
	}
	return outer, nil
}

func (l *listener) Stop(ctx context.Context) (int, error) {
	l.forget()
	if l.w.stop != nil {
		return l.w.stop(ctx, l)
	}
	return l.Listener.Stop(ctx)
}

func (l *listener) Close(ctx context.Context) error {
	l.forget()
	if l.w.leave != nil {
		return l.w.leave(ctx, l)
	}
	return l.Listener.Close(ctx)
}

func (l *listener) forget() {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	l.w.listeners = slices.DeleteFunc(l.w.listeners, func(other *listener) bool { return other == l })
}

type settler struct {
	l     *listener
	inner *messaging.Delivery
}

func (s *settler) Settle(ctx context.Context, _ *messaging.Delivery, o messaging.Outcome) error {
	if s.l.w.settle != nil {
		return s.l.w.settle(ctx, s, o)
	}
	return s.inner.Settle(ctx, o)
}

// isRequest reports whether an address is one of RPC, and which.
func isAny(a messaging.Address) bool {
	return a.Kind == messaging.KindRPC && !a.Fanout && a.Server == ""
}

func isNamed(a messaging.Address) bool {
	return a.Kind == messaging.KindRPC && !a.Fanout && a.Server != ""
}

func isFanout(a messaging.Address) bool { return a.Kind == messaging.KindRPC && a.Fanout }

// setHeader changes a header of a message, or removes it.
func setHeader(m *messaging.Message, key string, change func(string) string) {
	for i := range m.Headers {
		if m.Headers[i].Key == key {
			m.Headers[i].Value = change(m.Headers[i].Value)
		}
	}
}

func dropHeader(m *messaging.Message, key string) {
	var kept []messaging.Header
	for _, h := range m.Headers {
		if h.Key != key {
			kept = append(kept, h)
		}
	}
	m.Headers = kept
}

// copyOf returns a message that may be kept after Send.
func copyOf(m *messaging.Message) *messaging.Message {
	c := *m
	c.Headers = append([]messaging.Header(nil), m.Headers...)
	c.Body = append([]byte(nil), m.Body...)
	return &c
}
