package rabbit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/patchbay-go/patchbay/messaging"
)

func sources(as ...messaging.Address) messaging.Subscription {
	return messaging.Subscription{Sources: as, Instance: "i", Prefetch: 64}
}

// TestPrefetchIsPerSource holds every delivery and counts them, with a last
// message to each source as the fence.
func TestPrefetchIsPerSource(t *testing.T) { onEach(t, checkPrefetchIsPerSource) }

func checkPrefetchIsPerSource(t *testing.T, b *broker) {
	a := topic()
	named := a
	named.Server = "s"
	sub := sources(a, named)
	sub.Prefetch = 3
	l := listen(t, dial(t, b, ""), sub)
	out := dial(t, b, "")
	for i := range 5 {
		mustSend(t, out, a, text(fmt.Sprint(i)))
		mustSend(t, out, named, text(fmt.Sprint(i)))
	}
	var held [2][]*messaging.Delivery
	for range 6 {
		d := poll(t, l)
		held[d.Source] = append(held[d.Source], d)
	}
	for source, ds := range held {
		if len(ds) != 3 {
			t.Fatalf("source %d has %d unsettled deliveries, want 3", source, len(ds))
		}
	}
	settle(t, held[1][2], messaging.Ack)
	if d := poll(t, l); d.Source != 1 || string(d.Body) != "3" {
		t.Errorf("after one of source 1 was settled: got %q of source %d", d.Body, d.Source)
	}
}

// TestSlowHandler holds the oldest delivery while many others are settled.
func TestSlowHandler(t *testing.T) {
	b := newBroker(t)
	a := topic()
	sub := sources(a)
	sub.Prefetch = 4
	l := listen(t, dial(t, b, ""), sub)
	out := dial(t, b, "")
	for i := range 100 {
		if err := out.Send(t.Context(), a, text(fmt.Sprint(i)), nil); err != nil {
			t.Fatal(err)
		}
	}
	slow := poll(t, l)
	for i := 1; i < 100; i++ {
		d := poll(t, l)
		if string(d.Body) != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", d.Body, i)
		}
		settle(t, d, messaging.Ack)
	}
	settle(t, slow, messaging.Ack)
	mustSend(t, out, a, text("fence"))
	if d := poll(t, l); string(d.Body) != "fence" {
		t.Errorf("got %q", d.Body)
	}
}

func TestSettle(t *testing.T) {
	b := newBroker(t)
	for _, tt := range []struct {
		options string
		count   int // after one requeue
	}{{"", -1}, {"rabbit_quorum_queue=true", 1}} {
		t.Run(tt.options, func(t *testing.T) {
			a := topic()
			l := listen(t, dial(t, b, tt.options), sources(a))
			out := dial(t, b, tt.options)
			mustSend(t, out, a, text("x"))
			first := poll(t, l)
			if first.Redelivered || first.Count > 0 {
				t.Errorf("the first time: Redelivered %v, Count %d", first.Redelivered, first.Count)
			}
			settle(t, first, messaging.Requeue)
			wantErr(t, first.Settle(t.Context(), messaging.Ack), messaging.ErrSettled)
			again := poll(t, l)
			if !again.Redelivered || again.Count != tt.count {
				t.Errorf("again: Redelivered %v, Count %d, want true, %d", again.Redelivered, again.Count, tt.count)
			}
			settle(t, again, messaging.Drop)
			mustSend(t, out, a, text("fence"))
			d := poll(t, l)
			if string(d.Body) != "fence" {
				t.Errorf("a dropped message came back: %q", d.Body)
			}
			settle(t, d, messaging.Ack)
		})
	}
}

// TestStopGivesBack polls one of many messages, stops, requeues that, and
// finds all at the next listener; with quorum queues often enough to pass the
// limit of deliveries, where giving back does not count against it.
func TestStopGivesBack(t *testing.T) {
	onEach(t, func(t *testing.T, b *broker) {
		rounds := 25
		if strings.HasSuffix(t.Name(), "/4.0") {
			rounds = 10 // it counts, and the limit is 20: docs/rabbit.md
		}
		for _, options := range []string{"amqp_durable_queues=true", "rabbit_quorum_queue=true"} {
			t.Run(options, func(t *testing.T) { checkStopGivesBack(t, b, options, rounds) })
		}
	})
}

