package rabbit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

// TestReturnsAmongPipelinedMessages sends messages of which every third has no
// route, without waiting, and checks that each gets its own outcome.
func TestReturnsAmongPipelinedMessages(t *testing.T) { onEach(t, checkReturnsAmongPipelinedMessages) }

func checkReturnsAmongPipelinedMessages(t *testing.T, b *broker) {
	const n = 10_000
	there, nowhere := topic(), topic()
	in, out := dial(t, b, ""), dial(t, b, "")
	l := listen(t, in, messaging.Subscription{Sources: []messaging.Address{there}, Prefetch: 1000})

	results := make([]result, n)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			to := there
			m := text(fmt.Sprint(i))
			m.Mandatory = i%2 == 0
			if i%3 == 0 {
				to, m.Mandatory = nowhere, true
			}
			results[i] = make(result, 1)
			if err := out.Send(t.Context(), to, m, results[i]); err != nil {
				t.Errorf("Send %d: %v", i, err)
				return
			}
		}
	})
	for i := range n {
		if i%3 == 0 {
			continue
		}
		d := poll(t, l)
		if string(d.Body) != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d: order or loss", d.Body, i)
		}
		settle(t, d, messaging.Ack)
	}
	wg.Wait()
	for i, r := range results {
		err := r.wait(t)
		if i%3 == 0 && !errors.Is(err, messaging.ErrNoRoute) || i%3 != 0 && err != nil {
			t.Fatalf("outcome of %d: %v", i, err)
		}
		select {
		case err := <-r:
			t.Fatalf("second outcome of %d: %v", i, err)
		default:
		}
	}
}

func TestRepliesAreMandatory(t *testing.T) {
	b := newBroker(t)
	gone := messaging.Address{Kind: messaging.KindReply, Direct: "reply_" + topic().Topic}
	m := text("{}")
	m.Mandatory = true
	wantErr(t, send(t, dial(t, b, ""), gone, m), messaging.ErrNoRoute)
	if err := send(t, dial(t, b, "direct_mandatory_flag=false"), gone, m); err != nil {
		t.Errorf("with direct_mandatory_flag=false: %v", err)
	}

	l := listen(t, dial(t, b, ""), messaging.Subscription{Reply: gone.Direct})
	if l.Address() != gone.Direct {
		t.Errorf("Address = %q", l.Address())
	}
	mustSend(t, dial(t, b, ""), gone, m)
	settle(t, poll(t, l), messaging.Ack)
}

func TestFanoutToNobody(t *testing.T) {
	b := newBroker(t)
	to := topic()
	to.Fanout = true
	m := text("{}")
	out := dial(t, b, "")
	mustSend(t, out, to, m)
	m.Mandatory = true
	wantErr(t, send(t, out, to, m), messaging.ErrNoRoute)
	l := listen(t, dial(t, b, ""), sources(to))
	mustSend(t, out, to, m)
	settle(t, poll(t, l), messaging.Ack)
}

func TestEnsureDeclaresTheQueue(t *testing.T) {
	b := newBroker(t)
	a := topic()
	a.Kind, a.Topic = messaging.KindNotify, a.Topic+".info"
	m := text("{}")
	m.Mandatory = true
	out := dial(t, b, "")
	wantErr(t, send(t, out, a, m), messaging.ErrNoRoute)
	m.Ensure = true
	mustSend(t, out, a, m)
	l := listen(t, dial(t, b, ""), messaging.Subscription{Sources: []messaging.Address{a}})
	settle(t, poll(t, l), messaging.Ack)
}

// TestEnsureWhereQueuesGo: with amqp_auto_delete the last listener takes the queue
// and the exchange with it, and the next notification needs them again.
func TestEnsureWhereQueuesGo(t *testing.T) {
	b := newBroker(t)
	a := topic()
	a.Kind, a.Topic = messaging.KindNotify, a.Topic+".info"
	m := text("{}")
	m.Ensure = true
	out := dial(t, b, "amqp_auto_delete=true")
	for range 2 {
		mustSend(t, out, a, m)
		l := listen(t, dial(t, b, "amqp_auto_delete=true"), messaging.Subscription{Sources: []messaging.Address{a}})
		settle(t, poll(t, l), messaging.Ack)
		if err := l.Close(within(t, limit)); err != nil {
			t.Fatal(err)
		}
		if b.hasQueue(t, a.Topic) {
			t.Error("the queue is still there")
		}
	}
}

