package messaging_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/patchbay-go/patchbay/messaging"
)

func TestPoolSharesOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		tr := s.open(t, "script://", nil)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if err := tr.Send(t.Context(), topic, &Envelope{}, nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := s.dialled(); n != 1 {
			t.Errorf("dialled %d times, want 1", n)
		}
	})
}

func TestPoolGrowsOnlyWhenWindowsAreFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{send: func(*scriptConn, Address, Message) (error, []error) { return nil, nil }}
		tr := s.open(t, "script://", &Options{Window: 4, MaxConns: 3, ConnIdle: time.Minute})
		for i := range 30 {
			if _, err := tr.Start(t.Context(), topic, &Envelope{}, nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			want := min(3, 1+(i+1)/4)
			if i < 4 {
				want = 1
			}
			if got := tr.Stats().Conns; got > want {
				t.Errorf("after %d sends %d connections, want %d at most", i+1, got, want)
			}
		}
		if got := tr.Stats().Conns; got != 3 {
			t.Errorf("got %d connections, want 3", got)
		}
		for i := range 3 {
			c := s.conn(i)
			s.mu.Lock()
			pending := c.pending
			c.pending = nil
			s.mu.Unlock()
			for _, p := range pending {
				p.Complete(nil)
			}
		}
		elapse(3 * time.Minute)
		if got := tr.Stats().Conns; got != 1 {
			t.Errorf("got %d connections when idle, want 1", got)
		}
	})
}

func TestPoolOrderKeyKeepsItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		tr := s.open(t, "script://", &Options{MaxConns: 4})
		for round := range 20 {
			for key := range 8 {
				e := &Envelope{Method: fmt.Sprint(key), CallID: fmt.Sprint(round)}
				if err := tr.Send(t.Context(), topic, e, &SendOptions{OrderKey: fmt.Sprint(key)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		where := map[string]int{}
		for _, c := range s.conns {
			last := map[string]string{}
			for _, m := range c.sent {
				e := decodePlain(t, m)
				if n, ok := where[e.Method]; ok && n != c.n {
					t.Fatalf("key %s went over connections %d and %d", e.Method, n, c.n)
				}
				where[e.Method] = c.n
				if prev := last[e.Method]; prev != "" && len(prev) == len(e.CallID) && prev >= e.CallID {
					t.Fatalf("key %s: %s came after %s", e.Method, e.CallID, prev)
				}
				last[e.Method] = e.CallID
			}
		}
		if len(where) != 8 {
			t.Errorf("saw %d keys, want 8", len(where))
		}
	})
}

func TestPoolFailsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := "a"
		s := &script{dial: func(_ int, ep Endpoint) error {
			if ep.Host.Host == down {
				return fmt.Errorf("%w: refused", ErrConnect)
			}
			return nil
		}}
		tr := s.open(t, "script://u:p@a:1,u:p@b:2/", nil)
		for i := range 10 {
			if err := tr.Send(within(t, time.Minute), topic, &Envelope{}, nil); err != nil {
				t.Fatalf("send %d: %v", i, err)
			}
			c := s.conn(len(s.conns) - 1)
			if c.host.Host == down {
				t.Fatalf("send %d went to the host that is down", i)
			}
			s.mu.Lock()
			down = c.host.Host // the other way round next time
			s.mu.Unlock()
			c.cut()
			synctest.Wait()
		}
		if got := tr.Stats().ConnsLost; got != 10 {
			t.Errorf("counted %d lost connections, want 10", got)
		}
	})
}

// A host without a port is named as the driver completes it, which knows its
// default, and once; never with a port that was not tried.
func TestFailedDialNamesTheHostOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := fmt.Errorf("%w: %w: refused", ErrConnect, ErrPermanent)
		for said, want := range map[error]string{
			refused: "connecting to host: cannot connect: permanent: refused",
			&OpError{Op: "connecting to", Addr: "host:5672", Err: refused}: "connecting to host:5672: cannot connect: permanent: refused",
		} {
			s := &script{dial: func(int, Endpoint) error { return said }}
			err := s.open(t, "script://host/", nil).Connect(within(t, time.Minute))
			if text := fmt.Sprint(err); text != "connecting: not sent: "+want {
				t.Errorf("got %q, want it to end in %q", text, want)
			}
		}
	})
}

func TestPoolAuthFailureEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{dial: func(int, Endpoint) error { return fmt.Errorf("%w: %w", ErrConnect, ErrAuth) }}
		tr := s.open(t, "script://u:secret@a,u:secret@b/", nil)
		began := time.Now()
		err := tr.Send(within(t, time.Hour), topic, &Envelope{}, nil)
		wantIs(t, err, ErrNotSent, ErrConnect, ErrAuth)
		if took := time.Since(began); took != 0 {
			t.Errorf("took %v", took)
		}
		if n := s.dialled(); n != 2 {
			t.Errorf("dialled %d times, want each of the 2 hosts once", n)
		}
	})
}

// Whatever one host refuses for good, another may come up.
func TestPoolTriesTheOtherHostWhateverOneRefuses(t *testing.T) {
	for _, refusal := range []error{ErrAuth, ErrPermanent, ErrUnsupported, ErrTooLarge} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{dial: func(n int, ep Endpoint) error {
				if ep.Host.Host == "a" {
					return fmt.Errorf("%w: %w", ErrConnect, refusal)
				}
				if n < 6 {
					return fmt.Errorf("%w: refused", ErrConnect)
				}
				return nil
			}}
			tr := s.open(t, "script://u:p@a,u:p@b/", nil)
			if err := tr.Send(within(t, time.Hour), topic, &Envelope{}, nil); err != nil {
				t.Errorf("the other host came up, but %v", err)
			}
		})
	}
}

func TestPoolAsksForCredentialsAtEveryDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := &script{}
		tr := s.open(t, "script://a", &Options{Credentials: func(_ context.Context, h HostPort) (Credentials, error) {
			asked++
			if h.Host != "a" {
				t.Errorf("asked for %v", h)
			}
			return Credentials{"u", fmt.Sprint(asked)}, nil
		}})
		for i := range 3 {
			if err := tr.Send(within(t, time.Minute), topic, &Envelope{}, nil); err != nil {
				t.Fatal(err)
			}
			s.conn(i).cut()
			synctest.Wait()
		}
		if asked != 3 {
			t.Errorf("asked %d times, want 3", asked)
		}
	})
}

// A dial that an impatient caller gave up on is finished for the next one.
func TestPoolDialOutlivesItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowDial{script: &script{caps: allCaps}, takes: 5 * time.Second}
		u, _ := ParseURL("script://a")
		tr, err := NewTransport(s, []Codec{plain{}}, u, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tr.Close(t.Context()) }()
		wantIs(t, tr.Send(within(t, time.Second), topic, &Envelope{}, nil), ErrNotSent, context.DeadlineExceeded)
		elapse(4 * time.Second)
		synctest.Wait()
		began := time.Now()
		if err := tr.Send(t.Context(), topic, &Envelope{}, nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 0 || s.dialled() != 1 {
			t.Errorf("the second caller waited %v, %d dials", took, s.dialled())
		}
	})
}

// A negative time is no bound, not one that has passed.
func TestPoolDialsWithoutABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowDial{script: &script{caps: allCaps}, takes: time.Minute}
		u, _ := ParseURL("script://a")
		tr, err := NewTransport(s, []Codec{plain{}}, u, &Options{DialTimeout: -1, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tr.Close(t.Context()) }()
		if err := tr.Connect(within(t, time.Hour)); err != nil {
			t.Error(err)
		}
	})
}

type slowDial struct {
	*script
	takes time.Duration
}

func (s *slowDial) Dial(ctx context.Context, ep Endpoint) (Conn, error) {
	select {
	case <-time.After(s.takes):
		return s.script.Dial(ctx, ep)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
