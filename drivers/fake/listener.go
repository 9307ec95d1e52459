package fake

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// listener receives from one queue for each source, or from one for its group.
type listener struct {
	conn      *conn
	sub       messaging.Subscription
	consumers []*consumer // fixed once subscribed
	ended     chan struct{}
	wake      chan struct{}         // holds a token when a poller should look again
	gone      atomic.Pointer[error] // why nothing can be settled any more

	mu      sync.Mutex // guards the following; no lock is taken under it
	ready   fifo[prefetched]
	handing bool  // hand is at work: Poll waits, so that the order remains
	err     error // why Poll returns nothing any more
}

// prefetched is a delivery that nobody has polled yet.
type prefetched struct {
	delivery *messaging.Delivery
	from     *consumer
}

func newListener(c *conn, sub messaging.Subscription) *listener {
	sub.Sources = slices.Clone(sub.Sources)
	return &listener{
		conn: c, sub: sub,
		ended: make(chan struct{}),
		wake:  make(chan struct{}, 1),
	}
}

func (l *listener) Address() string { return l.sub.Reply }

// Poll takes the next delivery.
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

func (l *listener) take() (*messaging.Delivery, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	if l.handing {
		return nil, nil
	}
	p, ok := l.ready.pop()
	if !ok {
		return nil, nil
	}
	if l.ready.len() > 0 {
		l.signal()
	}
	return p.delivery, nil
}

// push adds a delivery, or reports that it is to be handed over instead. After the
// end it is dropped here: the message is still unsettled, and goes back with the
// others.
func (l *listener) push(p prefetched) (hand bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.err != nil:
		return false
	case l.sub.Deliver != nil && !l.handing && l.ready.len() == 0:
		l.handing = true
		return true
	}
	l.ready.push(p)
	if !l.handing {
		l.signal()
	}
	return false
}

// maxHanded bounds how many deliveries a sender hands over, so that its Send ends
// although others send on and on.
const maxHanded = 64

// hand offers p to Deliver, and then what became ready meanwhile, in its order; it
// leaves the rest to Poll when one is refused, or it has handed over many. No lock
// that settling takes is held.
func (l *listener) hand(p prefetched) {
	for n, ok := 1, true; ok; n++ {
		switch {
		case l.sub.Deliver(p.delivery):
		case l.refused(p):
			return
		default: // stopped meanwhile
			p.from.giveBack(p.delivery.Tag)
			return
		}
		p, ok = l.next(n)
	}
}

// next returns what hand offers next, after n deliveries. There is nothing after the
// end.
func (l *listener) next(n int) (prefetched, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n == maxHanded && l.ready.len() > 0 {
		l.handing = false
		l.signal()
		return prefetched{}, false
	}
	p, ok := l.ready.pop()
	l.handing = ok
	return p, ok
}

// refused puts what Deliver has refused where Poll finds it, and reports false
// after the end.
func (l *listener) refused(p prefetched) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handing = false
	if l.err != nil {
		return false
	}
	l.ready.unpop(p)
	l.signal()
	return true
}

func (l *listener) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// finish ends Poll, once, and returns what was not polled.
func (l *listener) finish(reason error) []prefetched {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil
	}
	l.err = reason
	close(l.ended)
	return l.ready.drain()
}

// Stop gives the prefetched deliveries back as though never delivered.
func (l *listener) Stop(context.Context) (returned int, err error) {
	for _, c := range l.consumers {
		c.cancel()
	}
	for _, p := range l.finish(messaging.ErrClosed) {
		if p.from.giveBack(p.delivery.Tag) {
			returned++
		}
	}
	return returned, nil
}

// Close stops, gives back what was not settled, and deletes the private queues.
func (l *listener) Close(ctx context.Context) error {
	_, err := l.Stop(ctx)
	if !l.free(messaging.ErrClosed) {
		return err
	}
	l.conn.mu.Lock()
	delete(l.conn.listeners, l)
	l.conn.mu.Unlock()
	l.conn.broker.topology.unsubscribe(l)
	return err
}

// abandon is the end of a listener whose connection ended.
func (l *listener) abandon(reason error) {
	l.finish(reason)
	l.free(lostError(reason))
}

// free ends settling, once, and gives back what was not settled. It returns
// false if that was done before: then the private queues, too, were deleted, or
// were left behind by a lost connection and expire.
func (l *listener) free(reason error) bool {
	if !l.gone.CompareAndSwap(nil, &reason) {
		return false
	}
	for _, c := range l.consumers {
		c.detach()
	}
	return true
}

// resume takes deliveries again after a freeze.
func (l *listener) resume() {
	for _, c := range l.consumers {
		c.queue.mu.Lock()
		c.queue.pump()
		c.queue.unlock()
	}
}

