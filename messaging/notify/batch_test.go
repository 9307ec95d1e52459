package notify_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// batches is an endpoint that keeps what it gets at once.
type batches struct {
	notify.Endpoint
	got   [][]string // event types
	after []time.Duration
	start time.Time
	say   func(ns []*notify.Notification) error
}

func newBatches(priorities ...notify.Priority) *batches {
	r := &batches{start: time.Now()}
	for _, p := range priorities {
		notify.HandleBatch(&r.Endpoint, p, func(_ context.Context, ns []*notify.Notification) error {
			var types []string
			for _, n := range ns {
				types = append(types, n.EventType)
			}
			r.got = append(r.got, types)
			r.after = append(r.after, time.Since(r.start))
			if r.say == nil {
				return nil
			}
			return r.say(ns)
		})
	}
	return r
}

// TestBatchBySizeAndTime: a batch is full, or it is late.
func TestBatchBySizeAndTime(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		r := newBatches(notify.Info)
		b.listen(&notify.ListenerOptions{BatchSize: 3, BatchTimeout: 5 * time.Second, Executor: rpc.Workers(1)}, &r.Endpoint)
		n := b.notifier(nil)
		b.publish(n, "a", "b", "c", "d")
		synctest.Wait()
		if d := cmp.Diff([][]string{{"a", "b", "c"}}, r.got); d != "" {
			t.Errorf("the full batch (-want +got):\n%s", d)
		}
		pass(3 * time.Second)
		b.publish(n, "e")
		pass(time.Minute)
		if d := cmp.Diff([][]string{{"a", "b", "c"}, {"d", "e"}}, r.got); d != "" {
			t.Errorf("with the late one (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]time.Duration{0, 5 * time.Second}, r.after); d != "" {
			t.Errorf("times (-want +got):\n%s", d)
		}
	})
}

// TestBatchesAreOfOnePriority, and of what the filter lets through; other handlers
// get what is theirs one by one.
func TestBatchesAreOfOnePriority(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		r := newBatches(notify.Info, notify.Error)
		r.Filter.EventType = "a|c|d"
		single := newRecord(nil, notify.Info)
		b.listen(&notify.ListenerOptions{BatchSize: 5, Executor: rpc.Blocking()}, &r.Endpoint, &single.Endpoint)
		n := b.notifier(nil)
		for _, e := range []string{"a", "b", "c", "d"} {
			p := notify.Info
			if e == "c" {
				p = notify.Error
			}
			if err := n.Notify(t.Context(), p, e, nil); err != nil {
				t.Fatal(err)
			}
		}
		pass(time.Minute)
		if d := cmp.Diff([][]string{{"a", "d"}, {"c"}}, r.got); d != "" {
			t.Errorf("batches (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]string{"a", "b", "d"}, single.events()); d != "" {
			t.Errorf("one by one (-want +got):\n%s", d)
		}
	})
}

// TestFailedBatchComesAgain: all of it, and nothing else.
func TestFailedBatchComesAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		r := newBatches(notify.Info)
		failed := false
		r.say = func([]*notify.Notification) error {
			if failed {
				return nil
			}
			failed = true
			return errors.New("database is down")
		}
		r.Filter.EventType = "[ab]"
		single := newRecord(nil, notify.Info)
		l := b.listen(&notify.ListenerOptions{BatchSize: 3, AllowRequeue: true, Executor: rpc.Blocking()}, &r.Endpoint, &single.Endpoint)
		b.publish(b.notifier(nil), "a", "b", "c")
		pass(time.Minute)
		if d := cmp.Diff([][]string{{"a", "b"}, {"a", "b"}}, r.got); d != "" {
			t.Errorf("batches (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]string{"c", "a", "b"}, single.events()); d != "" {
			t.Errorf("the next endpoint (-want +got):\n%s", d)
		}
		want := notify.ListenerStats{Handled: 5, Failed: 2, Requeued: 2}
		if d := cmp.Diff(want, l.Stats()); d != "" {
			t.Errorf("stats (-want +got):\n%s", d)
		}
	})
}

// TestPartOfABatchGoesBack: what a stopping listener has gathered belongs to the
// next one.
func TestPartOfABatchGoesBack(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		n := b.notifier(nil)
		first, second := newBatches(notify.Info), newBatches(notify.Info)
		l := b.listen(&notify.ListenerOptions{BatchSize: 10, BatchTimeout: time.Hour, Executor: busy(t)}, &first.Endpoint)
		b.publish(n, "a", "b")
		synctest.Wait()
		if err := l.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.listen(&notify.ListenerOptions{BatchSize: 2}, &second.Endpoint)
		synctest.Wait()
		if len(first.got) != 0 {
			t.Errorf("the one that stopped handled %v", first.got)
		}
		if d := cmp.Diff([][]string{{"a", "b"}}, second.got); d != "" {
			t.Errorf("the next (-want +got):\n%s", d)
		}
	})
}

// busy returns an executor that has no room.
func busy(t *testing.T) notify.Executor {
	t.Helper()
	return noRoom{}
}

type noRoom struct{}

func (noRoom) Execute(ctx context.Context, _ func()) error { <-ctx.Done(); return context.Cause(ctx) }
func (noRoom) Concurrency() int                            { return 1 }
func (noRoom) Close(context.Context) error                 { return nil }
