// Package memdriver is a driver as small as one can be: queues in memory, and
// only the capabilities that come almost by themselves. docs/driver-guide.md walks
// through it, and its test runs the conformance suite on it. Copy it to begin a
// driver; for tests of applications use drivers/fake, which can do everything.
package memdriver

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

// Hub is what connections connect to: the "broker". NewHub makes one.
type Hub struct {
	mu      sync.Mutex // guards everything of the hub, its queues and its listeners
	changed chan struct{}
	bound   map[messaging.Address][]*queue
}

// queue is a list of messages.
type queue struct {
	messages []*message
}

type message struct {
	messaging.Message
	expires     time.Time // zero: never
	redelivered bool
}

// NewHub returns a hub of its own world.
func NewHub() *Hub {
	return &Hub{changed: make(chan struct{}), bound: map[messaging.Address][]*queue{}}
}

// Open is a messaging.Opener for this hub.
func (h *Hub) Open(u *messaging.URL, opts *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
	if err := u.Options().Err(); err != nil { // there are no options: any is unknown
		return nil, nil, err
	}
	return &driver{hub: h}, []messaging.Codec{wire.Native(opts.MaxMessage), wire.Oslo(opts.MaxMessage)}, nil
}

type driver struct{ hub *Hub }

func (d *driver) SingleConn() bool { return false }

// Dial cannot fail: there is no network.
func (d *driver) Dial(context.Context, messaging.Endpoint) (messaging.Conn, error) {
	return &conn{hub: d.hub, listeners: map[*listener]struct{}{}, done: make(chan struct{})}, nil
}

// publish puts a copy of m into every queue bound to the address. mu is held.
func (h *Hub) publish(to messaging.Address, m *messaging.Message) error {
	if m.Ensure && !to.Fanout && len(h.bound[to]) == 0 {
		h.bind(to) // nobody has listened there yet
	}
	for _, q := range h.bound[to] {
		own := &message{Message: clone(m)}
		if m.TTL > 0 {
			own.expires = time.Now().Add(m.TTL)
		}
		q.messages = append(q.messages, own)
	}
	if len(h.bound[to]) == 0 && m.Mandatory && !to.Fanout {
		return messaging.ErrNoRoute
	}
	h.notify()
	return nil
}

// clone copies m with its slices: a message belongs to who sent it as soon as
// Send has returned, and a delivery to who polled it.
func clone(m *messaging.Message) messaging.Message {
	c := *m
	c.Headers = append([]messaging.Header(nil), m.Headers...)
	c.Body = append([]byte(nil), m.Body...)
	return c
}

// notify wakes every poller. mu is held.
func (h *Hub) notify() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// bind returns a queue for the address: for a fanout a new one, else the one
// that all listeners share. mu is held.
func (h *Hub) bind(a messaging.Address) *queue {
	if !a.Fanout && len(h.bound[a]) > 0 {
		return h.bound[a][0]
	}
	q := &queue{}
	h.bound[a] = append(h.bound[a], q)
	return q
}

// unbind removes a queue that is of one listener only. The others stay, with
// what is in them, for servers that come later. mu is held.
func (h *Hub) unbind(a messaging.Address, q *queue) {
	if !a.Fanout && a.Kind != messaging.KindReply {
		return
	}
	h.bound[a] = slices.DeleteFunc(h.bound[a], func(other *queue) bool { return other == q })
	if len(h.bound[a]) == 0 {
		delete(h.bound, a)
	}
}

type conn struct {
	hub       *Hub
	done      chan struct{}
	listeners map[*listener]struct{} // guarded by hub.mu; nil once closed
}

// Send never waits, and knows the outcome at once. So there is no window and no
// outcome is ever pending, and it ends before done is told.
func (c *conn) Send(ctx context.Context, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", messaging.ErrNotSent, context.Cause(ctx))
	}
	c.hub.mu.Lock()
	if c.listeners == nil {
		c.hub.mu.Unlock()
		return fmt.Errorf("%w: %w", messaging.ErrNotSent, messaging.ErrClosed)
	}
	outcome := c.hub.publish(to, m)
	c.hub.mu.Unlock()
	if done != nil {
		done.Complete(outcome) // without the lock
	}
	return nil
}

func (c *conn) Listen(_ context.Context, sub messaging.Subscription) (messaging.Listener, error) {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if c.listeners == nil {
		return nil, fmt.Errorf("%w: %w", messaging.ErrConnLost, messaging.ErrClosed)
	}
	l := newListener(c, sub)
	c.listeners[l] = struct{}{}
	return l, nil
}

// Capabilities lists what comes by itself. The core refuses the rest before it
// reaches the driver, but for the outcome Requeue: see Settle.
func (c *conn) Capabilities() messaging.Capabilities {
	return messaging.Capabilities{
		Ordered: true, Mandatory: true, TTL: true, OfflineCast: true, StableReply: true, Exchanges: true,
	}
}

func (c *conn) Done() <-chan struct{} { return c.done }

func (c *conn) Err() error {
	select {
	case <-c.done:
		return messaging.ErrClosed
	default:
		return nil
	}
}

func (c *conn) Close(context.Context) error {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if c.listeners == nil {
		return nil
	}
	for l := range c.listeners {
		l.close()
	}
	c.listeners = nil
	close(c.done)
	return nil
}
