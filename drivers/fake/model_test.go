package fake_test

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
)

// TestQueueModel plays random histories of one queue against a model that is
// simple enough to be right: what waits, in one sorted slice, and what each
// listener holds.
func TestQueueModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newQueueModel(t, rt)
		rt.Repeat(map[string]func(*rapid.T){"step": m.step, "": m.check})
	})
}

// modelMessage is a message as the model sees it. Its id gives its place.
type modelMessage struct {
	id       byte
	priority uint8
	durable  bool
	count    int
}

func byPlace(a, b *modelMessage) int {
	return cmp.Or(-cmp.Compare(a.priority, b.priority), cmp.Compare(a.id, b.id))
}

// modelListener is a real listener with what it should hold.
type modelListener struct {
	real     messaging.Listener
	conn     messaging.Conn
	prefetch int
	ready    []*modelMessage // prefetched, in the order of Poll
	polled   map[*modelMessage]*messaging.Delivery
	stopped  bool
}

func (l *modelListener) hasRoom() bool {
	return !l.stopped && len(l.ready)+len(l.polled) < l.prefetch
}

type queueModel struct {
	ctx       context.Context
	broker    *fake.Broker
	driver    messaging.Driver
	sender    messaging.Conn
	sent      byte
	dropped   int
	waiting   []*modelMessage
	listeners []*modelListener // in turn; the stopped too
}

func newQueueModel(t *testing.T, rt *rapid.T) *queueModel {
	m := &queueModel{ctx: t.Context(), broker: fake.New(nil)}
	m.driver = m.broker.Driver(nil)
	m.sender = m.dial(rt)
	m.listen(rt) // so that the queue is there
	return m
}

func (m *queueModel) dial(rt *rapid.T) messaging.Conn {
	c, err := m.driver.Dial(m.ctx, endpoint("", messaging.Credentials{}))
	if err != nil {
		rt.Fatal(err)
	}
	return c
}

// The listeners that a step can be taken with.
func hasReady(l *modelListener) bool  { return len(l.ready) > 0 }
func hasPolled(l *modelListener) bool { return len(l.polled) > 0 }
func isActive(l *modelListener) bool  { return !l.stopped }
func isAny(*modelListener) bool       { return true }

// step takes one of the steps that are possible now, those which end much less
// often than those which go on.
func (m *queueModel) step(rt *rapid.T) {
	has := func(ok func(*modelListener) bool) bool { return slices.ContainsFunc(m.listeners, ok) }
	steps := map[string]func(*rapid.T){}
	var names []string // each as often as its weight
	offer := func(name string, weight int, possible bool, do func(*rapid.T)) {
		if possible {
			steps[name] = do
			names = append(names, slices.Repeat([]string{name}, weight)...)
		}
	}
	offer("send", 4, m.sent < 255, m.send) // an id is a byte
	offer("listen", 2, len(m.listeners) < 5, m.listen)
	offer("poll", 6, has(hasReady), m.poll)
	offer("settle", 6, has(hasPolled), m.settle)
	offer("stop", 1, has(isActive), m.stop)
	offer("cut", 1, has(isAny), m.cut)
	offer("restart", 1, true, m.restart)
	steps[rapid.SampledFrom(names).Draw(rt, "step")](rt)
}

// pump is what the broker must do by itself: hand what waits, best first, to
// those with room, in turns.
func (m *queueModel) pump() {
	slices.SortFunc(m.waiting, byPlace)
	for len(m.waiting) > 0 {
		l := m.turn()
		if l == nil {
			return
		}
		l.ready = append(l.ready, m.waiting[0])
		m.waiting = m.waiting[1:]
	}
}

func (m *queueModel) active() []*modelListener {
	return slices.DeleteFunc(slices.Clone(m.listeners), func(l *modelListener) bool { return l.stopped })
}

// turn returns the first with room, and makes it the last.
func (m *queueModel) turn() *modelListener {
	i := slices.IndexFunc(m.listeners, (*modelListener).hasRoom)
	if i < 0 {
		return nil
	}
	l := m.listeners[i]
	m.listeners = append(slices.Delete(m.listeners, i, i+1), l)
	return l
}

func (m *queueModel) send(rt *rapid.T) {
	m.sent++
	msg := &modelMessage{id: m.sent, priority: rapid.Uint8Range(0, 2).Draw(rt, "priority"), durable: rapid.Bool().Draw(rt, "durable")}
	encoded := messaging.Message{Body: []byte{msg.id}, Priority: msg.priority, Durable: msg.durable}
	r := newReceipt()
	if err := m.sender.Send(m.ctx, topic, &encoded, r); err != nil {
		rt.Fatal(err)
	}
	if err := <-r; err != nil {
		rt.Fatal(err)
	}
	m.waiting = append(m.waiting, msg)
	m.pump()
}

