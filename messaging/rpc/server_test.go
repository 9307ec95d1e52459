package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// gated is an endpoint whose method waits for the test.
type gated struct {
	*rpc.Endpoint
	entered chan string   // one for each handler that runs
	release chan struct{} // closed to let all go
	ended   chan error    // the cause of each ctx that ended a handler
}

func newGated() *gated {
	g := &gated{&rpc.Endpoint{}, make(chan string, 100), make(chan struct{}), make(chan error, 100)}
	rpc.Handle(g.Endpoint, "wait", func(ctx context.Context, a struct{ Name string }) (string, error) {
		g.entered <- a.Name
		select {
		case <-g.release:
			return a.Name, nil
		case <-ctx.Done():
			g.ended <- context.Cause(ctx)
			return "", ctx.Err()
		}
	})
	return g
}

// calls starts a call for each name and returns where its outcome appears.
func (b *bus) calls(c *rpc.Client, names ...string) map[string]chan error {
	outcomes := map[string]chan error{}
	for _, name := range names {
		outcome := make(chan error, 1)
		outcomes[name] = outcome
		go func() {
			got, err := rpc.CallFor[string](b.ctx(), c, "wait", rpc.Args{"Name": name})
			if err == nil && got != name {
				err = fmt.Errorf("the reply is for %q", got)
			}
			outcome <- err
		}()
	}
	synctest.Wait()
	return outcomes
}

func TestDrainFinishesWhatIsInHand(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		first, second := newGated(), newGated()
		s1 := b.serve("s1", &rpc.ServerOptions{Executor: rpc.Workers(2), Prefetch: 10}, first.Endpoint)
		outcomes := b.calls(b.client(nil), "1", "2", "3", "4", "5")
		if n := len(first.entered); n != 2 {
			t.Fatalf("%d handlers run, want 2", n)
		}
		if n := s1.Stats().Running; n != 3 { // one waits for a worker
			t.Errorf("%d running, want 3", n)
		}
		if err := s1.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		close(second.release)
		b.serve("s2", nil, second.Endpoint)
		synctest.Wait()
		if n := len(second.entered); n != 3 { // prefetched ones, and the one that waited
			t.Errorf("%d went to the other server, want 3", n)
		}
		close(first.release)
		if err := s1.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, outcome := range outcomes {
			if err := <-outcome; err != nil {
				t.Errorf("call %s: %v", name, err)
			}
		}
		if n := s1.Stats(); n.Running != 0 || n.Handled != 2 {
			t.Errorf("%+v", n)
		}
	})
}

// Who may not wait at all stops the server all the same: nothing is fetched for
// handlers that were told to end.
func TestDrainWithoutTimeStopsTheServer(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		first := b.serve("s1", nil, demo())
		over, cancel := context.WithCancel(t.Context())
		cancel()
		var drain *rpc.DrainError
		if err := first.Wait(over); !errors.As(err, &drain) {
			t.Fatal(err)
		}
		b.serve("s2", nil, demo())
		c := b.client(&rpc.ClientOptions{Timeout: time.Second})
		for range 10 {
			if err := c.Call(t.Context(), "add", nil, nil); err != nil {
				t.Error(err)
			}
		}
		if err := first.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestDrainEndsAtItsDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		g := newGated()
		s := b.serve("s1", nil, g.Endpoint)
		outcome := b.calls(b.client(nil), "1", "2")["1"]
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		err := s.Wait(ctx)
		var drain *rpc.DrainError
		if !errors.As(err, &drain) || drain.Running != 2 || !strings.Contains(err.Error(), "2 requests") {
			t.Errorf("Wait: %v", err)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
		if cause := <-g.ended; !errors.As(cause, &drain) {
			t.Errorf("the handler's ctx ended with %v", cause)
		}
		if err := <-outcome; remote(t, err).Class != "Canceled" {
			t.Errorf("the caller got %v", err)
		}
		if err := s.Wait(t.Context()); err != nil {
			t.Errorf("Wait again: %v", err)
		}
	})
}

// closeOnce counts how often it is closed.
type closeOnce struct {
	rpc.Executor
	closed int
}

func (e *closeOnce) Close(ctx context.Context) error {
	e.closed++
	return e.Executor.Close(ctx)
}

