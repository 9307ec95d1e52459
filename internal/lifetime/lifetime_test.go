package lifetime_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-go/patchbay/internal/lifetime"
	"github.com/patchbay-go/patchbay/messaging"
)

// socket is one that ends those who wait for the peer when it is aborted.
type socket struct {
	aborted chan struct{}
	err     atomic.Pointer[error]
	stalled atomic.Int64
}

func (s *socket) Abort() { close(s.aborted) }

func (s *socket) Stalled() time.Duration { return time.Duration(s.stalled.Load()) }

func (s *socket) Err() error {
	if e := s.err.Load(); e != nil {
		return *e
	}
	return nil
}

var errLibrary = errors.New("of the library")

func begin(t *testing.T) (*lifetime.Lifetime, *socket) {
	t.Helper()
	s := &socket{aborted: make(chan struct{})}
	l := &lifetime.Lifetime{}
	l.Gate.MaxCount, l.Gate.MaxBytes = 2, 100
	l.Begin(t.Context(), "host:1", s, func(err error) error {
		if err == nil {
			return nil
		}
		return errors.Join(errLibrary, err)
	})
	return l, s
}

func TestFirstReasonCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s := begin(t)
		if l.Lost() != nil || l.Err() != nil {
			t.Fatalf("it ends before it began: %v", l.Lost())
		}
		l.Fail(messaging.ErrConnLost)
		l.Fail(messaging.ErrAuth)
		<-l.Done()
		<-s.aborted
		<-l.Context().Done()
		if !errors.Is(l.Lost(), messaging.ErrConnLost) || errors.Is(l.Lost(), messaging.ErrAuth) {
			t.Errorf("the reason is %v", l.Lost())
		}
		if err := l.Gate.Enter(t.Context(), 1); !errors.Is(err, messaging.ErrConnLost) {
			t.Errorf("a sender is told %v", err)
		}
		l.Leave(t.Context(), func() error { t.Error("a handshake with nobody"); return nil }, func() {})
		if errors.Is(l.Err(), messaging.ErrClosed) {
			t.Errorf("after Leave the reason is %v", l.Err())
		}
	})
}

func TestSocketKnowsFirst(t *testing.T) {
	l, s := begin(t)
	broken := errors.New("broken pipe")
	s.err.Store(&broken)
	if err := l.Lost(); !errors.Is(err, messaging.ErrConnLost) || !errors.Is(err, broken) {
		t.Errorf("it is lost for %v", err)
	}
	l.Leave(t.Context(), func() error { t.Error("a handshake with nobody"); return nil }, func() {})
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s := begin(t)
		if err := l.Await(t.Context(), func() error { return nil }); err != nil {
			t.Error(err)
		}
		if err := l.Await(t.Context(), func() error { return errors.New("no") }); !errors.Is(err, errLibrary) {
			t.Errorf("an error of the library is told as %v", err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var ended atomic.Bool
		err := l.Await(ctx, func() error {
			<-s.aborted
			ended.Store(true)
			return messaging.ErrConnLost
		})
		if !errors.Is(err, context.DeadlineExceeded) || ended.Load() {
			t.Errorf("what waits for the peer gives %v", err)
		}

		lost := make(chan error)
		go func() {
			lost <- l.Await(t.Context(), func() error {
				<-s.aborted
				return messaging.ErrConnLost
			})
		}()
		synctest.Wait()
		l.Fail(messaging.ErrConnLost)
		if err := <-lost; !errors.Is(err, messaging.ErrConnLost) {
			t.Errorf("after the end it gives %v", err)
		}
		l.Leave(t.Context(), func() error { return nil }, func() {})
		if !ended.Load() {
			t.Error("Leave did not wait for a goroutine")
		}
		called := false
		if err := l.Await(t.Context(), func() error { called = true; return nil }); err == nil || called {
			t.Errorf("after Leave it gives %v, called: %v", err, called)
		}
	})
}

// TestLeave waits for who is past the gate, then for the handshake, each within
// bounds.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s := begin(t)
		if err := l.Gate.Enter(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(3*time.Second, func() { l.Gate.Leave(1, 10) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		var shook time.Duration
		l.Leave(ctx, func() error {
			shook = time.Since(start)
			<-s.aborted // the peer does not answer
			return nil
		}, func() {
			if l.Err() == nil {
				t.Error("the last step comes before the end")
			}
		})
		if shook != 3*time.Second || time.Since(start) != 4*time.Second {
			t.Errorf("the handshake began after %v, and all was over after %v", shook, time.Since(start))
		}
		if !errors.Is(l.Err(), messaging.ErrClosed) {
			t.Errorf("the reason is %v", l.Err())
		}
	})
}
