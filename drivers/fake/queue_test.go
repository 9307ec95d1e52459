package fake_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
)

func TestPriorityThenOrder(t *testing.T) {
	b := fake.New(nil)
	c := dial(t, b)
	if err := listen(t, b, on(topic)).Close(t.Context()); err != nil { // the queue stays
		t.Fatal(err)
	}
	for _, m := range []messaging.Message{
		{Body: []byte("low 1")},
		{Body: []byte("high 1"), Priority: 9},
		{Body: []byte("low 2")},
		{Body: []byte("middle"), Priority: 5},
		{Body: []byte("high 2"), Priority: 200},
	} {
		if err := send(t, c, topic, m); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"high 1", "high 2", "middle", "low 1", "low 2"}
	if diff := cmp.Diff(want, receive(t, listen(t, b, on(topic)), 5)); diff != "" {
		t.Error(diff)
	}
}

func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fake.New(nil)
		c := dial(t, b)
		sub := on(topic)
		sub.Prefetch = 1
		l := listen(t, b, sub)
		for _, m := range []messaging.Message{
			{Body: []byte("first")}, {Body: []byte("short"), TTL: time.Hour}, {Body: []byte("long"), TTL: 3 * time.Hour},
		} {
			if err := send(t, c, topic, m); err != nil {
				t.Fatal(err)
			}
		}
		first := poll(t, l)
		<-time.After(2 * time.Hour) // virtual
		settle(t, first, messaging.Ack)
		if d := poll(t, l); string(d.Body) != "long" || d.TTL != time.Hour {
			t.Errorf("got %q with a TTL of %v, want long with the 1h that is left", d.Body, d.TTL)
		}
		wantNothing(t, l)
	})
}

func TestRequeueKeepsThePlace(t *testing.T) {
	b := fake.New(nil)
	sub := on(topic)
	sub.Prefetch = 1
	l := listen(t, b, sub)
	mustSend(t, dial(t, b), topic, "a", "b")
	settle(t, poll(t, l), messaging.Requeue)
	d := poll(t, l)
	if string(d.Body) != "a" || !d.Redelivered || d.Count != 1 {
		t.Errorf("got %q, redelivered %v, count %d; want a, true, 1", d.Body, d.Redelivered, d.Count)
	}
}

