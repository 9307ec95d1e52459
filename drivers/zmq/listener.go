package zmq

import (
	"context"
	"slices"
	"sync"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

// listener receives requests at its sources, or replies at its address.
type listener struct {
	c       *conn
	sub     messaging.Subscription
	sources []*source
	ended   chan struct{}
	wake    chan struct{} // holds a token when a poller should look again

	handing sync.Mutex // held while sub.Deliver runs

	mu    sync.Mutex // protects the following, and what changes in sources
	ready fifo
	err   error // why Poll returns nothing any more
	gone  error // why nothing can be settled any more
}

func newListener(c *conn, sub messaging.Subscription) *listener {
	sub.Sources = slices.Clone(sub.Sources)
	l := &listener{c: c, sub: sub, ended: make(chan struct{}), wake: make(chan struct{}, 1)}
	for i, a := range sub.Sources {
		l.sources = append(l.sources, &source{listener: l, index: i, shares: map[*session]int{}, wire: proto.Source{
			Address: a, Group: sub.Group, Member: nameIn(sub.Sources, a), Prefetch: uint32(min(sub.Prefetch, maxOutstanding)), AtMostOnce: sub.AtMostOnce,
		}})
	}
	return l
}

// nameIn returns the name of the server that a fanout's source belongs to.
func nameIn(sources []messaging.Address, fanout messaging.Address) string {
	for _, a := range sources {
		if fanout.Fanout && a.Server != "" && a.Topic == fanout.Topic && a.Exchange == fanout.Exchange {
			return a.Server
		}
	}
	return ""
}

// Address implements messaging.Listener.
func (l *listener) Address() string { return l.sub.Reply }

// Poll implements messaging.Listener.
func (l *listener) Poll(ctx context.Context) (*messaging.Delivery, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for {
		d, err := l.take()
		if d != nil || err != nil {
			return d, err
		}
		select {
		case <-l.wake: // this token is ours: take passes it on if there is more
		case <-l.ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take returns the next delivery that is worth it: what has expired, and calls
// whose caller is gone, are not.
func (l *listener) take() (*messaging.Delivery, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.err == nil {
		d := l.ready.pop()
		if d == nil {
			return nil, nil
		}
		if d.source != nil && d.stale() {
			d.session.settle(d, proto.Drop)
			d.source.free()
			continue
		}
		if l.ready.len() > 0 {
			l.signal()
		}
		return &d.message, nil
	}
	return nil, l.err
}

// push adds a delivery. mu is held.
func (l *listener) push(d *delivery) {
	if l.err == nil {
		l.ready.push(d)
		l.signal()
	}
}

// deliver adds a reply. It reports false when too many wait.
func (l *listener) deliver(d *delivery) bool {
	if l.sub.Deliver != nil {
		l.hand(d)
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ready.len() >= maxReplies {
		return false
	}
	l.push(d)
	return true
}

// hand gives a reply away on the goroutine that received it, one at a time, since
// it comes from any link.
func (l *listener) hand(d *delivery) {
	l.handing.Lock()
	defer l.handing.Unlock()
	select {
	case <-l.ended:
	default:
		_ = l.sub.Deliver(&d.message) // a reply is always taken
	}
}

func (l *listener) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// finish ends Poll, once, and returns what was not polled.
func (l *listener) finish(reason error) []*delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil
	}
	l.err = reason
	close(l.ended)
	return l.ready.drain()
}

// Stop implements messaging.Listener. Clients hear first that the sources are
// gone, and then that they have their requests back: so these go elsewhere.
func (l *listener) Stop(context.Context) (returned int, err error) {
	rest := l.finish(messaging.ErrClosed)
	l.c.stopListening(l, false)
	for _, d := range rest {
		if d.source != nil && d.session.settle(d, proto.Gone) {
			returned++
		}
	}
	return returned, nil
}

// Close implements messaging.Listener.
func (l *listener) Close(ctx context.Context) error {
	_, err := l.Stop(ctx)
	l.handing.Lock()   // whatever Deliver is under way has returned then
	l.handing.Unlock() //nolint:staticcheck // see above
	l.mu.Lock()
	again := l.gone != nil
	if !again {
		l.gone = messaging.ErrClosed
	}
	l.mu.Unlock()
	if !again {
		l.c.stopListening(l, true)
	}
	return err
}

// abandon is the end of a listener whose node has ended.
func (l *listener) abandon(reason error) {
	l.finish(reason)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone == nil {
		l.gone = lostError(reason)
	}
}

// fifo is a queue in one slice, without allocation in steady state.
type fifo struct {
	items []*delivery
	head  int
}

func (f *fifo) len() int { return len(f.items) - f.head }

func (f *fifo) push(d *delivery) {
	if len(f.items) == cap(f.items) && f.head > len(f.items)/2 {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	f.items = append(f.items, d)
}

// pop returns nil when the queue is empty.
func (f *fifo) pop() *delivery {
	if f.len() == 0 {
		return nil
	}
	d := f.items[f.head]
	f.items[f.head] = nil
	f.head++
	if f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
	}
	return d
}

// drain empties the queue.
func (f *fifo) drain() []*delivery {
	rest := f.items[f.head:]
	*f = fifo{}
	return rest
}