// TestReturnsOfOneID: the same envelope may go to many addresses, and the native wire
// gives its id to each message. A return is for the one that had no route.
func TestReturnsOfOneID(t *testing.T) {
	b := newBroker(t)
	there, nowhere := topic(), topic()
	nowhere.Exchange = there.Exchange
	out := dial(t, b, "")
	listen(t, dial(t, b, ""), sources(there))
	m := text("{}")
	m.ID, m.Mandatory = "id", true
	const n = 200
	var taken, returned []result
	for range n {
		good, bad := make(result, 1), make(result, 1)
		if err := errors.Join(out.Send(t.Context(), there, m, good), out.Send(t.Context(), nowhere, m, bad)); err != nil {
			t.Fatal(err)
		}
		taken, returned = append(taken, good), append(returned, bad)
	}
	for i := range n {
		if err := taken[i].wait(t); err != nil {
			t.Fatalf("outcome %d of what had a route: %v", i, err)
		}
		if err := returned[i].wait(t); !errors.Is(err, messaging.ErrNoRoute) {
			t.Fatalf("outcome %d of what had none: %v", i, err)
		}
	}
}

func TestProperties(t *testing.T) {
	b := newBroker(t)
	a := topic()
	l := listen(t, dial(t, b, ""), messaging.Subscription{Sources: []messaging.Address{a}})
	m := &messaging.Message{
		ID: "id", CorrelationID: "correlation", ReplyTo: "reply", ContentType: "type", ContentEncoding: "encoding",
		Headers: []messaging.Header{{Key: "a", Value: "1"}, {Key: "b", Value: ""}, {Key: "ü", Value: "☃"}},
		Body:    []byte{0, 1, 0xff}, TTL: 90 * time.Second, Priority: 7,
	}
	mustSend(t, dial(t, b, ""), a, m)
	d := poll(t, l)
	settle(t, d, messaging.Ack)
	want := *m
	want.Durable = true // everything is persistent
	if got := fmt.Sprintf("%+v", d.Message); got != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %s\nwant %+v", got, want)
	}
	if d.Redelivered || d.Count != -1 {
		t.Errorf("Redelivered %v, Count %d", d.Redelivered, d.Count)
	}
}

func TestTTL(t *testing.T) {
	b := newBroker(t)
	a := topic()
	in, out := dial(t, b, ""), dial(t, b, "")
	l := listen(t, in, messaging.Subscription{Sources: []messaging.Address{a}, Prefetch: 1})
	mustSend(t, out, a, text("holds the prefetch"))
	first := poll(t, l)
	short, long := text("short"), text("long")
	short.TTL, long.TTL = time.Nanosecond, 1<<62
	mustSend(t, out, a, short)
	mustSend(t, out, a, long)
	b.waiting(t, a.Topic, 1) // the short one has expired
	settle(t, first, messaging.Ack)
	if d := poll(t, l); string(d.Body) != "long" {
		t.Errorf("got %q", d.Body)
	}
}

