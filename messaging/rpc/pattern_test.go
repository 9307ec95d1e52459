package rpc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func TestPatterns(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		got := make(chan string, 100)
		for _, name := range []string{"s1", "s2", "s3"} {
			ep := &rpc.Endpoint{}
			rpc.HandleRaw(ep, "m", func(_ context.Context, r *rpc.Request) (json.RawMessage, error) {
				got <- fmt.Sprintf("%s %s to %s", r.Side, r.Pattern, name)
				return nil, nil
			})
			b.serve(name, nil, ep)
		}
		c := b.client(nil)
		count := func() map[string]int {
			t.Helper()
			synctest.Wait()
			n := map[string]int{}
			for len(got) > 0 {
				n[<-got]++
			}
			return n
		}
		check := func(err error, want map[string]int) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(want, count()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		}
		check(c.Fanout(t.Context(), "m", nil), map[string]int{"server fanout to s1": 1, "server fanout to s2": 1, "server fanout to s3": 1})
		check(c.Prepare(rpc.WithServer("s2")).Fanout(t.Context(), "m", nil), map[string]int{"server fanout to s1": 1, "server fanout to s2": 1, "server fanout to s3": 1})
		check(c.Prepare(rpc.WithServer("s2")).Cast(t.Context(), "m", nil), map[string]int{"server cast to s2": 1})
		check(c.Prepare(rpc.WithServer("s3")).Call(t.Context(), "m", nil, nil), map[string]int{"server call to s3": 1})

		for range 30 {
			if err := c.Cast(t.Context(), "m", nil); err != nil {
				t.Fatal(err)
			}
		}
		n := count()
		if len(n) != 3 || n["server cast to s1"]+n["server cast to s2"]+n["server cast to s3"] != 30 {
			t.Errorf("30 casts were handled as %v", n)
		}
		if err := c.Prepare(rpc.WithTopic("empty")).Fanout(t.Context(), "m", nil); err != nil {
			t.Errorf("a fanout to nobody: %v", err)
		}
	})
}

func TestStartCastPipelines(t *testing.T) {
	onNative(t, func(t *testing.T, b *bus) {
		var handled atomic.Int32
		ep := &rpc.Endpoint{}
		rpc.Handle(ep, "m", func(context.Context, rpc.None) (rpc.None, error) { handled.Add(1); return rpc.None{}, nil })
		b.serve("s1", nil, ep)
		c := b.client(nil)
		b.broker.HoldConfirms(true)
		var receipts []*messaging.Receipt
		for range 10 {
			r, err := c.StartCast(t.Context(), "m", nil)
			if err != nil {
				t.Fatal(err)
			}
			receipts = append(receipts, r)
		}
		synctest.Wait()
		if handled.Load() != 10 {
			t.Errorf("%d handled", handled.Load())
		}
		wantIs(t, receipts[0].Err(), messaging.ErrOutcomeUnknown)
		b.broker.Heal()
		for _, r := range receipts {
			if err := r.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestRequestContextTravels(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		ep := &rpc.Endpoint{}
		var nested *rpc.Client
		rpc.Handle(ep, "outer", func(ctx context.Context, _ rpc.None) (map[string]any, error) {
			return rpc.CallFor[map[string]any](rpc.NewContext(ctx, "hop", 2), nested, "context", nil)
		})
		b.serve("s1", nil, ep, demo())
		nested = b.client(nil)
		ctx := rpc.NewContext(rpc.NewContext(t.Context(), "user", "u1"), "roles", []string{"admin"})
		got, err := rpc.CallFor[map[string]any](ctx, b.client(nil), "outer", nil)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"user": "u1", "roles": []any{"admin"}, "hop": json.Number("2")}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestPing(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		b.serve("deaf", nil, demo())
		b.serve("s1", &rpc.ServerOptions{Ping: true, Access: rpc.ExplicitAccess("add")}, demo())
		c := b.client(&rpc.ClientOptions{VersionCap: "0.1"}).Prepare(rpc.WithNamespace("n"), rpc.WithVersion("7.7"))
		if err := c.Prepare(rpc.WithServer("s1")).Ping(t.Context()); err != nil {
			t.Error(err)
		}
		wantIs(t, c.Prepare(rpc.WithServer("deaf")).Ping(t.Context()), rpc.ErrNoSuchMethod)
		wantIs(t, c.Prepare(rpc.WithServer("absent"), rpc.WithMandatory(true)).Ping(t.Context()), messaging.ErrNoRoute)
	})
}

func TestOptionsReachTheMessage(t *testing.T) {
	onNative(t, func(t *testing.T, b *bus) {
		b.tap = &tap{sent: make(chan messaging.Message, 10)}
		c := b.client(nil).Prepare(
			rpc.WithExchange("other"), rpc.WithTTL(time.Minute), rpc.WithPriority(7), rpc.WithDurable(true),
			rpc.WithOrderKey("k"), rpc.WithRetry(-1), rpc.WithMonitor(time.Minute), rpc.WithTimeout(time.Second),
		)
		if err := c.Cast(t.Context(), "m", nil); err != nil {
			t.Fatal(err)
		}
		m := <-b.tap.sent
		if m.TTL != time.Minute || m.Priority != 7 || !m.Durable || m.OrderKey != "k" || m.Mandatory {
			t.Errorf("%+v", m)
		}
		if got, want := c.Target(), (messaging.Target{Exchange: "other", Topic: "volume", Version: "1.0"}); got != want {
			t.Errorf("target %+v, want %+v", got, want)
		}
		wantIs(t, c.Call(t.Context(), "m", nil, nil), messaging.ErrTimeout)
		if m = <-b.tap.sent; m.TTL != time.Second { // the earlier one: nobody waits longer
			t.Errorf("a call lives for %v", m.TTL)
		}
		b.broker.RefuseNew(true)
		b.broker.CutAll()
		wantIs(t, c.Cast(t.Context(), "m", nil), messaging.ErrNotSent)
	})
}

func TestCastToAFanoutTarget(t *testing.T) {
	onNative(t, func(t *testing.T, b *bus) {
		patterns := make(chan rpc.Pattern, 10)
		ep := &rpc.Endpoint{}
		rpc.HandleRaw(ep, "m", func(_ context.Context, r *rpc.Request) (json.RawMessage, error) {
			patterns <- r.Pattern
			return nil, nil
		})
		b.serve("s1", nil, ep)
		b.serve("s2", nil, ep)
		c := rpc.NewClient(b.open(), messaging.Target{Topic: "volume", Fanout: true}, nil)
		if err := c.Cast(t.Context(), "m", nil); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if p := <-patterns; p != rpc.PatternFanout {
				t.Errorf("handled as %v", p)
			}
		}
	})
}

func TestUnexpectedPong(t *testing.T) {
	onNative(t, func(t *testing.T, b *bus) {
		b.serve("s1", nil, says("pang", "", "", nil, rpc.PingMethod))
		if err := b.client(nil).Ping(t.Context()); err == nil || !strings.Contains(err.Error(), `"pang"`) {
			t.Errorf("Ping: %v", err)
		}
	})
}
