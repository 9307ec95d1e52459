package amqp1_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/patchbay-go/patchbay/messaging"
)

// TestPrefetchIsPerSource holds every delivery and counts them, with a last
// message to each source as the fence.
func TestPrefetchIsPerSource(t *testing.T) {
	onEach(t, func(t *testing.T, b *broker) {
		a := topic()
		named := a
		named.Server = "s"
		sub := sources(a, named)
		sub.Prefetch = 3
		l := listen(t, dial(t, b, ""), sub)
		out := dial(t, b, "")
		for i := range 5 {
			mustSend(t, out, a, body(fmt.Sprint(i)))
			mustSend(t, out, named, body(fmt.Sprint(i)))
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
		// One that is slow does not keep the others from coming.
		settle(t, held[0][1], messaging.Ack)
		settle(t, held[0][2], messaging.Ack)
		for _, want := range []string{"3", "4"} {
			if d := poll(t, l); string(d.Body) != want || d.Source != 0 {
				t.Fatalf("got %q from source %d, want %q", d.Body, d.Source, want)
			}
		}
	})
}

// TestStopGivesBack: what was prefetched goes to another listener, not counted as
// an attempt, and what is in hand can be settled.
func TestStopGivesBack(t *testing.T) {
	onEach(t, func(t *testing.T, b *broker) {
		a := topic()
		first := listen(t, dial(t, b, ""), sources(a))
		out := dial(t, b, "")
		for i := range 10 {
			mustSend(t, out, a, body(fmt.Sprint(i)))
		}
		inHand := poll(t, first)
		n, err := first.Stop(within(t, limit))
		if err != nil || n > 9 {
			t.Fatalf("Stop = %d, %v", n, err)
		}
		t.Logf("%d were prefetched", n)
		end := func() {
			settle(t, inHand, messaging.Ack)
			if err := first.Close(within(t, limit)); err != nil {
				t.Fatal(err)
			}
		}
		if b.column == "Artemis" {
			end() // it may hold one until then, for a link that has no credit any more
			end = func() {}
		}
		second := listen(t, dial(t, b, ""), sources(a))
		for range 9 {
			d := poll(t, second)
			if d.Count > 0 {
				t.Errorf("%q came with a count of %d: it was not delivered to anybody", d.Body, d.Count)
			}
			settle(t, d, messaging.Ack)
		}
		end()
		mustSend(t, out, a, body("last"))
		if d := poll(t, second); string(d.Body) != "last" {
			t.Errorf("%q came again", d.Body)
		}
	})
}

// TestQueueDeleted: a listener whose queue is deleted under it declares it again and
// goes on, over the same connection.
func TestQueueDeleted(t *testing.T) {
	for _, version := range []string{"4.0", "4.3"} {
		t.Run(version, func(t *testing.T) {
			b := newRabbitMQ(t, version)
			a := messaging.Address{Exchange: "x", Topic: "t"}
			in := dial(t, b, "")
			l := listen(t, in, sources(a))
			out := dial(t, b, "")
			mustSend(t, out, a, body("before"))
			settle(t, poll(t, l), messaging.Ack)
			_, vhost, _ := splitURL(t, b.url)
			for range 2 {
				if _, err := b.Exec(t.Context(), "rabbitmqctl", "-q", "delete_queue", "-p", vhost, "rpc.x.t"); err != nil {
					t.Fatal(err)
				}
				m := body("after")
				m.Mandatory = true
				for { // until it is there again
					if err := send(t, out, a, m); err == nil {
						break
					}
				}
				settle(t, poll(t, l), messaging.Ack)
			}
			select {
			case <-in.Done():
				t.Errorf("it cost the connection: %v", in.Err())
			default:
			}
		})
	}
}

// TestNothingOfAListenerIsLeft: queues that are nobody else's go with it.
func TestNothingOfAListenerIsLeft(t *testing.T) {
	b := newRabbitMQ(t, "4.3")
	_, vhost, _ := splitURL(t, b.url)
	fan := messaging.Address{Topic: "t", Fanout: true}
	c := dial(t, b, "")
	l := listen(t, c, sources(fan))
	r := listen(t, c, messaging.Subscription{Reply: "mine", Prefetch: 1})
	queues := func() string {
		out, err := b.Exec(t.Context(), "rabbitmqctl", "-q", "list_queues", "-p", vhost, "--no-table-headers", "name")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if queues() == "" {
		t.Error("there are no queues")
	}
	for _, l := range []messaging.Listener{l, r} {
		if err := l.Close(within(t, limit)); err != nil {
			t.Error(err)
		}
	}
	if left := queues(); left != "" {
		t.Errorf("left are %s", left)
	}
}

// TestRepliesReachTheAddress that a listener answers with, and only while it is there.
func TestRepliesReachTheAddress(t *testing.T) {
	onEach(t, func(t *testing.T, b *broker) {
		l := listen(t, dial(t, b, ""), messaging.Subscription{Reply: "r" + topic().Topic, Prefetch: 8})
		out := dial(t, b, "")
		to := messaging.Address{Kind: messaging.KindReply, Direct: l.Address()}
		m := body("reply")
		m.CorrelationID = "call"
		for range 3 {
			mustSend(t, out, to, m)
			if d := poll(t, l); d.CorrelationID != "call" || string(d.Body) != "reply" {
				t.Errorf("got %+v", d.Message)
			} else {
				settle(t, d, messaging.Ack)
			}
		}
		if b.column == "Artemis" {
			return // it accepts what nobody gets
		}
		if err := l.Close(within(t, limit)); err != nil {
			t.Fatal(err)
		}
		// The news that the address is gone may be on its way.
		m.Mandatory = true
		for {
			err := send(t, out, to, m)
			if err == nil {
				continue
			}
			wantErr(t, err, messaging.ErrNoRoute)
			break
		}
		// It harmed nobody else.
		other := topic()
		l2 := listen(t, dial(t, b, ""), sources(other))
		mustSend(t, out, other, body("x"))
		settle(t, poll(t, l2), messaging.Ack)
	})
}

// TestNobodyListens: a name that brokers might not like is told like any other.
func TestNobodyListens(t *testing.T) {
	onEach(t, func(t *testing.T, b *broker) {
		out := dial(t, b, "")
		if !out.Capabilities().Mandatory {
			return
		}
		a := topic()
		m := body("x")
		m.Mandatory = true
		for _, server := range []string{"plain", "host-1.example", "a/b", "50% #é", " ", "x%"} {
			a.Server = server
			if err := send(t, out, a, m); !errors.Is(err, messaging.ErrNoRoute) {
				t.Errorf("server %q: %v", server, err)
			}
		}
		select {
		case <-out.Done():
			t.Errorf("it cost the connection: %v", out.Err())
		default:
		}
	})
}

// TestManyAddresses: a link for each address is opened and closed as needed.
func TestManyAddresses(t *testing.T) {
	b := newBrokerJ(t)
	a := topic()
	l := listen(t, dial(t, b, ""), sources(a))
	out := dial(t, b, "")
	const n = 400 // more than there may be at a time
	results := make(chan error, n)
	for i := range n {
		to := a
		if i%2 == 1 {
			to.Server = fmt.Sprint("absent", i)
		}
		m := body("x")
		m.Mandatory = true
		r := make(result, 1)
		if err := out.Send(within(t, limit), to, m, r); err != nil {
			t.Fatal(err)
		}
		go func() { results <- r.wait(t) }()
	}
	routed := 0
	for range n {
		if err := <-results; err == nil {
			routed++
		} else {
			wantErr(t, err, messaging.ErrNoRoute)
		}
	}
	if routed != n/2 {
		t.Errorf("%d of %d had a route, want half", routed, n)
	}
	for range n / 2 {
		settle(t, poll(t, l), messaging.Ack)
	}
}

// TestCancelled: who gives up learns it, and costs others nothing.
func TestCancelled(t *testing.T) {
	b := newArtemis(t)
	c := dial(t, b, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Listen(ctx, sources(topic())); err == nil {
		t.Error("listening with a cancelled context succeeded")
	}
	a := topic()
	l := listen(t, c, sources(a))
	if _, err := l.Poll(ctx); err == nil {
		t.Error("polling with a cancelled context succeeded")
	}
	mustSend(t, dial(t, b, ""), a, body("x"))
	settle(t, poll(t, l), messaging.Ack)
}