// TestUnsendable has what would break the connection halfway through a message.
func TestUnsendable(t *testing.T) {
	b := newBroker(t)
	a := topic()
	out := dial(t, b, "max_message_size=1000")
	long := strings.Repeat("x", 256)
	tests := []struct {
		name string
		m    messaging.Message
	}{
		{"body", messaging.Message{Body: make([]byte, 1001)}},
		{"id", messaging.Message{ID: long}},
		{"correlation id", messaging.Message{CorrelationID: long}},
		{"reply to", messaging.Message{ReplyTo: long}},
		{"content type", messaging.Message{ContentType: long}},
		{"content encoding", messaging.Message{ContentEncoding: long}},
		{"header name", messaging.Message{Headers: []messaging.Header{{Key: long}}}},
		{"header value", messaging.Message{Headers: []messaging.Header{{Key: "k", Value: strings.Repeat("x", 131072-256-6)}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantErr(t, send(t, out, a, &tt.m), messaging.ErrNotSent, messaging.ErrTooLarge)
		})
	}
	mustSend(t, out, a, &messaging.Message{Body: make([]byte, 1000)})
	mustSend(t, out, a, &messaging.Message{Headers: []messaging.Header{{Key: strings.Repeat("k", 255), Value: strings.Repeat("x", 131072-256-6-255-2*len(a.Exchange))}}})
}

// TestLargeMessages has bodies around the size of a frame, and one larger than
// the window.
func TestLargeMessages(t *testing.T) {
	b := newBroker(t)
	a := topic()
	l := listen(t, dial(t, b, ""), messaging.Subscription{Sources: []messaging.Address{a}})
	out := dial(t, b, "")
	for _, n := range []int{0, 1, 131072 - 9, 131072 - 8, 131072 - 7, 131072, 9 << 20} {
		m := text(strings.Repeat("x", n))
		mustSend(t, out, a, m)
		d := poll(t, l)
		if string(d.Body) != string(m.Body) {
			t.Errorf("sent %d bytes, got %d", n, len(d.Body))
		}
		settle(t, d, messaging.Ack)
	}
}

// TestPreconditionWhenSending: an exchange that is declared otherwise takes
// neither the channel nor the messages of others.
// TestSmallFrames: the broker says how large a frame may be.
func TestSmallFrames(t *testing.T) {
	b := newBroker(t)
	b.ctl(t, "eval", "application:set_env(rabbit, frame_max, 8192).")
	defer b.ctl(t, "eval", "application:set_env(rabbit, frame_max, 131072).")
	a := topic()
	c := dial(t, b, "")
	l := listen(t, dial(t, b, ""), sources(a))
	for _, n := range []int{8000, 8184, 8185, 10_000, 60_000, 100_000} {
		m := text(strings.Repeat("x", n))
		mustSend(t, c, a, m)
		d := poll(t, l)
		if string(d.Body) != string(m.Body) {
			t.Errorf("of %d bytes %d arrived", n, len(d.Body))
		}
		settle(t, d, messaging.Ack)
	}
}

func TestPreconditionWhenSending(t *testing.T) {
	b := newBroker(t)
	a, other := topic(), topic()
	mustSend(t, dial(t, b, ""), a, text("declares the exchange"))
	out := dial(t, b, "amqp_durable_queues=true")
	mustSend(t, out, other, text("before"))
	err := send(t, out, a, text("refused"))
	wantErr(t, err, messaging.ErrNotSent, messaging.ErrPermanent)
	var p *messaging.PreconditionError
	if !errors.As(err, &p) || p.Entity != "exchange" || p.Name != a.Exchange || p.Argument != "durable" {
		t.Errorf("error = %#v, want the exchange's durable", p)
	}
	mustSend(t, out, other, text("after"))
}

// TestFanoutExchangeGone: it is deleted with its last queue, and the next
// fanout makes it anew.
func TestFanoutExchangeGone(t *testing.T) {
	b := newBroker(t)
	a := topic()
	a.Fanout = true
	in, out := dial(t, b, ""), dial(t, b, "")
	for range 3 {
		mustSend(t, out, a, text("to nobody"))
		l := listen(t, in, messaging.Subscription{Sources: []messaging.Address{a}, Instance: "i"})
		mustSend(t, out, a, text("to one"))
		d := poll(t, l)
		if string(d.Body) != "to one" {
			t.Errorf("got %q", d.Body)
		}
		settle(t, d, messaging.Ack)
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if b.hasExchange(t, a.Topic+"_fanout") {
			t.Error("the fanout exchange is still there")
		}
	}
}

// TestExchangeDeletedUnderUs: a publish to an exchange that was deleted closes
// the channel, its outcome is unknown, and the next is sent.
func TestExchangeDeletedUnderUs(t *testing.T) { onEach(t, checkExchangeDeletedUnderUs) }

func checkExchangeDeletedUnderUs(t *testing.T, b *broker) {
	a := topic()
	out := dial(t, b, "")
	mustSend(t, out, a, text("declares"))
	b.raw(t, func(ch *amqp.Channel) {
		if err := ch.ExchangeDelete(a.Exchange, false, false); err != nil {
			t.Fatal(err)
		}
	})
	wantErr(t, send(t, out, a, text("lost")), messaging.ErrOutcomeUnknown)
	mustSend(t, out, a, text("declared again"))
}

func TestWindowAndContext(t *testing.T) {
	b := newBroker(t)
	out := dial(t, b, "")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	cancel(why)
	err := out.Send(ctx, topic(), text("x"), nil)
	wantErr(t, err, messaging.ErrNotSent, why)
}

func TestUseAfterClose(t *testing.T) {
	b := newBroker(t)
	c := dial(t, b, "")
	l := listen(t, c, messaging.Subscription{Sources: []messaging.Address{topic()}})
	if c.Err() != nil {
		t.Errorf("Err = %v before Close", c.Err())
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := c.Close(t.Context()); err != nil {
				t.Errorf("Close = %v", err)
			}
		})
	}
	wg.Wait()
	<-c.Done()
	wantErr(t, c.Err(), messaging.ErrClosed)
	wantErr(t, c.Send(t.Context(), topic(), text("x"), nil), messaging.ErrNotSent, messaging.ErrClosed)
	_, err := l.Poll(t.Context())
	wantErr(t, err, messaging.ErrClosed)
	_, err = c.Listen(t.Context(), messaging.Subscription{Sources: []messaging.Address{topic()}, Prefetch: 1})
	wantErr(t, err, messaging.ErrClosed)
}
