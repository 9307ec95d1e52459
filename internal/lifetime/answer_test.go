package lifetime_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-go/patchbay/internal/lifetime"
	"github.com/patchbay-go/patchbay/messaging"
)

const patience = time.Minute

// peer is what a connection's watcher sees of it.
type peer struct{ blocked, due atomic.Bool }

// watched is a connection that is looked at until it ends, with p as it is then.
func watched(t *testing.T, p *peer) (*lifetime.Lifetime, *socket) {
	t.Helper()
	s := &socket{aborted: make(chan struct{})}
	l := &lifetime.Lifetime{Patience: patience}
	l.Gate.MaxCount, l.Gate.MaxBytes = 2, 100
	l.Begin(t.Context(), "host:1", s, func(err error) error { return err })
	l.Spawn(func() {
		tick := l.Ticks()
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				l.Look(p.blocked.Load(), p.due.Load())
			case <-l.Done():
				return
			}
		}
	})
	return l, s
}

func leave(t *testing.T, l *lifetime.Lifetime) {
	t.Helper()
	l.Leave(t.Context(), func() error { return nil }, func() {})
}

// wantLost fails the test unless the connection is lost after the patience, and half
// as much again at most, from since on.
func wantLost(t *testing.T, l *lifetime.Lifetime, since time.Time) {
	t.Helper()
	<-l.Done()
	if took := time.Since(since); took < patience || took > patience+patience/2 {
		t.Errorf("it is lost after %v", took)
	}
	if !errors.Is(l.Err(), messaging.ErrConnLost) {
		t.Errorf("it is lost for %v", l.Err())
	}
}

// TestUnansweredRequest costs the connection, whenever it was made, and all that wait
// are told why.
func TestUnansweredRequest(t *testing.T) {
	for _, after := range []time.Duration{0, time.Second, 14 * time.Second, 15*time.Second + 1} {
		synctest.Test(t, func(t *testing.T) {
			l, s := watched(t, new(peer))
			<-time.After(after)
			start := time.Now()
			err := l.Answer("a question", func() error {
				<-s.aborted
				return errors.New("the socket is closed")
			})
			wantLost(t, l, start)
			if !errors.Is(err, messaging.ErrConnLost) || err.Error() != l.Err().Error() {
				t.Errorf("who waited is told %v", err)
			}
			leave(t, l)
		})
	}
}

// TestAnswers: one that comes late, and any number in a row, cost nothing.
func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := watched(t, new(peer))
		refused := errors.New("no")
		for range 10 {
			err := l.Answer("a question", func() error {
				<-time.After(patience - 1)
				return refused
			})
			if !errors.Is(err, refused) {
				t.Errorf("the answer is %v", err)
			}
		}
		<-time.After(time.Hour)
		if l.Err() != nil {
			t.Errorf("it is lost for %v", l.Err())
		}
		leave(t, l)
	})
}

// TestBlocked: a peer that has said that it takes nothing need not answer.
func TestBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(peer)
		p.blocked.Store(true)
		p.due.Store(true)
		l, s := watched(t, p)
		l.Spawn(func() {
			_ = l.Answer("a question", func() error {
				<-s.aborted
				return nil
			})
		})
		<-time.After(time.Hour)
		if l.Err() != nil {
			t.Fatalf("it is lost for %v", l.Err())
		}
		p.blocked.Store(false)
		wantLost(t, l, time.Now())
		leave(t, l)
	})
}

// TestBeingWrittenTo: a peer need not answer what it is yet to read.
func TestBeingWrittenTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(peer)
		p.due.Store(true)
		l, s := watched(t, p)
		s.stalled.Store(1)
		l.Spawn(func() {
			_ = l.Answer("a question", func() error {
				<-s.aborted
				return nil
			})
		})
		<-time.After(time.Hour)
		if l.Err() != nil {
			t.Fatalf("it is lost for %v", l.Err())
		}
		s.stalled.Store(0)
		wantLost(t, l, time.Now())
		leave(t, l)
	})
}

// TestOutcomes: as long as some come it lives, and while none are due.
func TestOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(peer)
		l, _ := watched(t, p)
		<-time.After(time.Hour)
		if err := l.Gate.Enter(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		p.due.Store(true)
		for range 10 {
			<-time.After(patience - 1)
			if err := l.Gate.Enter(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			l.Told(1, 1)
		}
		wantLost(t, l, time.Now())
		l.Gate.Leave(1, 1)
		leave(t, l)
	})
}
