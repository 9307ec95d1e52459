package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// refusing is an endpoint whose method gives every request back, and says when.
func refusing() (*rpc.Endpoint, chan time.Time) {
	ep := &rpc.Endpoint{}
	tried := make(chan time.Time, 10000)
	rpc.HandleRaw(ep, "m", func(context.Context, *rpc.Request) (json.RawMessage, error) {
		tried <- time.Now()
		return nil, rpc.Requeue(errors.New("not now"))
	})
	return ep, tried
}

func TestRequeueIsDelayed(t *testing.T) {
	for _, counts := range []bool{true, false} {
		inBubble(t, func(t *testing.T, b *bus) {
			b.tap = &tap{caps: func(c *messaging.Capabilities) { c.DeliveryCount = counts }}
			ep, tried := refusing()
			b.serve("s1", &rpc.ServerOptions{Ack: rpc.AckLate}, ep)
			if err := b.client(nil).Cast(t.Context(), "m", nil); err != nil {
				t.Fatal(err)
			}
			var waits []time.Duration
			last := <-tried
			for range 8 {
				now := <-tried
				waits = append(waits, now.Sub(last))
				last = now
			}
			s := time.Second
			if d := cmp.Diff([]time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s}, waits); d != "" {
				t.Errorf("waits (-want +got):\n%s", d)
			}
		})
	}
}

func TestMaxAttempts(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		ep, tried := refusing()
		s := b.serve("s1", &rpc.ServerOptions{Ack: rpc.AckLate, MaxAttempts: 3, RequeueDelay: -1}, ep)
		if err := b.client(nil).Cast(t.Context(), "m", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(tried); n != 3 {
			t.Errorf("%d attempts, want 3", n)
		}
		if st := s.Stats(); st.Abandoned != 1 || st.Running != 0 {
			t.Errorf("stats %+v", st)
		}
		if n := len(b.broker.DeadLetters()); n != 1 {
			t.Errorf("%d dead letters, want the one", n)
		}
	})
}

// A server that stops gives back at once what it kept back, for others.
func TestStopGivesBackWhatWasKept(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		ep, tried := refusing()
		s := b.serve("s1", &rpc.ServerOptions{Ack: rpc.AckLate, RequeueDelay: time.Hour, Executor: rpc.Workers(1), Prefetch: 32}, ep)
		c := b.client(nil)
		for range 20 { // one worker is enough: keeping takes none
			if err := c.Cast(t.Context(), "m", nil); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := len(tried); n != 20 {
			t.Errorf("%d were tried, want all 20", n)
		}
		start := time.Now()
		if err := s.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("the drain took %v", took)
		}
		other, took := refusing()
		b.serve("s2", &rpc.ServerOptions{Ack: rpc.AckLate, RequeueDelay: time.Hour}, other)
		synctest.Wait()
		if n := len(took); n != 20 {
			t.Errorf("the other server got %d, want 20", n)
		}
	})
}

// Callers that are not there must not hold up those that are, however many
// addresses a stranger makes up; and one that comes back gets its reply.
func TestAbsentCallersTakeNoWorker(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		ep := &rpc.Endpoint{}
		rpc.Handle(ep, "m", func(context.Context, rpc.None) (string, error) { return "done", nil })
		s := b.serve("s1", &rpc.ServerOptions{Executor: rpc.Workers(4)}, ep)
		stranger := b.open()
		for i := range 1000 {
			e := &messaging.Envelope{Method: "m", CallID: fmt.Sprint("call", i), ReplyTo: fmt.Sprint("nowhere", i)}
			if err := stranger.Send(t.Context(), messaging.Target{Topic: "volume"}.Address(), e, nil); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		if got, err := rpc.CallFor[string](t.Context(), b.client(nil), "m", nil); err != nil || got != "done" {
			t.Fatalf("got %q, %v", got, err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("the good call took %v", took)
		}
		late, err := stranger.Listen(t.Context(), messaging.Subscription{Reply: "nowhere7"})
		if err != nil {
			t.Fatal(err)
		}
		if in, err := late.Poll(t.Context()); err != nil || in.CallID != "call7" {
			t.Errorf("the caller that came back got %+v, %v", in, err)
		}
		if err := s.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if st := s.Stats(); st.Running != 0 || st.RepliesLost != 999 {
			t.Errorf("stats %+v", st)
		}
	})
}
