package rabbit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/conformance/faultproxy"
	"github.com/patchbay-go/patchbay/drivers/rabbit"
	"github.com/patchbay-go/patchbay/messaging"
)

const streamOptions = "rabbit_stream_fanout=true&rabbit_transient_quorum_queue=true&amqp_durable_queues=true"

// member is a server of a fanout, through a link that can be cut.
type member struct {
	proxy  *faultproxy.Proxy
	tr     *messaging.Transport
	stream *messaging.Stream
}

func transport(tb testing.TB, url string) *messaging.Transport {
	tb.Helper()
	tr, err := messaging.Registry{"rabbit": rabbit.Open}.Open(tb.Context(), url, &messaging.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := tr.Close(ctx); err != nil {
			tb.Errorf("Transport.Close = %v", err)
		}
	})
	return tr
}

// join listens to the fanouts of a topic.
func join(tb testing.TB, b *broker, options string, a messaging.Address) *member {
	tb.Helper()
	u, err := url.Parse(b.URL(options + "&heartbeat_timeout_threshold=2"))
	if err != nil {
		tb.Fatal(err)
	}
	m := &member{}
	if m.proxy, err = faultproxy.Listen(tb.Context(), u.Host); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = m.proxy.Close() })
	u.Host = m.proxy.Addr()
	m.tr = transport(tb, u.String())
	a.Fanout = true
	if m.stream, err = m.tr.Listen(within(tb, limit), messaging.Subscription{Sources: []messaging.Address{a}, Prefetch: 4}); err != nil {
		tb.Fatal(err)
	}
	return m
}

// next returns the next fanout, which must come.
func (m *member) next(tb testing.TB) *messaging.Incoming {
	tb.Helper()
	in, err := m.stream.Poll(within(tb, limit))
	if err != nil {
		tb.Fatal(err)
	}
	return in
}

