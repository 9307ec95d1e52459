package notify_test

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// gate is a driver that holds notifications until it is opened.
type gate struct {
	open chan struct{}
	got  chan *notify.Notification
}

func newGate() *gate {
	return &gate{make(chan struct{}), make(chan *notify.Notification, 100)}
}

func (g *gate) Notify(ctx context.Context, n *notify.Notification) error {
	select {
	case <-g.open:
		g.got <- n
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func TestQueueNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		q := notify.NewQueue(notify.NewNotifier("p", []notify.Driver{g}, nil), &notify.QueueOptions{Size: 2})
		ctx, cancel := context.WithCancel(rpc.NewContext(t.Context(), "request_id", "r"))
		payload := map[string]int{"n": 0}
		for i := range 3 { // one is being published, two wait
			payload["n"] = i
			if err := q.Notify(ctx, notify.Info, "e", payload); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if err := q.Notify(ctx, notify.Info, "too many", nil); !errors.Is(err, notify.ErrQueueFull) {
			t.Errorf("beyond its size: %v", err)
		}
		if err := q.Notify(ctx, notify.Info, "e", math.NaN()); !errors.Is(err, notify.ErrBadPayload) {
			t.Errorf("a bad payload: %v", err)
		}
		cancel() // who notified is gone
		if d := cmp.Diff(notify.QueueStats{Waiting: 2, Dropped: 1}, q.Stats()); d != "" {
			t.Errorf("stats (-want +got):\n%s", d)
		}
		close(g.open)
		if err := q.Close(t.Context()); err != nil {
			t.Error(err)
		}
		for i := range 3 {
			n := <-g.got
			var got map[string]int
			if err := n.Decode(&got); err != nil || got["n"] != i || len(n.Context) != 1 {
				t.Errorf("notification %d is %s with context %v, %v", i, n.Payload, n.Context, err)
			}
		}
		if err := q.Notify(t.Context(), notify.Info, "e", nil); !errors.Is(err, messaging.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if err := q.Close(t.Context()); err != nil {
			t.Errorf("Close again: %v", err)
		}
	})
}

func TestQueueGivesUpWithItsClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed []string
		q := notify.NewQueue(notify.NewNotifier("p", []notify.Driver{newGate()}, nil), &notify.QueueOptions{
			OnError: func(n *notify.Notification, _ error) { failed = append(failed, n.EventType) },
		})
		for _, e := range []string{"a", "b", "c"} {
			if err := q.Notify(t.Context(), notify.Info, e, nil); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		err := q.Close(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "3 were not published") || time.Since(start) != time.Minute {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if d := cmp.Diff([]string{"a", "b", "c"}, failed); d != "" {
			t.Errorf("failed (-want +got):\n%s", d)
		}
	})
}

// TestQueueClosedTwiceAtOnce: one who would have waited learns that another gave up.
func TestQueueClosedTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := notify.NewQueue(notify.NewNotifier("p", []notify.Driver{newGate()}, nil), &notify.QueueOptions{
			OnError: func(*notify.Notification, error) {},
		})
		if err := q.Notify(t.Context(), notify.Info, "e", nil); err != nil {
			t.Fatal(err)
		}
		patient := make(chan error, 1)
		go func() { patient <- q.Close(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for who, err := range map[string]error{"who gave up": q.Close(ctx), "who would have waited": <-patient} {
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 were not published") {
				t.Errorf("%s: %v", who, err)
			}
		}
	})
}

// TestQueueTellsFailures in a log, and not without bound.
func TestQueueTellsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logBuffer{}
		broken := notify.DriverFunc(func(context.Context, *notify.Notification) error { return errors.New("disk full") })
		q := notify.NewQueue(notify.NewNotifier("p", []notify.Driver{broken}, nil), &notify.QueueOptions{
			Senders: 4, Logger: slog.New(slog.NewTextHandler(log, nil)),
		})
		for range 100 {
			if err := q.Notify(t.Context(), notify.Info, "e", nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(log.String(), `error="disk full" event_type=e`); n != 10 {
			t.Errorf("%d lines:\n%s", n, log)
		}
		if st := q.Stats(); st.Failed != 100 {
			t.Errorf("%+v", st)
		}
	})
}

// TestQueueOutlivesPanics of drivers: its goroutine is nobody's else.
func TestQueueOutlivesPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told error
		worst := notify.DriverFunc(func(_ context.Context, n *notify.Notification) error {
			if n.EventType == "bad" {
				panic("oops")
			}
			return nil
		})
		q := notify.NewQueue(notify.NewNotifier("p", []notify.Driver{worst}, nil), &notify.QueueOptions{
			OnError: func(_ *notify.Notification, err error) { told = err },
		})
		for _, event := range []string{"bad", "good"} {
			if err := q.Notify(t.Context(), notify.Info, event, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		var p *notify.PanicError
		if !errors.As(told, &p) || q.Stats().Failed != 1 {
			t.Errorf("the owner is told %v, and the stats are %+v", told, q.Stats())
		}
	})
}
