package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func TestMiddleware(t *testing.T) {
	var mu sync.Mutex
	var steps []string
	note := func(s string) { mu.Lock(); steps = append(steps, s); mu.Unlock() }
	named := func(name string) rpc.Middleware {
		return func(next rpc.Invoker) rpc.Invoker {
			return func(ctx context.Context, r *rpc.Request) (json.RawMessage, error) {
				note(fmt.Sprintf("%s %s %s", r.Side, name, r.Method))
				result, err := next(ctx, r)
				note(fmt.Sprintf("%s %s done %s %v", r.Side, name, result, err))
				return result, err
			}
		}
	}
	inBubble(t, func(t *testing.T, b *bus) {
		steps = nil
		b.serve("s1", &rpc.ServerOptions{Middleware: []rpc.Middleware{named("a"), named("b")}}, demo())
		tag := func(next rpc.Invoker) rpc.Invoker {
			return func(ctx context.Context, r *rpc.Request) (json.RawMessage, error) {
				r.Context = append(r.Context, messaging.ContextValue{Key: "trace", Value: []byte(`"t1"`)})
				return next(ctx, r)
			}
		}
		c := b.client(&rpc.ClientOptions{Middleware: []rpc.Middleware{named("x"), named("y"), tag}})
		got, err := rpc.CallFor[map[string]any](rpc.NewContext(t.Context(), "user", "u1"), c, "context", nil)
		if err != nil || got["trace"] != "t1" || got["user"] != "u1" {
			t.Errorf("%v, %v", got, err)
		}
		result := fmt.Sprintf("%s %s", `{"trace":"t1","user":"u1"}`, "<nil>")
		want := []string{
			"client x context", "client y context", "server a context", "server b context",
			"server b done " + result, "server a done " + result, "client y done " + result, "client x done " + result,
		}
		if !slices.Equal(steps, want) {
			t.Errorf("got  %q\nwant %q", steps, want)
		}
	})
}

func TestMiddlewareOfTheServerSeesPanicsAndMayPanic(t *testing.T) {
	ep := &rpc.Endpoint{}
	rpc.Handle(ep, "panic", func(context.Context, rpc.None) (int, error) { panic(errors.New("inner")) })
	onNative(t, func(t *testing.T, b *bus) {
		var seen atomic.Pointer[rpc.PanicError]
		watch := func(next rpc.Invoker) rpc.Invoker {
			return func(ctx context.Context, r *rpc.Request) (json.RawMessage, error) {
				result, err := next(ctx, r)
				var p *rpc.PanicError
				if errors.As(err, &p) {
					seen.Store(p)
					panic("outer")
				}
				return result, err
			}
		}
		s := b.serve("s1", &rpc.ServerOptions{Middleware: []rpc.Middleware{watch}}, ep)
		err := b.client(nil).Call(t.Context(), "panic", nil, nil)
		if r := remote(t, err); r.Message != "panic: outer" {
			t.Errorf("%+v", r)
		}
		if p := seen.Load(); p == nil || p.Unwrap() == nil {
			t.Errorf("middleware saw %v", p)
		}
		if n := s.Stats(); n.Panics != 1 || n.Failed != 1 {
			t.Errorf("%+v", n)
		}
	})
}

func TestMiddlewareOfTheClientMayAnswer(t *testing.T) {
	onNative(t, func(t *testing.T, b *bus) {
		cache := func(rpc.Invoker) rpc.Invoker {
			return func(context.Context, *rpc.Request) (json.RawMessage, error) { return json.RawMessage("7"), nil }
		}
		c := b.client(&rpc.ClientOptions{Middleware: []rpc.Middleware{cache}})
		if n, err := rpc.CallFor[int](t.Context(), c, "m", nil); n != 7 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		_, err := c.StartCast(t.Context(), "m", nil)
		wantIs(t, err, messaging.ErrNotSent)
	})
}
