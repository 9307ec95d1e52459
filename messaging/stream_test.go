package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	. "github.com/patchbay-go/patchbay/messaging"
)

func listen(t *testing.T, tr *Transport, sources ...Address) *Stream {
	t.Helper()
	if len(sources) == 0 {
		sources = []Address{topic}
	}
	st, err := tr.Listen(t.Context(), Subscription{Sources: sources})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestStreamSurvivesLostConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		tr := s.open(t, "script://", nil)
		st := listen(t, tr)
		names := map[string]bool{}
		for i := range 5 {
			l := s.listener()
			names[l.sub.Instance] = true
			l.deliver(&Envelope{ID: fmt.Sprint(i)})
			in, err := st.Poll(within(t, time.Minute))
			if err != nil || in.ID != fmt.Sprint(i) {
				t.Fatalf("poll %d: %v, %v", i, in, err)
			}
			if err := in.Settle(t.Context(), Ack); err != nil {
				t.Fatal(err)
			}
			wantIs(t, in.Settle(t.Context(), Ack), ErrSettled)
			polled := make(chan error)
			go func() { // a poll that waits while the connection is lost
				in, err := st.Poll(within(t, time.Minute))
				if err == nil {
					err = in.Settle(t.Context(), Ack)
				}
				polled <- err
			}()
			synctest.Wait()
			l.c.cut()
			elapse(time.Second)
			s.listener().deliver(&Envelope{ID: fmt.Sprint("w", i)})
			if err := <-polled; err != nil {
				t.Fatalf("the waiting poll: %v", err)
			}
		}
		if len(names) != 1 {
			t.Errorf("subscribed with %d instance names, want one", len(names))
		}
	})
}

func TestStreamRedialsWhileTheBrokerIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := false
		s := &script{dial: func(int, Endpoint) error {
			if down {
				return fmt.Errorf("%w: %w", ErrConnect, ErrAuth) // even that may be mended
			}
			return nil
		}}
		tr := s.open(t, "script://", nil)
		st := listen(t, tr)
		s.mu.Lock()
		down = true
		s.mu.Unlock()
		s.conn(0).cut()
		_, err := st.Poll(within(t, time.Hour))
		wantIs(t, err, context.DeadlineExceeded)
		s.mu.Lock()
		n := len(s.dials)
		down = false
		s.mu.Unlock()
		if n < 100 || n > 2000 {
			t.Errorf("dialled %d times in an hour", n)
		}
		elapse(20 * time.Second)
		s.listener().deliver(&Envelope{ID: "x"})
		if _, err := st.Poll(within(t, time.Second)); err != nil {
			t.Error(err)
		}
	})
}

func TestListenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pre := &PreconditionError{Entity: "queue", Name: "volume", Argument: "durable"}
		s := &script{listen: func(int, Subscription) (string, error) { return "", pre }}
		tr := s.open(t, "script://", nil)
		_, err := tr.Listen(within(t, time.Hour), Subscription{Sources: []Address{topic}})
		wantIs(t, err, ErrPermanent)
		var got *PreconditionError
		if !errors.As(err, &got) || got.Argument != "durable" {
			t.Errorf("got %v, want the *PreconditionError", err)
		}
		if st := tr.Stats(); st.Streams != 0 || st.Conns != 0 {
			t.Errorf("left behind: %+v", st)
		}
		_, err = tr.Listen(t.Context(), Subscription{})
		wantIs(t, err, ErrInvalidTarget)
	})
}

// A poller may see a loss before the connection says so: it is one all the same.
func TestLossSeenByPoller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		tr := s.open(t, "script://", nil)
		st := listen(t, tr)
		s.listener().in <- nil
		_, err := st.Poll(within(t, time.Minute))
		wantIs(t, err, context.DeadlineExceeded)
		if n := tr.Stats().ConnsLost; n != 1 {
			t.Errorf("%d connections count as lost, want 1", n)
		}
	})
}

func TestListenTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{listen: func(n int, _ Subscription) (string, error) {
			if n < 4 {
				return "", ErrConnLost
			}
			return "", nil
		}}
		tr := s.open(t, "script://", nil)
		listen(t, tr)
		if st := tr.Stats(); st.Conns != 1 {
			t.Errorf("%d connections are open, want 1", st.Conns)
		}
	})
}