// takes settles what comes until all of want did, in any order.
func (m *member) takes(tb testing.TB, want ...string) {
	tb.Helper()
	var got []string
	for range want {
		in := m.next(tb)
		got = append(got, in.Method)
		if err := in.Settle(tb.Context(), messaging.Ack); err != nil {
			tb.Fatal(err)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		tb.Fatalf("got %q, want %q", got, want)
	}
}

func fanout(tb testing.TB, tr *messaging.Transport, a messaging.Address, methods ...string) {
	tb.Helper()
	a.Fanout = true
	for _, m := range methods {
		if err := tr.Send(within(tb, limit), a, &messaging.Envelope{Kind: messaging.KindRPC, Method: m, Version: "1.0"}, nil); err != nil {
			tb.Fatal(err)
		}
	}
}

// cut breaks the member's link, and waits until it listens again.
func (m *member) cut(tb testing.TB) {
	tb.Helper()
	lost := m.tr.Stats().ConnsLost
	m.proxy.Cut()
	for begin := time.Now(); m.tr.Stats().ConnsLost == lost; <-time.After(time.Millisecond) {
		if time.Since(begin) > limit {
			tb.Fatal("the link was cut, and nobody noticed")
		}
	}
}

// TestStreamFanout: every member gets what is sent while it is there, once, over
// lost links too.
func TestStreamFanout(t *testing.T) {
	onEach(t, func(t *testing.T, b *broker) {
		a := topic()
		sender := transport(t, b.URL(streamOptions))
		first := join(t, b, streamOptions, a)
		fanout(t, sender, a, "1", "2")
		first.takes(t, "1", "2")
		second := join(t, b, streamOptions, a)
		fanout(t, sender, a, "3")
		first.takes(t, "3")
		second.takes(t, "3")

		// What is sent while a link is down waits in the stream.
		first.proxy.RefuseNew()
		first.cut(t)
		fanout(t, sender, a, "4", "5")
		second.takes(t, "4", "5")
		first.proxy.Heal()
		first.takes(t, "4", "5")

		// What was in hand comes again; what was settled does not.
		fanout(t, sender, a, "6", "7", "8")
		in := []*messaging.Incoming{first.next(t), first.next(t), first.next(t)}
		if err := in[1].Settle(t.Context(), messaging.Ack); err != nil {
			t.Fatal(err)
		}
		first.cut(t)
		for _, i := range []int{0, 2} {
			if err := in[i].Settle(t.Context(), messaging.Ack); err != nil && !errors.Is(err, messaging.ErrConnLost) {
				t.Fatal(err)
			}
		}
		fanout(t, sender, a, "9")
		first.takes(t, "9") // the core drops what it has handled, and knows
		second.takes(t, "6", "7", "8", "9")

		// A listener that leaves takes nothing with it.
		if err := first.stream.Close(within(t, limit)); err != nil {
			t.Fatal(err)
		}
		fanout(t, sender, a, "10")
		second.takes(t, "10")
	})
}

// TestStreamRequeue: what is given back comes again, to the one who gave it, and
// what is dropped does not.
func TestStreamRequeue(t *testing.T) {
	b := newBroker(t)
	a := topic()
	sender := transport(t, b.URL(streamOptions))
	m, other := join(t, b, streamOptions, a), join(t, b, streamOptions, a)
	fanout(t, sender, a, "1", "2", "3", "4", "5", "6")
	for i := range 20 { // more often than anything is prefetched
		in := m.next(t)
		if in.Redelivered != (i >= 4) {
			t.Errorf("delivery %d, of %s, is redelivered: %v", i, in.Method, in.Redelivered)
		}
		if err := in.Settle(t.Context(), messaging.Requeue); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.next(t).Settle(t.Context(), messaging.Drop); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 5 {
		in := m.next(t)
		if seen[in.Method] {
			t.Errorf("%s came again", in.Method)
		}
		seen[in.Method] = true
		if err := in.Settle(t.Context(), messaging.Ack); err != nil {
			t.Fatal(err)
		}
	}
	other.takes(t, "1", "2", "3", "4", "5", "6")
}

// TestStreamMadeAgain: whoever deletes the stream does not make its readers deaf,
// whether they see it or are away.
func TestStreamMadeAgain(t *testing.T) {
	onOldAndNew(t, func(t *testing.T, b *broker) {
		a := topic()
		sender := transport(t, b.URL(streamOptions))
		m := join(t, b, streamOptions, a)
		var before []string
		for i := range 20 {
			before = append(before, fmt.Sprint(i))
		}
		fanout(t, sender, a, before...)
		m.takes(t, before...)

		b.deleteQueue(t, a.Topic+"_fanout")
		m.reached(t, sender, a)

		m.proxy.RefuseNew()
		m.cut(t)
		b.deleteQueue(t, a.Topic+"_fanout")
		other := join(t, b, streamOptions, a)
		fanout(t, sender, a, "c") // which the one that is away shall get, too
		m.proxy.Heal()
		m.takes(t, "c")
		other.takes(t, "c")
	})
}

// reached sends fanouts until one arrives: those before had no queue to go to.
func (m *member) reached(tb testing.TB, sender *messaging.Transport, a messaging.Address) {
	tb.Helper()
	for begin := time.Now(); time.Since(begin) < limit; {
		fanout(tb, sender, a, "again")
		ctx, cancel := context.WithTimeout(tb.Context(), 100*time.Millisecond)
		in, err := m.stream.Poll(ctx)
		cancel()
		if err != nil {
			continue
		}
		if err := in.Settle(tb.Context(), messaging.Ack); err != nil {
			tb.Fatal(err)
		}
		fanout(tb, sender, a, "last")
		for in := m.next(tb); ; in = m.next(tb) {
			if err := in.Settle(tb.Context(), messaging.Ack); err != nil {
				tb.Fatal(err)
			}
			if in.Method == "last" {
				return
			}
		}
	}
	tb.Fatal("no fanout arrives any more")
}
