package memdriver

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// listener reads from a queue for each source. Nothing is prefetched: Poll
// takes from the queues themselves, while it has less than Prefetch unsettled.
// The hub's lock guards it.
type listener struct {
	conn    *conn
	reply   string
	limit   int
	sources []source
	next    int // where the next Poll begins to look, so that no source starves
	tag     uint64
	stopped bool
	closed  bool
}

// source is one address that a listener reads, and the settler of what came
// from there.
type source struct {
	listener  *listener
	address   messaging.Address
	queue     *queue
	unsettled map[uint64]*message // by Delivery.Tag
}

// newListener binds queues to the sources. The hub's lock is held.
func newListener(c *conn, sub messaging.Subscription) *listener {
	l := &listener{conn: c, reply: sub.Reply, limit: sub.Prefetch}
	addresses := sub.Sources
	if sub.Reply != "" {
		addresses = []messaging.Address{{Kind: messaging.KindReply, Direct: sub.Reply}}
	}
	for _, a := range addresses {
		l.sources = append(l.sources, source{listener: l, address: a, queue: c.hub.bind(a), unsettled: map[uint64]*message{}})
	}
	return l
}

func (l *listener) Address() string { return l.reply }

// Poll waits until there is something to take.
func (l *listener) Poll(ctx context.Context) (*messaging.Delivery, error) {
	for {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		l.conn.hub.mu.Lock()
		d, changed, stopped := l.take(), l.conn.hub.changed, l.stopped
		l.conn.hub.mu.Unlock()
		switch {
		case stopped:
			return nil, messaging.ErrClosed
		case d != nil:
			return d, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// take returns the next delivery, or nil. The hub's lock is held.
func (l *listener) take() *messaging.Delivery {
	if l.stopped {
		return nil
	}
	for range l.sources {
		i := l.next
		l.next = (l.next + 1) % len(l.sources)
		s := &l.sources[i]
		if len(s.unsettled) >= l.limit {
			continue
		}
		m := s.queue.pop()
		if m == nil {
			continue
		}
		d := messaging.NewDelivery(clone(&m.Message), s)
		d.Source, d.Redelivered = i, m.redelivered
		l.tag++
		d.Tag = l.tag
		s.unsettled[d.Tag] = m
		return d
	}
	return nil
}

// pop returns the first message that has not expired, or nil.
func (q *queue) pop() *message {
	for len(q.messages) > 0 {
		m := q.messages[0]
		q.messages = q.messages[1:]
		if m.expires.IsZero() {
			return m
		}
		if m.TTL = time.Until(m.expires); m.TTL > 0 {
			return m
		}
	}
	return nil
}

// Settle forgets the message. What cannot be done is refused before anything
// changed: the message then stays unsettled, and goes back when the listener ends.
func (s *source) Settle(_ context.Context, d *messaging.Delivery, o messaging.Outcome) error {
	if o == messaging.Requeue {
		return fmt.Errorf("%w: requeue", messaging.ErrUnsupported)
	}
	hub := s.listener.conn.hub
	hub.mu.Lock()
	defer hub.mu.Unlock()
	if s.listener.closed {
		return fmt.Errorf("%w: %w", messaging.ErrConnLost, messaging.ErrClosed)
	}
	delete(s.unsettled, d.Tag)
	hub.notify() // there is room now
	return nil
}

// Stop returns 0: there is nothing prefetched to give back.
func (l *listener) Stop(context.Context) (returned int, err error) {
	l.conn.hub.mu.Lock()
	defer l.conn.hub.mu.Unlock()
	l.stop()
	return 0, nil
}

func (l *listener) stop() {
	l.stopped = true
	l.conn.hub.notify()
}

func (l *listener) Close(context.Context) error {
	l.conn.hub.mu.Lock()
	defer l.conn.hub.mu.Unlock()
	delete(l.conn.listeners, l)
	l.close()
	return nil
}

// close gives back what was not settled. The hub's lock is held.
func (l *listener) close() {
	if l.closed {
		return
	}
	l.closed = true
	for i := range l.sources {
		s := &l.sources[i]
		var back []*message
		for _, tag := range slices.Sorted(maps.Keys(s.unsettled)) {
			m := s.unsettled[tag]
			m.redelivered = true
			back = append(back, m)
		}
		s.queue.messages = append(back, s.queue.messages...)
		clear(s.unsettled)
		l.conn.hub.unbind(s.address, s.queue)
	}
	l.stop()
}
