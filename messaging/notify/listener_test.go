package notify_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// publish publishes events of priority info and fails the test if it cannot.
func (b *bus) publish(n *notify.Notifier, events ...string) {
	b.t.Helper()
	for _, e := range events {
		if err := n.Info(b.ctx(), e, map[string]any{}); err != nil {
			b.t.Fatal(err)
		}
	}
}

func events(prefix string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%s%02d", prefix, i))
	}
	return all
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// TestPriorities: who listens to some priorities leaves the others in their
// queues.
func TestPriorities(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		alarms := newRecord(nil, notify.Error, notify.Critical)
		b.listen(nil, &alarms.Endpoint)
		n := b.notifier(nil)
		for _, p := range notify.Priorities() {
			if err := n.Notify(t.Context(), p, string(p), nil); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if d := cmp.Diff([]string{"critical", "error"}, sorted(alarms.events())); d != "" {
			t.Errorf("alarms (-want +got):\n%s", d)
		}
		rest := newRecord(nil, notify.Audit, notify.Debug, notify.Info, notify.Warn, notify.Sample)
		b.listen(nil, &rest.Endpoint)
		synctest.Wait()
		if d := cmp.Diff([]string{"audit", "debug", "info", "sample", "warn"}, sorted(rest.events())); d != "" {
			t.Errorf("the rest (-want +got):\n%s", d)
		}
	})
}

// TestEveryEndpointInOrder: all that want a notification get it, in order, and the
// first that fails is the last.
func TestEveryEndpointInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		var order []string
		say := func(name string, err error) *notify.Endpoint {
			return &newRecord(func(*notify.Notification) error { order = append(order, name); return err }, notify.Info).Endpoint
		}
		other := newRecord(nil, notify.Error)
		filtered := say("filtered", nil)
		filtered.Filter.EventType = "other"
		b.listen(nil, say("a", nil), filtered, &other.Endpoint, say("b", errors.New("broken")), say("c", nil))
		b.publish(b.notifier(nil), "e")
		synctest.Wait()
		if d := cmp.Diff([]string{"a", "b"}, order); d != "" {
			t.Errorf("order (-want +got):\n%s", d)
		}
	})
}

// TestRequeue: what a handler could not do comes again, later each time, and does
// not hold up the others.
func TestRequeue(t *testing.T) {
	for _, counted := range []bool{true, false} {
		inBubble(t, func(t *testing.T, b *bus) {
			b.caps = func(c *messaging.Capabilities) { c.DeliveryCount = counted }
			var waits []time.Duration
			var last time.Time
			r := newRecord(func(n *notify.Notification) error {
				if n.EventType != "hard" {
					return nil
				}
				if !last.IsZero() {
					waits = append(waits, time.Since(last))
				}
				if last = time.Now(); len(waits) == 8 {
					return nil
				}
				return errors.New("not now")
			}, notify.Info)
			l := b.listen(&notify.ListenerOptions{AllowRequeue: true, Executor: rpc.Workers(1)}, &r.Endpoint)
			n := b.notifier(nil)
			b.publish(n, "hard", "easy")
			synctest.Wait()
			if d := cmp.Diff([]string{"hard", "easy"}, r.events()); d != "" {
				t.Errorf("at first (-want +got):\n%s", d)
			}
			pass(time.Hour)
			s := time.Second
			if d := cmp.Diff([]time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s}, waits); d != "" {
				t.Errorf("waits (-want +got):\n%s", d)
			}
			if !r.got[2].Redelivered {
				t.Error("what came again is not marked")
			}
			want := notify.ListenerStats{Handled: 10, Failed: 8, Requeued: 8}
			if d := cmp.Diff(want, l.Stats()); d != "" {
				t.Errorf("stats (-want +got):\n%s", d)
			}
		})
	}
}

// TestMaxAttempts: what nobody can handle ends, and is kept aside.
func TestMaxAttempts(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		r := newRecord(func(*notify.Notification) error { return notify.Requeue(errors.New("never")) }, notify.Info)
		l := b.listen(&notify.ListenerOptions{AllowRequeue: true, MaxAttempts: 3, RequeueDelay: -1}, &r.Endpoint)
		b.publish(b.notifier(nil), "poison")
		synctest.Wait()
		want := notify.ListenerStats{Handled: 3, Requeued: 2, Abandoned: 1}
		if d := cmp.Diff(want, l.Stats()); d != "" {
			t.Errorf("stats (-want +got):\n%s", d)
		}
		if n := len(b.broker.DeadLetters()); n != 1 {
			t.Errorf("%d dead letters, want the one", n)
		}
	})
}

