package fake

import (
	"cmp"
	"maps"
	"slices"
	"sync"
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
	bindings map[messaging.Address][]*queue
}

func newTopology(limit int, expiry time.Duration) *topology {
	return &topology{
		limit: limit, expiry: expiry,
		dead:     &deadLetters{},
		queues:   map[string]*queue{},
		bindings: map[messaging.Address][]*queue{},
	}
}

// publish routes a copy of m and returns its outcome.
func (t *topology) publish(to messaging.Address, m *messaging.Message) error {
	if m.Ensure {
		t.ensure(to)
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	routed := false
	for _, q := range t.bindings[to] {
		took, err := q.publish(to, m)
		if err != nil {
			return err
		}
		routed = routed || took
	}
	if !routed && m.Mandatory && !to.Fanout {
		return messaging.ErrNoRoute
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
		q = &queue{name: name, private: private, limit: t.limit, expiry: t.expiry, dead: t.dead, unusedSince: time.Now()}
		t.queues[name] = q
	}
	for _, a := range at {
		if !slices.Contains(t.bindings[a], q) {
			t.bindings[a] = append(t.bindings[a], q)
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
	for a, qs := range t.bindings {
		qs = slices.DeleteFunc(qs, func(other *queue) bool { return other == q })
		if t.bindings[a] = qs; len(qs) == 0 {
			delete(t.bindings, a)
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