func (m *queueModel) listen(rt *rapid.T) {
	l := &modelListener{
		conn: m.dial(rt), polled: map[*modelMessage]*messaging.Delivery{},
		prefetch: rapid.IntRange(1, 4).Draw(rt, "prefetch"),
	}
	var err error
	l.real, err = l.conn.Listen(m.ctx, messaging.Subscription{Sources: []messaging.Address{topic}, Prefetch: l.prefetch})
	if err != nil {
		rt.Fatal(err)
	}
	m.listeners = append(m.listeners, l)
	m.pump()
}

// draw picks one of the listeners for which ok is true.
func (m *queueModel) draw(rt *rapid.T, ok func(*modelListener) bool) *modelListener {
	fit := slices.DeleteFunc(slices.Clone(m.listeners), func(l *modelListener) bool { return !ok(l) })
	return rapid.SampledFrom(fit).Draw(rt, "listener")
}

func (m *queueModel) poll(rt *rapid.T) {
	l := m.draw(rt, hasReady)
	want := l.ready[0]
	l.ready = l.ready[1:]
	ctx, cancel := context.WithTimeout(m.ctx, 10*time.Second) // it is there; a mistake must not hang
	defer cancel()
	d, err := l.real.Poll(ctx)
	if err != nil {
		rt.Fatal(err)
	}
	if d.Body[0] != want.id || d.Count != want.count || d.Redelivered != (want.count > 0) {
		rt.Fatalf("polled %d, count %d, redelivered %v; want %+v", d.Body[0], d.Count, d.Redelivered, *want)
	}
	l.polled[want] = d
}

func (m *queueModel) settle(rt *rapid.T) {
	l := m.draw(rt, hasPolled)
	held := make([]*modelMessage, 0, len(l.polled))
	for msg := range l.polled {
		held = append(held, msg)
	}
	slices.SortFunc(held, byPlace) // so that a history can be replayed
	msg := rapid.SampledFrom(held).Draw(rt, "message")
	outcome := rapid.SampledFrom([]messaging.Outcome{messaging.Ack, messaging.Requeue, messaging.Drop}).Draw(rt, "outcome")
	if err := l.polled[msg].Settle(m.ctx, outcome); err != nil {
		rt.Fatal(err)
	}
	delete(l.polled, msg)
	switch outcome {
	case messaging.Requeue:
		msg.count++
		m.waiting = append(m.waiting, msg)
	case messaging.Drop:
		m.dropped++
	}
	m.pump()
}

func (m *queueModel) stop(rt *rapid.T) {
	l := m.draw(rt, isActive)
	n, err := l.real.Stop(m.ctx)
	if err != nil || n != len(l.ready) {
		rt.Fatalf("Stop returned %d, %v; want %d", n, err, len(l.ready))
	}
	back := l.ready
	l.stopped, l.ready = true, nil
	for _, msg := range back { // one after the other, as the broker sees it
		m.waiting = append(m.waiting, msg)
		m.pump()
	}
}

func (m *queueModel) cut(rt *rapid.T) {
	l := m.draw(rt, isAny)
	if err := l.conn.Close(m.ctx); err != nil {
		rt.Fatal(err)
	}
	m.listeners = slices.DeleteFunc(m.listeners, func(other *modelListener) bool { return other == l })
	m.giveBack(l)
	m.pump()
}

func (m *queueModel) giveBack(l *modelListener) {
	back := l.ready
	for msg := range l.polled {
		back = append(back, msg)
	}
	for _, msg := range back {
		msg.count++
	}
	m.waiting = append(m.waiting, back...)
}

func (m *queueModel) restart(rt *rapid.T) {
	m.broker.Restart()
	for _, l := range m.listeners {
		m.giveBack(l)
	}
	m.listeners = nil
	m.waiting = slices.DeleteFunc(m.waiting, func(msg *modelMessage) bool { return !msg.durable })
	slices.SortFunc(m.waiting, byPlace)
	m.sender = m.dial(rt)
}

// check compares what can be seen from outside after every step.
func (m *queueModel) check(rt *rapid.T) {
	want := fake.QueueInfo{Name: topic.String(), Waiting: len(m.waiting), Consumers: len(m.active()), Durable: true}
	for _, l := range m.active() {
		want.Unsettled += len(l.ready) + len(l.polled)
	}
	if got := m.broker.Queues(); len(got) != 1 || got[0] != want {
		rt.Fatalf("queues %+v, want %+v", got, want)
	}
	if got := len(m.broker.DeadLetters()); got != m.dropped {
		rt.Fatalf("%d dead letters, want %d", got, m.dropped)
	}
}