// TestMaxAttemptsOfMany: that many ended so fills no log.
func TestMaxAttemptsOfMany(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		r := newRecord(func(*notify.Notification) error { return notify.ErrRequeue }, notify.Info)
		l := b.listen(&notify.ListenerOptions{AllowRequeue: true, MaxAttempts: 1}, &r.Endpoint)
		b.publish(b.notifier(nil), events("e", 100)...)
		synctest.Wait()
		if n := l.Stats().Abandoned; n != 100 {
			t.Errorf("%d were abandoned", n)
		}
		if n := strings.Count(b.log.String(), "after its last attempt"); n < 1 || n > 20 {
			t.Errorf("%d lines were logged", n)
		}
	})
}

// TestNoRequeue: as in oslo.messaging, what failed is over unless it is allowed to
// come again.
func TestNoRequeue(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		failures := []func() error{
			func() error { return errors.New("disk full") },
			func() error { return notify.ErrRequeue },
			func() error { panic("oops") },
			func() error { runtime.Goexit(); return nil },
			func() error { return nil },
		}
		i := 0
		r := newRecord(func(*notify.Notification) error { i++; return failures[i-1]() }, notify.Info)
		l := b.listen(&notify.ListenerOptions{Executor: rpc.Blocking()}, &r.Endpoint)
		b.publish(b.notifier(nil), events("e", len(failures))...)
		synctest.Wait()
		pass(time.Hour)
		if d := cmp.Diff(events("e", len(failures)), r.events()); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		want := notify.ListenerStats{Handled: 5, Failed: 4, Panics: 1}
		if d := cmp.Diff(want, l.Stats()); d != "" {
			t.Errorf("stats (-want +got):\n%s", d)
		}
		for _, line := range []string{`error="disk full"`, "error=requeue", `error="panic: oops"`, "ended its goroutine", "event_type=e00", "topic=notifications"} {
			if !strings.Contains(b.log.String(), line) {
				t.Errorf("the log has no %s:\n%s", line, b.log)
			}
		}
	})
}

// TestPanicsComeAgain: if that is allowed.
func TestPanicsComeAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		r := newRecord(nil, notify.Info)
		r.say = func(n *notify.Notification) error {
			if !n.Redelivered {
				panic("oops")
			}
			return nil
		}
		l := b.listen(&notify.ListenerOptions{AllowRequeue: true}, &r.Endpoint)
		b.publish(b.notifier(nil), "e")
		pass(time.Minute)
		if st := l.Stats(); st.Handled != 2 || st.Panics != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// TestBadPayloadsAreKeptAside: they will never fit.
func TestBadPayloadsAreKeptAside(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		ep := &notify.Endpoint{}
		var got []volume
		notify.Handle(ep, notify.Info, func(_ context.Context, _ *notify.Notification, v volume) error {
			got = append(got, v)
			return nil
		})
		l := b.listen(&notify.ListenerOptions{AllowRequeue: true, Executor: rpc.Blocking()}, ep)
		n := b.notifier(nil)
		for _, payload := range []any{volume{"a", 1}, map[string]any{"id": 7}, "text", map[string]any{"id": "b", "new": true}} {
			if err := n.Info(t.Context(), "e", payload); err != nil {
				t.Fatal(err)
			}
		}
		pass(time.Minute)
		if d := cmp.Diff([]volume{{"a", 1}, {"b", 0}}, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		if st, n := l.Stats(), len(b.broker.DeadLetters()); st.Handled != 4 || st.Failed != 2 || n != 2 {
			t.Errorf("%+v, %d dead letters", st, n)
		}
	})
}

// TestPools: each pool has its own copy, which its members share; so have those
// without one.
func TestPools(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		records := map[string]*record{}
		for who, pool := range map[string]string{"red1": "red", "red2": "red", "blue": "blue", "none1": "", "none2": ""} {
			records[who] = newRecord(nil, notify.Info, notify.Error)
			b.listen(&notify.ListenerOptions{Pool: pool}, &records[who].Endpoint)
		}
		sent := events("e", 20)
		n := b.notifier(nil)
		b.publish(n, sent...)
		if err := n.Error(t.Context(), "x", nil); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, "x")
		synctest.Wait()
		for name, members := range map[string][]string{"red": {"red1", "red2"}, "blue": {"blue"}, "none": {"none1", "none2"}} {
			var got []string
			for _, who := range members {
				got = append(got, records[who].events()...)
				if len(records[who].events()) == 0 {
					t.Errorf("%s got nothing", who)
				}
			}
			if d := cmp.Diff(sent, sorted(got)); d != "" {
				t.Errorf("pool %s (-want +got):\n%s", name, d)
			}
		}
		if p := records["red1"].got[0].Priority; p != notify.Info && p != notify.Error {
			t.Errorf("priority %q", p)
		}
	})
}