func TestLifecycle(t *testing.T) {
	t.Run("start, stop and wait may be repeated, concurrently", func(t *testing.T) {
		onNative(t, func(t *testing.T, b *bus) {
			s := b.server("s1", nil, demo())
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() {
					if err := s.Start(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if err := b.client(nil).Call(t.Context(), "add", nil, nil); err != nil {
				t.Error(err)
			}
			for range 5 {
				wg.Go(func() {
					if err := s.Stop(t.Context()); err != nil {
						t.Error(err)
					}
				})
				wg.Go(func() {
					if err := s.Wait(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			wantIs(t, s.Start(t.Context()), messaging.ErrClosed)
		})
	})
	t.Run("stopped before it was started", func(t *testing.T) {
		onNative(t, func(t *testing.T, b *bus) {
			s := b.server("s1", nil, demo())
			if err := s.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			wantIs(t, s.Start(t.Context()), messaging.ErrClosed)
		})
	})
	t.Run("one that never started closes its executor", func(t *testing.T) {
		onNative(t, func(t *testing.T, b *bus) {
			e := &closeOnce{Executor: rpc.Workers(2)}
			s := b.server("s1", &rpc.ServerOptions{Executor: e}, demo())
			b.broker.RefuseNew(true)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			wantIs(t, s.Start(ctx), context.DeadlineExceeded)
			for range 2 {
				if err := s.Wait(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if e.closed != 1 {
				t.Errorf("closed %d times", e.closed)
			}
		})
	})
	t.Run("a start that failed can be repeated", func(t *testing.T) {
		onNative(t, func(t *testing.T, b *bus) {
			s := b.server("s1", nil, demo())
			b.broker.RefuseNew(true)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			wantIs(t, s.Start(ctx), context.DeadlineExceeded)
			b.broker.Heal()
			if err := s.Start(t.Context()); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("a context that has ended", func(t *testing.T) {
		onNative(t, func(t *testing.T, b *bus) {
			s := b.serve("s1", nil, demo())
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			wantIs(t, s.Stop(ctx), context.Canceled)
			wantIs(t, s.Start(ctx), context.Canceled)
			if err := s.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("serve until ctx ends", func(t *testing.T) {
		onNative(t, func(t *testing.T, b *bus) {
			g := newGated()
			s := b.server("s1", &rpc.ServerOptions{DrainTimeout: time.Minute}, g.Endpoint)
			ctx, cancel := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() { served <- s.Serve(ctx) }()
			synctest.Wait()
			outcome := b.calls(b.client(nil), "1")["1"]
			cancel()
			synctest.Wait()
			if len(served) != 0 {
				t.Fatal("Serve returned while a request was in hand")
			}
			close(g.release)
			if err := <-outcome; err != nil {
				t.Error(err)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("serve until its drain's deadline", func(t *testing.T) {
		onNative(t, func(t *testing.T, b *bus) {
			ep := &rpc.Endpoint{}
			stuck := make(chan struct{})
			rpc.Handle(ep, "wait", func(context.Context, struct{ Name string }) (string, error) { <-stuck; return "", nil })
			s := b.server("s1", nil, ep)
			ctx, cancel := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() { served <- s.Serve(ctx) }()
			synctest.Wait()
			b.calls(b.client(nil), "1")
			cancel()
			start := time.Now()
			var drain *rpc.DrainError
			if err := <-served; !errors.As(err, &drain) || drain.Running != 1 {
				t.Errorf("Serve: %v", err)
			}
			if took := time.Since(start); took != rpc.DefaultDrainTimeout {
				t.Errorf("took %v", took)
			}
			close(stuck)
		})
	})
	t.Run("serve until the transport closes", func(t *testing.T) {
		onNative(t, func(t *testing.T, b *bus) {
			transport := b.open()
			s := b.serverOn(transport, "s1", nil)
			served := make(chan error, 1)
			go func() { served <- s.Serve(t.Context()) }()
			synctest.Wait()
			if err := transport.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantIs(t, <-served, messaging.ErrClosed)
		})
	})
}

func TestHandlerKnowsTheDeadline(t *testing.T) {
	onNative(t, func(t *testing.T, b *bus) {
		ep := &rpc.Endpoint{}
		var left atomic.Int64
		rpc.Handle(ep, "m", func(ctx context.Context, _ rpc.None) (int, error) {
			if d, ok := ctx.Deadline(); ok {
				left.Store(int64(time.Until(d)))
			}
			<-ctx.Done()
			return 0, ctx.Err()
		})
		b.serve("s1", nil, ep)
		err := b.client(nil).Prepare(rpc.WithTimeout(7*time.Second)).Call(t.Context(), "m", nil, nil)
		wantIs(t, err, messaging.ErrTimeout)
		if got := time.Duration(left.Load()); got != 7*time.Second {
			t.Errorf("%v left, want 7 s", got)
		}
	})
}

func TestExpiredRequestsAreNotHandled(t *testing.T) {
	for _, ack := range []rpc.AckMode{rpc.AckEarly, rpc.AckLate} {
		t.Run(map[rpc.AckMode]string{rpc.AckEarly: "early", rpc.AckLate: "late"}[ack], func(t *testing.T) {
			onNative(t, func(t *testing.T, b *bus) {
				g := newGated()
				s := b.serve("s1", &rpc.ServerOptions{Executor: rpc.Workers(1), Ack: ack}, g.Endpoint)
				outcomes := b.calls(b.client(nil), "first")
				short := b.calls(b.client(&rpc.ClientOptions{Timeout: time.Second}), "second") // waits for the worker
				wantIs(t, <-short["second"], messaging.ErrTimeout)
				close(g.release)
				if err := <-outcomes["first"]; err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if n := s.Stats(); n.Expired != 1 || n.Handled != 1 || len(g.entered) != 1 {
					t.Errorf("%+v, %d entered", n, len(g.entered))
				}
				if err := s.Wait(t.Context()); err != nil {
					t.Error(err)
				}
				if got := b.log.String(); !strings.Contains(got, "expired") {
					t.Errorf("log: %s", got)
				}
			})
		})
	}
}

func TestBlockingKeepsOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		var got []int
		ep := &rpc.Endpoint{}
		rpc.Handle(ep, "m", func(_ context.Context, a struct{ N int }) (rpc.None, error) {
			got = append(got, a.N)
			<-time.After(time.Second)
			if a.N == 3 {
				runtime.Goexit() // the server goes on
			}
			return rpc.None{}, nil
		})
		s := b.serve("s1", &rpc.ServerOptions{Executor: rpc.Blocking()}, ep)
		c := b.client(nil).Prepare(rpc.WithOrderKey("k"))
		var want []int
		for i := range 10 {
			want = append(want, i)
			if err := c.Cast(t.Context(), "m", rpc.Args{"N": i}); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(time.Minute)
		if err := s.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	})
}

func TestCastFailuresAreLogged(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		ep := demo()
		rpc.Handle(ep, "fail", func(context.Context, rpc.None) (rpc.None, error) { return rpc.None{}, errors.New("disk full") })
		s := b.serve("s1", nil, ep)
		c := b.client(nil)
		cast := func(method string, n int) {
			for range n {
				if err := c.Cast(t.Context(), method, nil); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
		}
		cast("fail", 2)    // each is logged
		cast("nosuch", 19) // a stranger can do that at will: ten at once are logged
		<-time.After(time.Minute)
		cast("_private", 1)
		got := b.log.String()
		if n := strings.Count(got, `level=WARN msg="patchbay: a cast failed" error="disk full" method=fail topic=volume`); n != 2 {
			t.Errorf("%d failures are logged:\n%s", n, got)
		}
		if n := strings.Count(got, "a cast was refused"); n != 11 || !strings.Contains(got, "not_logged=9 method=_private") {
			t.Errorf("%d refusals are logged:\n%s", n, got)
		}
		if n := s.Stats(); n.Failed != 22 || n.Handled != 22 {
			t.Errorf("%+v", n)
		}
	})
}

func TestReplyToACallerThatLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		g := newGated()
		s := b.serve("s1", nil, g.Endpoint)
		transport := b.open()
		outcome := b.calls(rpc.NewClient(transport, messaging.Target{Topic: "volume"}, nil), "1")["1"]
		if err := transport.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantIs(t, <-outcome, messaging.ErrClosed)
		close(g.release)
		if err := s.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := s.Stats(); n.RepliesLost != 1 {
			t.Errorf("%+v", n)
		}
	})
}
