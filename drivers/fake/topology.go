package fake

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// topology is the broker's queues and what is bound to them. An address is a
// routing key: what is sent to it goes to every queue bound to it.
type topology struct {
	limit  int
	expiry time.Duration
	dead   *deadLetters

	mu       sync.RWMutex // guards the following; taken before the locks of queues
	queues   map[string]*queue
	bindings map[messaging.Address]*route
}

// route is where messages for an address go. It does not change: another takes its
// place.
type route struct {
	to     messaging.Address
	queues []*queue
	stale  atomic.Bool // another took its place
}

func newTopology(limit int, expiry time.Duration) *topology {
	return &topology{
		limit: limit, expiry: expiry,
		dead:     &deadLetters{},
		queues:   map[string]*queue{},
		bindings: map[messaging.Address]*route{},
	}
}

// publish routes a copy of m and returns its outcome. last is the route of the
// sender's message before, which most take again.
func (t *topology) publish(to messaging.Address, m *messaging.Message, last *atomic.Pointer[route]) error {
	if m.Ensure {
		t.ensure(to)
	}
	r := last.Load()
	if r == nil || r.stale.Load() || r.to != to {
		r = t.route(to)
		last.Store(r)
	}
	routed := false
	if r != nil {
		for _, q := range r.queues {
			took, err := q.publish(to, m)
			if err != nil {
				return err
			}
			routed = routed || took
		}
	}
	if !routed && m.Mandatory {
		return messaging.ErrNoRoute
	}
	return nil
}

// route returns the route to an address, or nil.
func (t *topology) route(to messaging.Address) *route {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.bindings[to]
}

// rebind replaces the route to an address; without queues there is none. mu is held.
func (t *topology) rebind(to messaging.Address, queues []*queue) {
	if old := t.bindings[to]; old != nil {
		old.stale.Store(true)
	}
	delete(t.bindings, to)
	if len(queues) > 0 {
		t.bindings[to] = &route{to: to, queues: queues}
	}
}

// bound returns a copy of the queues that are bound to an address. mu is held.
func (t *topology) bound(to messaging.Address) []*queue {
	if r := t.bindings[to]; r != nil {
		return slices.Clone(r.queues)
	}
	return nil
}

// ensure declares the queue of a destination that has a lasting one.
func (t *topology) ensure(to messaging.Address) {
	if to.Fanout || to.Kind == messaging.KindReply {
		return
	}
	t.mu.RLock()
	_, there := t.queues[to.String()]
	t.mu.RUnlock()
	if there {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.declare(to.String(), false, to)
}

// subscribe declares the queues of l and attaches its consumers.
func (t *topology) subscribe(l *listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep()
	sub := &l.sub
	switch {
	case sub.Reply != "":
		at := messaging.Address{Kind: messaging.KindReply, Direct: sub.Reply}
		l.consume(t.declare(at.String(), true, at), 0)
	case sub.Tap:
		q := t.declare("tap "+sub.Instance, true, sub.Sources...)
		q.shed(maxTapped)
		l.consume(q, -1)
	case sub.Group != "":
		l.consume(t.declare("group "+sub.Group, false, sub.Sources...), -1)
	default:
		for i, at := range sub.Sources {
			name := at.String()
			if at.Fanout {
				name += " for " + sub.Instance
			}
			l.consume(t.declare(name, at.Fanout, at), i)
		}
	}
	for _, c := range l.consumers {
		c.queue.attach(c)
	}
}

func (l *listener) consume(q *queue, source int) {
	l.consumers = append(l.consumers, &consumer{queue: q, listener: l, source: source})
}

// declare returns the queue of that name, made if need be, bound to the
// addresses. mu is held.
func (t *topology) declare(name string, private bool, at ...messaging.Address) *queue {
	q, ok := t.queues[name]
	if !ok {
		now := time.Now()
		q = &queue{name: name, private: private, limit: t.limit, expiry: t.expiry, dead: t.dead, born: now, unusedSince: now}
		t.queues[name] = q
	}
	for _, a := range at {
		if qs := t.bound(a); !slices.Contains(qs, q) {
			t.rebind(a, append(qs, q))
		}
	}
	return q
}

// unsubscribe deletes the private queues of l.
func (t *topology) unsubscribe(l *listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range l.consumers {
		if q := c.queue; q.private && q.info().Consumers == 0 {
			t.remove(q)
		}
	}
}

// sweep deletes expired queues. mu is held.
func (t *topology) sweep() {
	for _, q := range t.queues {
		if q.expired() {
			t.remove(q)
		}
	}
}

// remove deletes a queue, unless another took its name. mu is held.
func (t *topology) remove(q *queue) {
	if t.queues[q.name] != q {
		return
	}
	delete(t.queues, q.name)
	for _, r := range t.bindings {
		if i := slices.Index(r.queues, q); i >= 0 {
			t.rebind(r.to, slices.Delete(t.bound(r.to), i, i+1))
		}
	}
}

// restart deletes the private queues, and in the others what is not durable.
func (t *topology) restart() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, q := range t.queues {
		if q.private {
			t.remove(q)
		} else {
			q.restart()
		}
	}
}

// deleteQueue deletes a queue with its messages. Consumers declare it again at
// once, so a queue with consumers only loses its messages.
func (t *topology) deleteQueue(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	q, ok := t.queues[name]
	if ok && !q.empty() {
		t.remove(q)
	}
	return ok
}

func (t *topology) infos() []QueueInfo {
	t.mu.RLock()
	defer t.mu.RUnlock()
	infos := make([]QueueInfo, 0, len(t.queues))
	for q := range maps.Values(t.queues) {
		infos = append(infos, q.info())
	}
	slices.SortFunc(infos, func(a, b QueueInfo) int { return cmp.Compare(a.Name, b.Name) })
	return infos
}

// deadLetters keeps what was dropped, the newest maxDeadLetters.
type deadLetters struct {
	mu      sync.Mutex
	letters []DeadLetter
}

const maxDeadLetters = 1024

func (d *deadLetters) add(it *item) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.letters) == maxDeadLetters {
		d.letters = slices.Delete(d.letters, 0, 1)
	}
	d.letters = append(d.letters, DeadLetter{To: it.to, Message: cloneMessage(&it.message), Count: it.count})
}

func (d *deadLetters) list() []DeadLetter {
	d.mu.Lock()
	defer d.mu.Unlock()
	letters := slices.Clone(d.letters)
	for i := range letters {
		letters[i].Message = cloneMessage(&letters[i].Message)
	}
	return letters
}