// TestTap: it takes from nobody, and leaves nothing behind.
func TestTap(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		n := b.notifier(nil)
		b.publish(n, "before")
		tapped, worker := newRecord(nil, notify.Info), newRecord(nil, notify.Info)
		tap := b.listen(&notify.ListenerOptions{Tap: true}, &tapped.Endpoint)
		b.listen(&notify.ListenerOptions{Executor: rpc.Blocking()}, &worker.Endpoint)
		b.publish(n, "during")
		synctest.Wait()
		if err := tap.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.publish(n, "after")
		synctest.Wait()
		if d := cmp.Diff([]string{"during"}, tapped.events()); d != "" {
			t.Errorf("tap (-want +got):\n%s", d)
		}
		if d := cmp.Diff([]string{"before", "during", "after"}, worker.events()); d != "" {
			t.Errorf("worker (-want +got):\n%s", d)
		}
		for _, q := range b.broker.Queues() {
			if strings.HasPrefix(q.Name, "tap") {
				t.Errorf("queue %q is left", q.Name)
			}
		}
	})
}

// TestUnknownPriorities are acknowledged, and said.
func TestUnknownPriorities(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		r := newRecord(nil, notify.Info)
		l := b.listen(&notify.ListenerOptions{Executor: rpc.Blocking()}, &r.Endpoint)
		send := func(body string) {
			e := &messaging.Envelope{Kind: messaging.KindNotify, Body: []byte(body)}
			if err := b.open().Send(t.Context(), messaging.Address{Kind: messaging.KindNotify, Topic: "notifications.info"}, e, nil); err != nil {
				t.Fatal(err)
			}
		}
		send(`{"priority": "LOUD", "event_type": "x"}`)
		send(`{"priority": "error", "event_type": "no handler"}`)
		send(`{"event_type": "none is said"}`)
		send(`{"priority": "INFO", "event_type": 7, "publisher_id": null, "timestamp": {}}`)
		send(`{}`)
		synctest.Wait()
		if d := cmp.Diff([]string{"none is said", "7", ""}, r.events()); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		if st := l.Stats(); st.Handled != 5 || st.Failed != 0 {
			t.Errorf("%+v", st)
		}
		if !strings.Contains(b.log.String(), "invalid priority") {
			t.Errorf("the log does not tell:\n%s", b.log)
		}
	})
}

func TestListenersThatCannotBe(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		transport := b.open()
		ep := &newRecord(nil, notify.Info).Endpoint
		targets := []messaging.Target{target}
		bad := &notify.Endpoint{Filter: notify.Filter{EventType: "("}}
		for name, tt := range map[string]struct {
			targets []messaging.Target
			eps     []*notify.Endpoint
			opts    *notify.ListenerOptions
			says    string
		}{
			"no targets":   {nil, []*notify.Endpoint{ep}, nil, "invalid target"},
			"no topic":     {[]messaging.Target{{}}, []*notify.Endpoint{ep}, nil, "no topic"},
			"no handlers":  {targets, []*notify.Endpoint{{}}, nil, "no endpoint has a handler"},
			"nil endpoint": {targets, []*notify.Endpoint{nil}, nil, "endpoint 0 is nil"},
			"bad filter":   {targets, []*notify.Endpoint{ep, bad}, nil, "endpoint 1: filter of event type"},
			"bad pool":     {targets, []*notify.Endpoint{ep}, &notify.ListenerOptions{Pool: "\n"}, "pool"},
		} {
			_, err := notify.NewListener(transport, tt.targets, tt.eps, tt.opts)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s: error %v, want one that says %q", name, err, tt.says)
			}
		}
		for name, f := range map[string]func(){
			"twice":     func() { notify.HandleRaw(ep, notify.Info, nil) },
			"no such":   func() { notify.HandleBatch(ep, "loud", nil) },
			"nor this":  func() { notify.Handle(ep, "", func(context.Context, *notify.Notification, any) error { return nil }) },
			"and batch": func() { notify.HandleBatch(ep, notify.Info, nil) },
			"and a type": func() {
				notify.Handle(ep, notify.Info, func(context.Context, *notify.Notification, any) error { return nil })
			},
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s: no panic", name)
					}
				}()
				f()
			}()
		}
	})
}

// TestWhatThePeerCannotDo is refused before anything is received.
func TestWhatThePeerCannotDo(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		b.caps = func(c *messaging.Capabilities) { c.Requeue, c.Groups, c.Taps = false, false, false }
		for name, o := range map[string]*notify.ListenerOptions{
			"requeue": {AllowRequeue: true}, "groups": {Pool: "p"}, "taps": {Tap: true},
		} {
			err := b.listener(o, &newRecord(nil, notify.Info).Endpoint).Start(t.Context())
			if !errors.Is(err, messaging.ErrUnsupported) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := b.listener(&notify.ListenerOptions{Tap: true, Pool: "p"}, &newRecord(nil, notify.Info).Endpoint).Start(t.Context()); !errors.Is(err, messaging.ErrInvalidTarget) {
			t.Errorf("a tap with a pool: %v", err)
		}
	})
}