func checkStopGivesBack(t *testing.T, b *broker, options string, rounds int) {
	const n = 10
	a := topic()
	in, out := dial(t, b, options), dial(t, b, options)
	sub := sources(a)
	sub.Prefetch = n
	for i := range n {
		m := text(fmt.Sprint(i))
		m.Ensure = true
		mustSend(t, out, a, m)
	}
	for range rounds {
		l := listen(t, in, sub)
		inHand := poll(t, l)
		if _, err := l.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := l.Poll(t.Context())
		wantErr(t, err, messaging.ErrClosed)
		settle(t, inHand, messaging.Requeue)
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	l := listen(t, in, sub)
	seen := map[string]bool{} // a quorum queue does not keep the place of what goes back
	for range n {
		d := poll(t, l)
		seen[string(d.Body)] = true
		settle(t, d, messaging.Ack)
	}
	if len(seen) != n {
		t.Errorf("got %v, want each of %d", seen, n)
	}
}

// TestLastAcknowledgementsArrive stops, settles many deliveries, each of which
// needs an acknowledgement of its own because an older one is not settled, and
// closes at once: none may come again but that one.
func TestLastAcknowledgementsArrive(t *testing.T) {
	onEach(t, func(t *testing.T, b *broker) {
		const n = 500
		const options = "rabbit_quorum_queue=true"
		a := topic()
		in, out := dial(t, b, options), dial(t, b, options)
		sub := sources(a)
		sub.Prefetch = n
		l := listen(t, in, sub)
		for i := range n {
			if err := out.Send(t.Context(), a, text(fmt.Sprint(i)), nil); err != nil {
				t.Fatal(err)
			}
		}
		var inHand []*messaging.Delivery
		for range n {
			inHand = append(inHand, poll(t, l))
		}
		if _, err := l.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, d := range inHand[1:] {
			settle(t, d, messaging.Ack)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustSend(t, out, a, text("fence"))
		l = listen(t, in, sub)
		for _, want := range []string{"0", "fence"} {
			if d := poll(t, l); string(d.Body) != want {
				t.Fatalf("got %q, want %q", d.Body, want)
			}
		}
	})
}

func TestStopCounts(t *testing.T) {
	b := newBroker(t)
	a := topic()
	in, out := dial(t, b, ""), dial(t, b, "")
	sub := sources(a)
	sub.Prefetch = 10
	l := listen(t, in, sub)
	for i := range 10 {
		mustSend(t, out, a, text(fmt.Sprint(i)))
	}
	inHand := []*messaging.Delivery{poll(t, l), poll(t, l), poll(t, l)}
	other := listen(t, dial(t, b, ""), sub)
	returned, err := l.Stop(t.Context())
	if err != nil || returned != 7 {
		t.Errorf("Stop = %d, %v; want 7", returned, err)
	}
	for i := range 7 {
		d := poll(t, other)
		if string(d.Body) != fmt.Sprint(i+3) || !d.Redelivered {
			t.Errorf("got %q, redelivered %v; want %d", d.Body, d.Redelivered, i+3)
		}
		settle(t, d, messaging.Ack)
	}
	for _, d := range inHand {
		settle(t, d, messaging.Ack)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustSend(t, out, a, text("fence"))
	if d := poll(t, other); string(d.Body) != "fence" {
		t.Errorf("got %q: what was settled after Stop came again", d.Body)
	}
}

func TestCancelledPollLosesNothing(t *testing.T) {
	b := newBroker(t)
	a := topic()
	l := listen(t, dial(t, b, ""), sources(a))
	out := dial(t, b, "")
	got := 0
	for i := range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		if err := out.Send(t.Context(), a, text(fmt.Sprint(i)), nil); err != nil {
			t.Fatal(err)
		}
		d, err := l.Poll(ctx)
		if err != nil {
			wantErr(t, err, context.Canceled)
			continue
		}
		if string(d.Body) != fmt.Sprint(got) {
			t.Fatalf("got %q, want %d", d.Body, got)
		}
		settle(t, d, messaging.Ack)
		got++
	}
	for ; got < 200; got++ {
		d := poll(t, l)
		if string(d.Body) != fmt.Sprint(got) {
			t.Fatalf("got %q, want %d", d.Body, got)
		}
		settle(t, d, messaging.Ack)
	}
}

// TestGroups: each group gets a copy of all its sources, shared by its members.
func TestGroups(t *testing.T) {
	b := newBroker(t)
	info := topic()
	info.Kind = messaging.KindNotify
	failed := info
	info.Topic, failed.Topic = info.Topic+".info", info.Topic+".error"
	out := dial(t, b, "")
	sub := sources(info, failed)
	groups := make([][]messaging.Listener, 2)
	for i := range groups {
		sub.Group = fmt.Sprint("group-", i, info.Topic)
		for range 2 {
			groups[i] = append(groups[i], listen(t, dial(t, b, ""), sub))
		}
	}
	mustSend(t, out, failed, text("1"))
	mustSend(t, out, info, text("0"))
	for _, members := range groups {
		for _, l := range members { // the broker alternates between them
			d := poll(t, l)
			if string(d.Body) != fmt.Sprint(d.Source) {
				t.Errorf("got %q from source %d", d.Body, d.Source)
			}
			settle(t, d, messaging.Ack)
		}
	}
}

func TestPreconditionWhenListening(t *testing.T) {
	b := newBroker(t)
	a := topic()
	c := dial(t, b, "")
	l := listen(t, c, messaging.Subscription{Reply: a.Topic})
	_, err := c.Listen(t.Context(), sources(a))
	wantErr(t, err, messaging.ErrPermanent)
	var p *messaging.PreconditionError
	if !errors.As(err, &p) || p.Entity != "queue" || p.Name != a.Topic || p.Argument != "x-expires" {
		t.Errorf("error = %#v, want the queue's x-expires", p)
	}
	mustSend(t, c, messaging.Address{Kind: messaging.KindReply, Direct: a.Topic}, text("still there"))
	settle(t, poll(t, l), messaging.Ack)
}

// TestPrivateQueuesDoNotLeak: what only this listener uses is gone after Close.
func TestPrivateQueuesDoNotLeak(t *testing.T) { onEach(t, checkPrivateQueuesDoNotLeak) }

func checkPrivateQueuesDoNotLeak(t *testing.T, b *broker) {
	fanout, named, reply := topic(), topic(), topic()
	fanout.Fanout = true
	named.Server = "s"
	c := dial(t, b, "")
	l := listen(t, c, sources(fanout, named))
	r := listen(t, c, messaging.Subscription{Reply: reply.Topic})
	for _, l := range []messaging.Listener{l, r} {
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Errorf("second Close = %v", err)
		}
	}
	for name, want := range map[string]bool{
		fanout.Topic + "_fanout_i": false,
		reply.Topic:                false,
		named.Topic + ".s":         true,
	} {
		if got := b.hasQueue(t, name); got != want {
			t.Errorf("queue %q exists: %v, want %v", name, got, want)
		}
	}
}

// TestQueueDeletedUnderUs: the broker cancels the consumers; they come back.
func TestQueueDeletedUnderUs(t *testing.T) { onEach(t, checkQueueDeletedUnderUs) }

func checkQueueDeletedUnderUs(t *testing.T, b *broker) {
	a := topic()
	fanout := a
	fanout.Fanout = true
	in, out := dial(t, b, ""), dial(t, b, "")
	l := listen(t, in, sources(a, fanout))
	r := listen(t, in, messaging.Subscription{Reply: "reply-" + a.Topic})
	for range 2 {
		for _, q := range []string{a.Topic, a.Topic + "_fanout_i", "reply-" + a.Topic} {
			b.deleteQueue(t, q)
		}
		for _, to := range []messaging.Address{a, fanout, {Kind: messaging.KindReply, Direct: "reply-" + a.Topic}} {
			m := text("x")
			m.Mandatory = true
			for { // until the queue is there again
				err := send(t, out, to, m)
				if err == nil {
					break
				}
				wantErr(t, err, messaging.ErrNoRoute)
			}
		}
		settle(t, poll(t, l), messaging.Ack)
		settle(t, poll(t, l), messaging.Ack)
		settle(t, poll(t, r), messaging.Ack)
	}
}