func TestStreamDropsDuplicates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		tr := s.open(t, "script://", &Options{Dedup: 4})
		st := listen(t, tr)
		l := s.listener()
		handle := func(o Outcome) string {
			in, err := st.Poll(within(t, time.Second))
			if err != nil {
				return "nothing"
			}
			if err := in.Settle(t.Context(), o); err != nil {
				t.Error(err)
			}
			return in.ID
		}
		var got []string
		l.deliver(&Envelope{ID: "a"})
		got = append(got, handle(Ack))
		l.deliver(&Envelope{ID: "a"}) // handled
		l.deliver(&Envelope{ID: "b"})
		got = append(got, handle(Requeue))
		l.deliver(&Envelope{ID: "b"}) // requeued: not a duplicate
		got = append(got, handle(Drop))
		l.deliver(&Envelope{ID: "b"}) // dropped: never again
		l.deliver(&Envelope{})        // no id: cannot be told
		got = append(got, handle(Ack))
		l.deliver(&Envelope{})
		got = append(got, handle(Ack))
		for i := range 4 {
			l.deliver(&Envelope{ID: fmt.Sprint(i)})
			got = append(got, handle(Ack))
		}
		l.deliver(&Envelope{ID: "a"}) // forgotten by now
		got = append(got, handle(Ack), handle(Ack))
		want := []string{"a", "b", "b", "", "", "0", "1", "2", "3", "a", "nothing"}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if n := tr.Stats().Duplicates; n != 2 {
			t.Errorf("counted %d duplicates, want 2", n)
		}
	})
}

// A message that comes again while it is being handled, over a new connection or
// over a new channel of the same one, is held, and settled when its handler is
// done.
func TestStreamAdoptsARedelivery(t *testing.T) {
	for _, cut := range []bool{true, false} {
		for _, o := range []Outcome{Ack, Requeue} {
			t.Run(fmt.Sprintf("%v, cut=%v", o, cut), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &script{}
					tr := s.open(t, "script://", nil)
					st := listen(t, tr)
					s.listener().deliver(&Envelope{ID: "a"})
					in, err := st.Poll(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					want := []Outcome{o}
					if cut {
						s.listener().c.cut()
						elapse(time.Second)
					} else {
						want = append(want, o) // the earlier delivery too, in case that it lives
					}
					s.listener().redeliver(&Envelope{ID: "a"})
					if _, err := st.Poll(within(t, time.Second)); err == nil {
						t.Error("it was handed out twice")
					}
					if got := s.listener().outcomes(); len(got) != 0 {
						t.Errorf("settled as %v before its handler was done", got)
					}
					if err := in.Settle(t.Context(), o); err != nil {
						t.Error(err)
					}
					if d := cmp.Diff(want, s.listener().outcomes()); d != "" {
						t.Error(d)
					}
				})
			})
		}
	}
}

// A message that was sent twice is no redelivery: its copy is acknowledged at
// once, and takes no place while the first is handled.
func TestStreamDropsACopyOfWhatIsHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		st := listen(t, s.open(t, "script://", nil))
		s.listener().deliver(&Envelope{ID: "a"})
		if _, err := st.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.listener().deliver(&Envelope{ID: "a"})
		if _, err := st.Poll(within(t, time.Second)); err == nil {
			t.Error("it was handed out twice")
		}
		if d := cmp.Diff([]Outcome{Ack}, s.listener().outcomes()); d != "" {
			t.Error(d)
		}
	})
}

// A connection that does not close must not hold up Close for longer than its
// ctx allows.
func TestCloseHeedsItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{closeTakes: time.Hour}
		tr := s.open(t, "script://", nil)
		st := listen(t, tr)
		listen(t, tr)
		if err := tr.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, closing := range map[string]func(context.Context) error{"stream": st.Close, "transport": tr.Close} {
			began := time.Now()
			_ = closing(within(t, time.Second))
			if took := time.Since(began); took > 2*time.Second { // the streams', then the pool's
				t.Errorf("%s: took %v under a ctx of 1s", name, took)
			}
		}
	})
}

// When a listener alone breaks on the transport's only connection it is closed,
// and another takes its place.
func TestSingleConnClosesABrokenListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{single: true}
		st := listen(t, s.open(t, "script://", nil))
		first := s.listener()
		go func() { _, _ = st.Poll(within(t, time.Minute)) }()
		synctest.Wait()
		first.once.Do(func() { close(first.stopped) })
		elapse(10 * time.Second)
		first.mu.Lock()
		defer first.mu.Unlock()
		if s.listener() == first || !first.closed {
			t.Errorf("replaced: %v, closed: %v", s.listener() != first, first.closed)
		}
	})
}

