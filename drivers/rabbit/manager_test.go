package rabbit_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

const managed = "use_queue_manager=true&hostname=hostA&processname=procB"

// TestManagedQueues: names are oslo.messaging's, no two listeners get the same, and
// one that starts again gets the one it had, empty.
func TestManagedQueues(t *testing.T) {
	for _, options := range []string{managed, managed + "&rabbit_transient_quorum_queue=true&amqp_durable_queues=true"} {
		onOldAndNew(t, func(t *testing.T, b *broker) {
			a := topic()
			fan := a
			fan.Fanout = true
			c := dial(t, b, options)
			first := listen(t, c, messaging.Subscription{Reply: "reply_1"})
			second := listen(t, dial(t, b, options), messaging.Subscription{Reply: "reply_2"})
			if first.Address() != "reply_hostA:procB:1" || second.Address() != "reply_hostA:procB:2" {
				t.Errorf("addresses %q and %q", first.Address(), second.Address())
			}
			third := listen(t, dial(t, b, options), sources(fan))
			queue := a.Topic + "_fanout_hostA:procB:3"
			mustSend(t, c, fan, text("1"))
			if d := poll(t, third); string(d.Body) != "1" {
				t.Errorf("got %q", d.Body)
			}
			if err := third.Close(within(t, limit)); err != nil {
				t.Fatal(err)
			}
			if !b.hasAny(t, queue) {
				t.Errorf("queue %q is gone with its listener", queue)
			}
			mustSend(t, c, fan, text("missed"))
			again := listen(t, dial(t, b, options), sources(fan))
			mustSend(t, c, fan, text("2"))
			if d := poll(t, again); string(d.Body) != "2" {
				t.Errorf("got %q", d.Body)
			}
		})
	}
}

// TestManagedQueueOfAPeer: who knows no locks keeps its queue.
func TestManagedQueueOfAPeer(t *testing.T) {
	b := newBroker(t)
	c, err := amqp.Dial(strings.Replace(b.url, "rabbit:", "amqp:", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ch, err := c.Channel()
	if err == nil {
		_, err = ch.QueueDeclare("reply_hostA:procB:1", false, false, false, false, amqp.Table{"x-expires": int32(1800000)})
	}
	if err == nil {
		_, err = ch.Consume("reply_hostA:procB:1", "peer", true, false, false, false, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if l := listen(t, dial(t, b, managed), messaging.Subscription{Reply: "r"}); l.Address() != "reply_hostA:procB:2" {
		t.Errorf("address %q", l.Address())
	}
}

// TestManagedQueueOverALostLink: it stays ours, with what was sent meanwhile.
func TestManagedQueueOverALostLink(t *testing.T) {
	b := newBroker(t)
	a := topic()
	sender := transport(t, b.URL(managed))
	m := join(t, b, managed, a)
	fanout(t, sender, a, "1")
	m.takes(t, "1")
	for range 3 {
		m.proxy.RefuseNew()
		m.cut(t)
		fanout(t, sender, a, "2", "3")
		m.proxy.Heal()
		m.takes(t, "2", "3")
	}
	if !b.hasAny(t, a.Topic+"_fanout_hostA:procB:1") || b.hasAny(t, a.Topic+"_fanout_hostA:procB:2") {
		t.Error("the queue is another one after its link was lost")
	}
}

// TestManagedNumberTaken: one that started while the link was lost has the number
// now, and keeps it. Who had it before gets another.
func TestManagedNumberTaken(t *testing.T) {
	b := newBroker(t)
	a := topic()
	sender := transport(t, b.URL(managed))
	m := join(t, b, managed, a)
	fanout(t, sender, a, "1")
	m.takes(t, "1")
	m.proxy.RefuseNew()
	m.cut(t)
	other := join(t, b, managed, a)
	m.proxy.Heal()
	eventually(t, "it listens again", func() bool { return m.tr.Health().Err == nil })
	fanout(t, sender, a, "2")
	m.takes(t, "2")
	other.takes(t, "2")
}

// TestManagedQueuesOfOneConnection: listeners that begin at the same time over one
// connection get queues of their own.
func TestManagedQueuesOfOneConnection(t *testing.T) {
	b := newBroker(t)
	c := dial(t, b, managed+"&share_connection=true")
	a := topic()
	a.Fanout = true
	var all [4]messaging.Listener
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			var err error
			all[i], err = c.Listen(t.Context(), messaging.Subscription{
				Sources: []messaging.Address{a}, Instance: fmt.Sprint(i), Prefetch: 1,
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	mustSend(t, c, a, text("for all"))
	for _, l := range all {
		settle(t, poll(t, l), messaging.Ack)
	}
}

// hasAny reports whether a queue of any kind exists.
func (b *broker) hasAny(tb testing.TB, name string) (found bool) {
	tb.Helper()
	b.raw(tb, func(ch *amqp.Channel) {
		_, err := ch.QueueDeclarePassive(name, false, false, false, false, nil)
		var e *amqp.Error
		if err != nil && !errors.As(err, &e) {
			tb.Fatal(err)
		}
		found = err == nil || e.Code != amqp.NotFound
	})
	return found
}
