package notify_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// TestAcknowledgedAfterHandling: what a listener had in hand when it died comes to
// another.
func TestAcknowledgedAfterHandling(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		entered := make(chan bool, 1)
		ep := &notify.Endpoint{}
		notify.HandleRaw(ep, notify.Info, func(ctx context.Context, _ *notify.Notification) error {
			entered <- true
			<-ctx.Done()
			return nil
		})
		l := b.listen(nil, ep)
		b.publish(b.notifier(nil), "e")
		<-entered
		next := newRecord(nil, notify.Info)
		b.listen(nil, &next.Endpoint)
		synctest.Wait()
		if n := len(next.events()); n != 0 {
			t.Fatalf("%d came while it was handled", n)
		}
		b.broker.CutAll()
		pass(time.Minute)
		// The first has its connection back by then, and knows the notification; or
		// the other got it, marked.
		for _, n := range next.got {
			if !n.Redelivered {
				t.Error("it came a second time without a mark")
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var drain *notify.DrainError
		if err := l.Wait(ctx); !errors.As(err, &drain) || drain.Running != 1 {
			t.Errorf("Wait: %v, want a DrainError of 1", err)
		}
		if err := l.Wait(t.Context()); err != nil { // the handler's ctx is over
			t.Errorf("Wait again: %v", err)
		}
	})
}

// TestStopGivesBack: what was prefetched, and what waited to come again.
func TestStopGivesBack(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		first := newRecord(func(*notify.Notification) error { return notify.ErrRequeue }, notify.Info)
		l := b.listen(&notify.ListenerOptions{AllowRequeue: true, RequeueDelay: time.Hour, Prefetch: 16}, &first.Endpoint)
		b.publish(b.notifier(nil), events("e", 20)...)
		synctest.Wait()
		if n := len(first.events()); n != 16 {
			t.Errorf("%d were tried, want as many as are prefetched", n)
		}
		if n := l.Stats().Running; n != 16 {
			t.Errorf("%d are in hand", n)
		}
		start := time.Now()
		if err := l.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("the drain took %v", took)
		}
		second := newRecord(nil, notify.Info)
		b.listen(nil, &second.Endpoint)
		synctest.Wait()
		if d := cmp.Diff(events("e", 20), sorted(second.events())); d != "" {
			t.Errorf("the next (-want +got):\n%s", d)
		}
	})
}

func TestServe(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		ep := &notify.Endpoint{}
		done := false
		entered := make(chan bool)
		notify.HandleRaw(ep, notify.Info, func(context.Context, *notify.Notification) error {
			entered <- true
			<-time.After(10 * time.Second)
			done = true
			return nil
		})
		l := b.listener(&notify.ListenerOptions{AllowRequeue: true}, ep)
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error)
		go func() { served <- l.Serve(ctx) }()
		b.publish(b.notifier(nil), "e")
		<-entered
		cancel()
		if err := <-served; err != nil || !done {
			t.Errorf("Serve: %v, and the handler is done: %v", err, done)
		}
		if err := l.Start(t.Context()); !errors.Is(err, messaging.ErrClosed) {
			t.Errorf("Start after it: %v", err)
		}
	})
}

// TestListenerOutlivesItsConnection: nothing is lost over it.
func TestListenerOutlivesItsConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		r := newRecord(nil, notify.Info)
		b.listen(&notify.ListenerOptions{Executor: rpc.Workers(2)}, &r.Endpoint)
		n := b.notifier(nil)
		for i, e := range events("e", 20) {
			if i%5 == 4 {
				b.broker.CutAll()
			}
			b.publish(n, e)
		}
		pass(time.Minute)
		if d := cmp.Diff(events("e", 20), sorted(r.events())); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

func TestListenerWhoseTransportCloses(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		transport := b.open()
		l, err := notify.NewListener(transport, []messaging.Target{target}, []*notify.Endpoint{&newRecord(nil, notify.Info).Endpoint}, nil)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error)
		go func() { served <- l.Serve(t.Context()) }()
		synctest.Wait()
		if err := transport.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-served; !errors.Is(err, messaging.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
}
