package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func TestCastBatch(t *testing.T) {
	type note struct{ N int }
	batch := make([]note, 1000)
	for i := range batch {
		batch[i].N = i
	}
	t.Run("all accepted, in order", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bus) {
			ep := &rpc.Endpoint{}
			got := make(chan int, len(batch))
			rpc.Handle(ep, "note", func(_ context.Context, n note) (rpc.None, error) { got <- n.N; return rpc.None{}, nil })
			b.serve("s1", &rpc.ServerOptions{Executor: rpc.Blocking()}, ep)
			c := b.client(nil).Prepare(rpc.WithOrderKey("k"))
			if err := rpc.CastBatch(t.Context(), c, "note", batch); err != nil {
				t.Fatal(err)
			}
			for i := range batch {
				if n := <-got; n != i {
					t.Fatalf("number %d came as number %d", n, i)
				}
			}
		})
	})
	t.Run("nobody is there", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bus) {
			err := rpc.CastBatch(t.Context(), b.client(&rpc.ClientOptions{Mandatory: true}), "note", batch)
			wantIs(t, err, messaging.ErrNoRoute)
			var be *rpc.BatchError
			if !errors.As(err, &be) || be.Failed != len(batch) || len(be.Outcomes) != len(batch) {
				t.Fatalf("got %v", err)
			}
		})
	})
	t.Run("the broker blocks", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bus) {
			c := b.client(&rpc.ClientOptions{Timeout: 10 * time.Second})
			if err := c.Cast(t.Context(), "note", note{}); err != nil {
				t.Fatal(err)
			}
			b.broker.Block(true)
			start := time.Now()
			err := rpc.CastBatch(t.Context(), c, "note", batch)
			wantIs(t, err, messaging.ErrNotSent)
			if took := time.Since(start); took != 10*time.Second {
				t.Errorf("took %v, want the client's timeout", took)
			}
			b.broker.Block(false)
		})
	})
	t.Run("some are not sent after all", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bus) {
			b.serve("s1", nil, demo())
			b.tap = &tap{lose: new(atomic.Int32), lost: messaging.ErrNotSent}
			b.tap.lose.Store(5)
			c := b.client(nil)
			if err := rpc.CastBatch(t.Context(), c, "nothing", make([]rpc.None, 10)); err != nil {
				t.Error(err)
			}
			b.tap.lose.Store(5)
			var be *rpc.BatchError
			if err := rpc.CastBatch(t.Context(), c.Prepare(rpc.WithRetry(-1)), "nothing", make([]rpc.None, 10)); !errors.As(err, &be) || be.Failed != 5 {
				t.Errorf("without a retry: %v", err)
			}
		})
	})
	t.Run("ctx ends on the way", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bus) {
			b.serve("s1", nil, demo())
			ctx, cancel := context.WithCancel(t.Context())
			sent := 0
			c := b.client(&rpc.ClientOptions{Middleware: []rpc.Middleware{func(next rpc.Invoker) rpc.Invoker {
				return func(ctx context.Context, r *rpc.Request) (json.RawMessage, error) {
					if sent++; sent > 100 {
						cancel()
					}
					return next(ctx, r)
				}
			}}})
			var be *rpc.BatchError
			if err := rpc.CastBatch(ctx, c, "nothing", make([]rpc.None, 200)); !errors.As(err, &be) {
				t.Fatalf("got %v", err)
			}
			for i, err := range be.Outcomes {
				if accepted := i < 100; accepted != (err == nil) || !accepted && !errors.Is(err, messaging.ErrNotSent) {
					t.Errorf("number %d: %v", i, err)
				}
			}
		})
	})
}
