package fake

import (
	"container/heap"
	"slices"
	"sync"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// item is a message in a queue. The queue reuses it, with its buffers, once it
// was settled: so receivers get copies, and a waiting message costs one.
type item struct {
	to          messaging.Address
	message     messaging.Message
	expires     time.Duration // on the queue's clock; 0: never
	seq         uint64        // its place among those of its priority
	count       int           // earlier deliveries
	redelivered bool
}

// backlog is what waits in a queue: a heap by priority, then by place.
type backlog []*item

func (b backlog) Len() int { return len(b) }
func (b backlog) Less(i, j int) bool {
	if p, q := b[i].message.Priority, b[j].message.Priority; p != q {
		return p > q
	}
	return b[i].seq < b[j].seq
}
func (b backlog) Swap(i, j int) { b[i], b[j] = b[j], b[i] }
func (b *backlog) Push(x any)   { *b = append(*b, x.(*item)) }
func (b *backlog) Pop() any {
	last := len(*b) - 1
	it := (*b)[last]
	(*b)[last] = nil
	*b = (*b)[:last]
	return it
}

// queue holds messages until a consumer with room takes them, in turns.
type queue struct {
	name    string
	private bool // of one listener: transient, and expires without it
	expiry  time.Duration
	born    time.Time // when its clock began: to read what passed since is half as dear as the time
	dead    *deadLetters

	mu          sync.Mutex // guards the following; a listener's lock may be taken under it
	limit       int        // waiting messages; 0: none
	sheds       bool       // when it is full it drops what waits, instead of refusing what comes
	waiting     backlog
	consumers   []*consumer // in turn
	seq         uint64
	unusedSince time.Time // while there is no consumer
	free        []*item
	spare       []*delivery
	hand        []prefetched // to be handed over without the lock
}

// unlock ends what may have delivered something.
func (q *queue) unlock() {
	if len(q.hand) == 0 {
		q.mu.Unlock()
		return
	}
	var room [4]prefetched
	ps := append(room[:0], q.hand...)
	clear(q.hand)
	q.hand = q.hand[:0]
	q.mu.Unlock()
	for _, p := range ps {
		p.from.listener.hand(p)
	}
}

// Bounds on what a queue keeps for reuse.
const (
	maxFree     = 64
	maxFreeBody = 64 << 10
)

// publish takes in a copy of m, unless the queue has expired. It returns
// ErrRejected when the queue is full.
func (q *queue) publish(to messaging.Address, m *messaging.Message) (took bool, err error) {
	q.mu.Lock()
	defer q.unlock()
	if q.hasExpired() {
		return false, nil
	}
	if q.limit > 0 && len(q.waiting) >= q.limit {
		if !q.sheds {
			return false, messaging.ErrRejected
		}
		q.recycle(heap.Pop(&q.waiting).(*item))
	}
	it := q.newItem()
	body, headers := it.message.Body, it.message.Headers
	*it = item{to: to, message: *m, seq: q.seq}
	it.message.Body = append(body[:0], m.Body...)
	it.message.Headers = append(headers[:0], m.Headers...)
	it.message.Priority = min(m.Priority, 9)
	if m.TTL != 0 {
		it.expires = max(time.Since(q.born)+m.TTL, 1)
	}
	q.seq++
	if len(q.waiting) == 0 && m.TTL >= 0 {
		if c := q.turn(); c != nil { // it need not wait
			c.deliver(it, m.TTL)
			return true, nil
		}
	}
	heap.Push(&q.waiting, it)
	q.pump()
	return true, nil
}

// maxTapped bounds what waits for a tap: who only watches, and stalls, must cost
// nobody else anything.
const maxTapped = 10_000

// shed bounds the queue, and makes it drop what would be the next to be delivered
// when it is full.
func (q *queue) shed(limit int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sheds = true; q.limit == 0 || q.limit > limit {
		q.limit = limit
	}
}

// pump hands waiting messages to consumers while these have room. mu is held.
func (q *queue) pump() {
	for len(q.waiting) > 0 {
		c := q.turn()
		if c == nil {
			return
		}
		it := heap.Pop(&q.waiting).(*item)
		left, ok := q.timeLeft(it)
		if !ok {
			q.recycle(it)
			continue
		}
		c.deliver(it, left)
	}
}

// turn returns the next consumer with room, or nil, and makes it the last in
// turn. mu is held.
func (q *queue) turn() *consumer {
	for i, c := range q.consumers {
		if c.hasRoom() {
			copy(q.consumers[i:], q.consumers[i+1:])
			q.consumers[len(q.consumers)-1] = c
			return c
		}
	}
	return nil
}

// timeLeft returns the rest of a message's life, 0 for ever, and whether it is
// alive.
func (q *queue) timeLeft(it *item) (time.Duration, bool) {
	if it.expires == 0 {
		return 0, true
	}
	left := it.expires - time.Since(q.born)
	return left, left > 0
}

// putBack returns an unsettled message to its place. mu is held.
func (q *queue) putBack(it *item, attempted bool) {
	if attempted {
		it.count++
		it.redelivered = true
	}
	heap.Push(&q.waiting, it)
}

func (q *queue) newItem() *item {
	last := len(q.free) - 1
	if last < 0 {
		return &item{}
	}
	it := q.free[last]
	q.free = q.free[:last]
	return it
}

func (q *queue) newDelivery() *delivery {
	last := len(q.spare) - 1
	if last < 0 {
		d := &delivery{}
		d.headers, d.body = d.someHeaders[:], d.someBody[:]
		return d
	}
	d := q.spare[last]
	q.spare = q.spare[:last]
	return d
}

// recycle keeps a settled message's memory for the next. mu is held.
func (q *queue) recycle(it *item) {
	if len(q.free) < maxFree && cap(it.message.Body) <= maxFreeBody {
		it.message.Reset()
		q.free = append(q.free, it)
	}
}

// attach adds a consumer.
func (q *queue) attach(c *consumer) {
	q.mu.Lock()
	defer q.unlock()
	q.consumers = append(q.consumers, c)
	q.pump()
}

// detach takes a consumer out of the rotation. What it has not settled stays
// with it. It may be called again. mu is held.
func (q *queue) detach(c *consumer) {
	i := slices.Index(q.consumers, c)
	if i < 0 {
		return
	}
	q.consumers = slices.Delete(q.consumers, i, i+1)
	if len(q.consumers) == 0 {
		q.unusedSince = time.Now()
	}
}

// expired reports whether a private queue waited too long for its listener.
func (q *queue) expired() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.hasExpired()
}

// hasExpired is expired for who holds mu.
func (q *queue) hasExpired() bool {
	return q.private && len(q.consumers) == 0 && time.Since(q.unusedSince) >= q.expiry
}

// restart drops what is not durable. There are no consumers any more.
func (q *queue) restart() {
	q.mu.Lock()
	defer q.mu.Unlock()
	kept := q.waiting[:0]
	for _, it := range q.waiting {
		if it.message.Durable {
			kept = append(kept, it)
		}
	}
	clear(q.waiting[len(kept):])
	q.waiting = kept
	heap.Init(&q.waiting)
}

// empty forgets all messages, unsettled ones too, and reports whether somebody
// consumes from the queue.
func (q *queue) empty() (consumed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = nil
	for _, c := range q.consumers {
		c.unsettled.drain(func(*item) {})
	}
	return len(q.consumers) > 0
}

func (q *queue) info() QueueInfo {
	q.mu.Lock()
	defer q.mu.Unlock()
	info := QueueInfo{Name: q.name, Waiting: len(q.waiting), Consumers: len(q.consumers), Durable: !q.private}
	for _, c := range q.consumers {
		info.Unsettled += c.unsettled.len()
	}
	return info
}