func TestDropIsKeptAside(t *testing.T) {
	b := fake.New(nil)
	l := listen(t, b, on(topic))
	mustSend(t, dial(t, b), topic, "bad", "good")
	settle(t, poll(t, l), messaging.Drop)
	if diff := cmp.Diff([]string{"good"}, receive(t, l, 1)); diff != "" {
		t.Error(diff)
	}
	want := []fake.DeadLetter{{To: topic, Message: body("bad")}}
	got := b.DeadLetters()
	got[0].Message.Headers = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPrefetchBoundsEachSource(t *testing.T) {
	b := fake.New(nil)
	sub := on(topic, named)
	sub.Prefetch = 2
	l := listen(t, b, sub)
	c := dial(t, b)
	mustSend(t, c, topic, "a", "b", "c")
	mustSend(t, c, named, "A", "B", "C")
	var first *messaging.Delivery
	for range 4 {
		if d := poll(t, l); first == nil {
			first = d
		}
	}
	wantNothing(t, l)
	settle(t, first, messaging.Ack)
	if diff := cmp.Diff([]string{"c"}, receive(t, l, 1)); diff != "" {
		t.Error(diff)
	}
	want := []fake.QueueInfo{
		{Name: `server "s1" of topic "volume"`, Waiting: 1, Unsettled: 2, Consumers: 1, Durable: true},
		{Name: `topic "volume"`, Unsettled: 1, Consumers: 1, Durable: true},
	}
	if diff := cmp.Diff(want, b.Queues()); diff != "" {
		t.Error(diff)
	}
}

func TestFullQueueRejects(t *testing.T) {
	b := fake.New(&fake.Options{MaxQueue: 1})
	c := dial(t, b)
	ensured := messaging.Message{Ensure: true}
	if err := send(t, c, topic, ensured); err != nil {
		t.Fatal(err)
	}
	wantErr(t, send(t, c, topic, ensured), messaging.ErrRejected)
}

// TestStalledTap: a tap that stalls has the newest later, and no sender notices.
func TestStalledTap(t *testing.T) {
	for _, tt := range []struct{ max, waiting int }{{0, 10_000}, {20_000, 10_000}, {3, 3}} {
		b := fake.New(&fake.Options{MaxQueue: tt.max})
		a := messaging.Address{Kind: messaging.KindNotify, Topic: "n.info"}
		sub := on(a)
		sub.Tap, sub.Prefetch = true, 1
		l := listen(t, b, sub)
		c := dial(t, b)
		mustSend(t, c, a, "in hand", "oldest")
		for range tt.waiting - 1 {
			mustSend(t, c, a, "x")
		}
		mustSend(t, c, a, "newest")
		if n := b.Queues()[0].Waiting; n != tt.waiting {
			t.Errorf("%d wait, want %d", n, tt.waiting)
		}
		got := receive(t, l, 1+tt.waiting)
		if got[0] != "in hand" || got[1] == "oldest" || got[tt.waiting] != "newest" {
			t.Errorf("the tap got %q, %q … %q", got[0], got[1], got[tt.waiting])
		}
	}
}

func TestStopGivesBackWhatWasNotPolled(t *testing.T) {
	b := fake.New(nil)
	l := listen(t, b, on(topic))
	mustSend(t, dial(t, b), topic, "a", "b", "c")
	polled := poll(t, l)
	if n, err := l.Stop(t.Context()); n != 2 || err != nil {
		t.Fatalf("Stop returned %d, %v; want 2, nil", n, err)
	}
	_, err := l.Poll(t.Context())
	wantErr(t, err, messaging.ErrClosed)

	other := listen(t, b, on(topic))
	for _, want := range []string{"b", "c"} {
		if d := poll(t, other); string(d.Body) != want || d.Redelivered || d.Count != 0 {
			t.Errorf("got %q, redelivered %v, count %d; want %q as though never delivered", d.Body, d.Redelivered, d.Count, want)
		}
	}
	settle(t, polled, messaging.Ack)
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantNothing(t, other)
}

func TestCloseGivesBackWhatWasNotSettled(t *testing.T) {
	b := fake.New(nil)
	l := listen(t, b, on(topic))
	mustSend(t, dial(t, b), topic, "a")
	d := poll(t, l)
	for range 2 { // idempotent
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wantErr(t, d.Settle(t.Context(), messaging.Ack), messaging.ErrClosed)
	wantErr(t, d.Settle(t.Context(), messaging.Ack), messaging.ErrSettled)
	if again := poll(t, listen(t, b, on(topic))); !again.Redelivered || again.Count != 1 {
		t.Errorf("redelivered %v, count %d; want true, 1", again.Redelivered, again.Count)
	}
}

func TestPrivateQueues(t *testing.T) {
	subs := map[string]messaging.Subscription{
		"fanout": {Sources: []messaging.Address{fanout}, Instance: "i"},
		"reply":  {Reply: reply.Direct},
	}
	for name, sub := range subs {
		to := reply
		if name == "fanout" {
			to = fanout
		}
		t.Run(name+" survives a lost connection", func(t *testing.T) {
			b := fake.New(nil)
			listen(t, b, sub)
			b.CutAll()
			mustSend(t, dial(t, b), to, "a")
			l := listen(t, b, sub)
			if l.Address() != sub.Reply {
				t.Errorf("address %q, want %q", l.Address(), sub.Reply)
			}
			receive(t, l, 1)
		})
		t.Run(name+" is deleted on Close", func(t *testing.T) {
			b := fake.New(nil)
			if err := listen(t, b, sub).Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]fake.QueueInfo{}, b.Queues()); diff != "" {
				t.Error(diff)
			}
		})
		t.Run(name+" expires", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fake.New(&fake.Options{Expiry: time.Hour})
				listen(t, b, sub)
				b.CutAll()
				<-time.After(time.Hour) // virtual
				mustSend(t, dial(t, b), to, "a")
				wantNothing(t, listen(t, b, sub))
			})
		})
	}
}

func TestCancelledPollLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fake.New(nil)
		l := listen(t, b, on(topic))
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			_, err := l.Poll(ctx)
			failed <- err
		}()
		synctest.Wait()
		cancel()
		wantErr(t, <-failed, context.Canceled)
		mustSend(t, dial(t, b), topic, "a")
		if _, err := l.Poll(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Poll under an ended context returned %v", err)
		}
		receive(t, l, 1)
	})
}

func TestConcurrentPollersGetAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages, pollers = 100, 7
		b := fake.New(nil)
		l := listen(t, b, on(topic))
		got := make(chan string, messages)
		for range pollers {
			go func() {
				for {
					d, err := l.Poll(t.Context())
					if err != nil {
						return
					}
					got <- string(d.Body)
					_ = d.Settle(t.Context(), messaging.Ack)
				}
			}()
		}
		c := dial(t, b)
		for range messages {
			mustSend(t, c, topic, "x")
		}
		synctest.Wait()
		if len(got) != messages {
			t.Errorf("%d of %d messages arrived", len(got), messages)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestInvalidSubscriptions(t *testing.T) {
	subs := map[string]messaging.Subscription{
		"nothing":                 {Prefetch: 1},
		"sources and reply":       {Prefetch: 1, Sources: []messaging.Address{topic}, Reply: "r"},
		"no prefetch":             {Sources: []messaging.Address{topic}},
		"fanout without instance": {Prefetch: 1, Sources: []messaging.Address{fanout}},
	}
	for name, sub := range subs {
		t.Run(name, func(t *testing.T) {
			_, err := dial(t, fake.New(nil)).Listen(t.Context(), sub)
			wantErr(t, err, messaging.ErrPermanent)
		})
	}
}