// consumer is a listener's share in one queue. The queue's lock guards its changing
// fields.
type consumer struct {
	queue    *queue
	listener *listener
	source   int // index in Sources; -1: by the message's address, of a group

	unsettled unsettled
}

// hasRoom reports whether another delivery fits. The queue's lock is held.
func (c *consumer) hasRoom() bool {
	return c.unsettled.len() < c.listener.sub.Prefetch && c.listener.conn.state.Load()&(frozen|closed) == 0
}

// deliver hands a copy of it to the listener. The queue's lock is held.
func (c *consumer) deliver(it *item, left time.Duration) {
	own := c.queue.newDelivery()
	own.from = c
	m := it.message
	m.TTL = left
	own.headers = append(own.headers[:0], m.Headers...)
	own.body = append(own.body[:0], m.Body...)
	m.Headers, m.Body = own.headers, own.body
	d := &own.Delivery
	d.Init(m, own)
	d.Source = c.source
	if d.Source < 0 {
		d.Source = slices.Index(c.listener.sub.Sources, it.to)
	}
	d.Count = it.count
	d.Redelivered = it.redelivered
	d.Tag = c.unsettled.add(it)
	if p := (prefetched{delivery: d, from: c}); c.listener.push(p) {
		c.queue.hand = append(c.queue.hand, p)
	}
}

// delivery is a delivery together with what most of them hold: one allocation
// instead of three. The queue uses it again, if its receiver says that it can.
type delivery struct {
	messaging.Delivery
	from    *consumer
	headers []messaging.Header
	body    []byte

	someHeaders [4]messaging.Header
	someBody    [128]byte
}

// Settle settles a delivery. One that the broker has forgotten, because its
// queue was deleted, is settled without effect, as on a real one.
func (d *delivery) Settle(_ context.Context, _ *messaging.Delivery, o messaging.Outcome) error {
	c := d.from
	l := c.listener
	if gone := l.gone.Load(); gone != nil {
		return *gone
	}
	tag := d.Tag
	if l.conn.state.Load()&frozen == 0 || !l.conn.holdSettle(func() { c.settle(tag, o) }) {
		c.settle(tag, o)
	}
	return nil
}

// Recycle implements messaging.Recycler.
func (d *delivery) Recycle(*messaging.Delivery) {
	q := d.from.queue
	if cap(d.body) > maxFreeBody {
		return
	}
	d.Delivery = messaging.Delivery{}
	clear(d.headers)
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.spare) < maxFree {
		q.spare = append(q.spare, d)
	}
}

func (c *consumer) settle(tag uint64, o messaging.Outcome) {
	q := c.queue
	q.mu.Lock()
	defer q.unlock()
	it := c.unsettled.take(tag)
	if it == nil {
		return
	}
	switch o {
	case messaging.Requeue:
		q.putBack(it, true)
	case messaging.Drop:
		q.dead.add(it)
		q.recycle(it)
	default:
		q.recycle(it)
	}
	q.pump()
}

// cancel ends new deliveries.
func (c *consumer) cancel() {
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	c.queue.detach(c)
}

// giveBack returns one delivery as though it never was, and reports whether it
// was still there.
func (c *consumer) giveBack(tag uint64) bool {
	q := c.queue
	q.mu.Lock()
	defer q.unlock()
	it := c.unsettled.take(tag)
	if it == nil {
		return false
	}
	q.putBack(it, false)
	q.pump()
	return true
}

// detach ends the consumer: all that it has not settled goes back.
func (c *consumer) detach() {
	q := c.queue
	q.mu.Lock()
	defer q.unlock()
	q.detach(c)
	c.unsettled.drain(func(it *item) { q.putBack(it, true) })
	q.pump()
}

// fifo is a queue in one slice, without allocation in steady state.
type fifo[T any] struct {
	items []T
	head  int
}

func (f *fifo[T]) len() int { return len(f.items) - f.head }

func (f *fifo[T]) push(v T) {
	if len(f.items) == cap(f.items) && f.head > len(f.items)/2 {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	f.items = append(f.items, v)
}

func (f *fifo[T]) pop() (T, bool) {
	var zero T
	if f.len() == 0 {
		return zero, false
	}
	v := f.items[f.head]
	f.items[f.head] = zero
	f.head++
	if f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
	}
	return v, true
}

// unpop puts back what pop returned last.
func (f *fifo[T]) unpop(v T) {
	if f.head == 0 {
		f.items = slices.Insert(f.items, 0, v)
		return
	}
	f.head--
	f.items[f.head] = v
}

// drain empties the queue.
func (f *fifo[T]) drain() []T {
	rest := f.items[f.head:]
	*f = fifo[T]{}
	return rest
}
