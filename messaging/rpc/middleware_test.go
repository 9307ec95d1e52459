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
	"time"

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

func TestMiddlewareAndRawHandlerShareTheRequest(t *testing.T) {
	ep := &rpc.Endpoint{}
	rpc.HandleRaw(ep, "m", func(_ context.Context, r *rpc.Request) (json.RawMessage, error) {
		r.Context = append(r.Context, messaging.ContextValue{Key: "rows", Value: []byte("3")})
		return nil, nil
	})
	inBubble(t, func(t *testing.T, b *bus) {
		var seen []messaging.ContextValue
		watch := func(next rpc.Invoker) rpc.Invoker {
			return func(ctx context.Context, r *rpc.Request) (json.RawMessage, error) {
				defer func() { seen = r.Context }()
				return next(ctx, r)
			}
		}
		b.serve("s1", &rpc.ServerOptions{Middleware: []rpc.Middleware{watch}}, ep)
		if err := b.client(nil).Call(t.Context(), "m", nil, nil); err != nil {
			t.Fatal(err)
		}
		if len(seen) != 1 || seen[0].Key != "rows" {
			t.Errorf("the middleware sees %v, after a handler that added rows", seen)
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

// A hedging client returns with the first answer, while its other request is still
// on its way out: the arguments of that one are its own.
func TestMiddlewareOfTheClientMayLeaveASendBehind(t *testing.T) {
	onNative(t, func(t *testing.T, b *bus) {
		ep := &rpc.Endpoint{}
		var mu sync.Mutex
		var got []string
		rpc.Handle(ep, "note", func(_ context.Context, a struct{ Text string }) (rpc.None, error) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, a.Text)
			return rpc.None{}, nil
		})
		b.serve("s1", nil, ep)
		release, over := make(chan struct{}), make(chan error, 1)
		first := true
		hedge := func(next rpc.Invoker) rpc.Invoker {
			return func(ctx context.Context, r *rpc.Request) (json.RawMessage, error) {
				if first {
					first = false
					late := *r
					go func() {
						<-release
						_, err := next(ctx, &late)
						over <- err
					}()
				}
				return next(ctx, r)
			}
		}
		c := b.client(&rpc.ClientOptions{Middleware: []rpc.Middleware{hedge}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // earlier than the client's, which ends with the call
		defer cancel()
		for _, text := range []string{"one", "two"} {
			if err := c.Call(ctx, "note", map[string]string{"text": text}, nil); err != nil {
				t.Fatal(err)
			}
		}
		close(release)
		if err := <-over; err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if want := []string{"one", "two", "one"}; !slices.Equal(got, want) {
			t.Errorf("the server got %q, want %q", got, want)
		}
	})
}

// asPanics is an error whose As does.
type asPanics struct{}

func (asPanics) Error() string { return "odd" }
func (asPanics) As(any) bool   { panic("in As") }

func TestErrorThatPanicsWhenItIsAsked(t *testing.T) {
	ep := &rpc.Endpoint{}
	rpc.Handle(ep, "odd", func(context.Context, rpc.None) (int, error) { return 0, asPanics{} })
	onNative(t, func(t *testing.T, b *bus) {
		b.serve("s1", nil, ep)
		var remote *rpc.RemoteError
		if err := b.client(nil).Call(t.Context(), "odd", nil, nil); !errors.As(err, &remote) {
			t.Errorf("got %v", err)
		}
	})
}

// Middleware may return with the first of several answers: what else it sent under the
// call's context ends with the call then, not with the timeout.
func TestHedgedCallsEndWithTheFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		var asked atomic.Int32
		both := make(chan struct{})
		ep := &rpc.Endpoint{}
		rpc.Handle(ep, "once", func(context.Context, rpc.None) (int, error) {
			if asked.Add(1) == 1 {
				<-both
				return 0, nil
			}
			close(both)
			<-time.After(2 * time.Hour) // the other one has no answer
			return 0, nil
		})
		rpc.Handle(ep, "warm", func(context.Context, rpc.None) (int, error) { return 0, nil })
		b.serve("s1", nil, ep)
		ends := make(chan error, 2)
		hedge := func(next rpc.Invoker) rpc.Invoker {
			return func(ctx context.Context, r *rpc.Request) (json.RawMessage, error) {
				first := make(chan json.RawMessage, 2)
				for range 2 {
					own := *r
					go func() {
						result, err := next(ctx, &own)
						first <- result
						ends <- err
					}()
				}
				return <-first, nil
			}
		}
		c := b.client(&rpc.ClientOptions{Middleware: []rpc.Middleware{hedge}, Timeout: time.Hour})
		began := time.Now()
		for _, method := range []string{"warm", "once"} { // there is a connection for the second
			if err := c.Call(t.Context(), method, nil, nil); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := <-ends; err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the other one ended after %v", took)
		}
	})
}