func TestStreamDropsWhatItCannotDecode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		var log strings.Builder
		tr := s.open(t, "script://", &Options{MaxMessage: 1000, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		st := listen(t, tr, topic, Address{Topic: "other"})
		l := s.listener()
		for _, m := range []Message{
			{},
			{ContentType: "text/plain", Body: []byte("{}")},
			{ContentType: "test/plain", Body: []byte("{")},
			{ContentType: "test/plain", Body: make([]byte, 1001)},
		} {
			d := NewDelivery(m, l)
			d.Source = 1
			l.in <- d
		}
		l.deliver(&Envelope{ID: "good"})
		in, err := st.Poll(t.Context())
		if err != nil || in.ID != "good" {
			t.Fatalf("got %v, %v", in, err)
		}
		if d := cmp.Diff([]Outcome{Drop, Drop, Drop, Drop}, l.outcomes()); d != "" {
			t.Error(d)
		}
		if n := tr.Stats().Undecodable; n != 4 {
			t.Errorf("counted %d, want 4", n)
		}
		if n := strings.Count(log.String(), `from="topic \"other\""`); n != 4 {
			t.Errorf("the log says %d times where that came from, want 4:\n%s", n, &log)
		}
	})
}

func TestStreamStopAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		tr := s.open(t, "script://", nil)
		st := listen(t, tr)
		l := s.listener()
		l.deliver(&Envelope{ID: "in hand"})
		in, err := st.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		polled := make(chan error)
		go func() { _, err := st.Poll(t.Context()); polled <- err }()
		synctest.Wait()
		if n, err := st.Stop(t.Context()); n != 0 || err != nil {
			t.Errorf("stop: %d, %v", n, err)
		}
		wantIs(t, <-polled, ErrClosed)
		if err := in.Settle(t.Context(), Ack); err != nil {
			t.Errorf("settling after Stop: %v", err)
		}
		for range 2 {
			if err := st.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if st := tr.Stats(); !l.closed || st.Streams != 0 || st.Conns != 0 {
			t.Errorf("closed=%v, %+v", l.closed, st)
		}
		_, err = st.Poll(t.Context())
		wantIs(t, err, ErrClosed)
	})
}

func TestStreamStopsWhileItReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := false
		s := &script{dial: func(int, Endpoint) error {
			if down {
				return ErrConnect
			}
			return nil
		}}
		tr := s.open(t, "script://", nil)
		st := listen(t, tr)
		s.mu.Lock()
		down = true
		s.mu.Unlock()
		s.conn(0).cut()
		elapse(time.Minute)
		began := time.Now()
		if _, err := st.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if err := st.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// With a driver of one connection for everything, or one whose user wants that,
// its streams and sends share it, and a stream does not close it.
func TestSharedConn(t *testing.T) {
	for name, s := range map[string]*script{"single": {single: true}, "shares": {shares: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := s.open(t, "script://a:1,b:2", nil)
				st := listen(t, tr)
				if err := tr.Send(t.Context(), topic, &Envelope{}, nil); err != nil {
					t.Fatal(err)
				}
				if err := st.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := tr.Send(t.Context(), topic, &Envelope{}, nil); err != nil {
					t.Fatal(err)
				}
				st = listen(t, tr)
				s.conn(0).cut()
				elapse(10 * time.Second)
				s.listener().deliver(&Envelope{ID: "x"})
				if _, err := st.Poll(within(t, time.Second)); err != nil {
					t.Error(err)
				}
				if n := s.dialled(); n != 2 {
					t.Errorf("dialled %d times, want 2", n)
				}
				if n := tr.Stats().ConnsLost; n != 1 {
					t.Errorf("lost %d connections, want 1", n)
				}
			})
		})
	}
}

// A stream that shares its connection is patient when that cannot be opened again,
// whatever the reason, and leaves other connections for sending alone.
func TestSharedConnComesBack(t *testing.T) {
	for name, why := range map[string]error{"refused": ErrConnect, "credentials": ErrAuth} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{shares: true}
				st := listen(t, s.open(t, "script://host", nil))
				s.mu.Lock()
				s.dial = func(n int, _ Endpoint) error {
					if n < 6 {
						return fmt.Errorf("%w: %w", ErrConnect, why)
					}
					return nil
				}
				s.mu.Unlock()
				s.conn(0).cut()
				elapse(time.Minute)
				s.listener().deliver(&Envelope{ID: "x"})
				if _, err := st.Poll(within(t, time.Second)); err != nil {
					t.Error(err)
				}
				if n := s.dialled(); n != 6 {
					t.Errorf("dialled %d times, want 6", n)
				}
			})
		})
	}
}

// The second of two concurrent Closes waits for the first, but no longer than
// its own ctx, and so that synctest sees that it waits.
func TestConcurrentCloseKeepsItsOwnContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{stopTakes: time.Minute}
		tr := s.open(t, "script://", nil)
		st := listen(t, tr)
		go func() { _ = tr.Close(context.WithoutCancel(t.Context())) }()
		synctest.Wait()
		wantIs(t, st.Close(within(t, time.Second)), context.DeadlineExceeded)
		wantIs(t, tr.Close(within(t, time.Second)), context.DeadlineExceeded)
		if err := tr.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
