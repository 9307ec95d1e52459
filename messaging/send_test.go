package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/patchbay-go/patchbay/messaging"
)

func TestSendOutcomes(t *testing.T) {
	tests := []struct {
		name     string
		err      error   // what Send returns
		outcomes []error // what it completes with, one attempt after the other
		want     error
		attempts int
	}{
		{name: "accepted", outcomes: []error{nil}, attempts: 1},
		{name: "rejected is not retried", outcomes: []error{ErrRejected}, want: ErrRejected, attempts: 1},
		{name: "no route is not retried", outcomes: []error{ErrNoRoute}, want: ErrNoRoute, attempts: 1},
		{name: "unknown is not retried", outcomes: []error{ErrOutcomeUnknown}, want: ErrOutcomeUnknown, attempts: 1},
		{name: "unknown from Send is not retried", err: ErrOutcomeUnknown, want: ErrOutcomeUnknown, attempts: 1},
		{name: "a late not sent is retried", outcomes: []error{ErrNotSent, ErrNotSent, nil}, attempts: 3},
		{name: "not sent for good is not retried", err: fmt.Errorf("%w: %w", ErrNotSent, ErrTooLarge), want: ErrTooLarge, attempts: 1},
		{
			name: "a precondition is not retried", want: ErrPermanent, attempts: 1,
			err: fmt.Errorf("%w: %w", ErrNotSent, &PreconditionError{Entity: "queue", Name: "q", Argument: "durable"}),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				s := &script{send: func(*scriptConn, Address, Message) (error, []error) {
					n++
					if tt.err != nil {
						return tt.err, nil
					}
					return nil, tt.outcomes[n-1 : n]
				}}
				tr := s.open(t, "script://", nil)
				err := tr.Send(within(t, time.Hour), topic, &Envelope{Method: "m"}, nil)
				if !errors.Is(err, tt.want) || (err != nil) != (tt.want != nil) {
					t.Errorf("got error %v, want %v", err, tt.want)
				}
				if op := (*OpError)(nil); err != nil && !errors.As(err, &op) {
					t.Errorf("%v is no *OpError", err)
				}
				if n != tt.attempts {
					t.Errorf("got %d attempts, want %d", n, tt.attempts)
				}
				if got := tr.Stats().InFlight; got != 0 {
					t.Errorf("%d sends are in flight afterwards", got)
				}
			})
		})
	}
}

func TestSendRetryLimits(t *testing.T) {
	for _, tt := range []struct{ retry, attempts int }{{-1, 1}, {1, 2}, {3, 4}} {
		t.Run(fmt.Sprint(tt.retry), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				s := &script{send: func(*scriptConn, Address, Message) (error, []error) { n++; return ErrNotSent, nil }}
				tr := s.open(t, "script://", nil)
				err := tr.Send(within(t, time.Hour), topic, &Envelope{}, &SendOptions{Retry: tt.retry})
				wantIs(t, err, ErrNotSent)
				if n != tt.attempts {
					t.Errorf("got %d attempts, want %d", n, tt.attempts)
				}
			})
		})
	}
	for name, send := range map[string]func(*testing.T, *Transport) error{
		"send": func(t *testing.T, tr *Transport) error {
			t.Helper()
			return tr.Send(within(t, time.Hour), topic, &Envelope{}, &SendOptions{Retry: -1})
		},
		"call": func(t *testing.T, tr *Transport) error {
			t.Helper()
			_, err := tr.Request(within(t, time.Hour), topic, &Envelope{}, &SendOptions{Retry: -1})
			return err
		},
	} {
		t.Run("dialling counts, "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{dial: func(int, Endpoint) error { return ErrConnect }}
				wantIs(t, send(t, s.open(t, "script://", nil)), ErrNotSent, ErrConnect)
				if n := s.dialled(); n != 1 {
					t.Errorf("dialled %d times, want 1", n)
				}
			})
		})
	}
	t.Run("refused at once and late are counted together", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			s := &script{send: func(*scriptConn, Address, Message) (error, []error) {
				if n++; n%2 == 0 {
					return nil, []error{ErrNotSent}
				}
				return ErrNotSent, nil
			}}
			tr := s.open(t, "script://", nil)
			wantIs(t, tr.Send(within(t, time.Hour), topic, &Envelope{}, &SendOptions{Retry: 2}), ErrNotSent)
			if n != 3 {
				t.Errorf("%d attempts, want 3", n)
			}
		})
	})
	t.Run("until the deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &script{dial: func(int, Endpoint) error { return fmt.Errorf("%w: refused", ErrConnect) }}
			tr := s.open(t, "script://", nil)
			began := time.Now()
			err := tr.Send(within(t, time.Minute), topic, &Envelope{}, nil)
			wantIs(t, err, ErrNotSent, ErrConnect, context.DeadlineExceeded)
			if took := time.Since(began); took != time.Minute {
				t.Errorf("took %v, want a minute", took)
			}
			if n := s.dialled(); n < 5 || n > 100 {
				t.Errorf("dialled %d times in a minute", n)
			}
		})
	})
}

func TestSendWaitEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{send: func(*scriptConn, Address, Message) (error, []error) { return nil, nil }} // never completes
		tr := s.open(t, "script://", nil)
		err := tr.Send(within(t, time.Second), topic, &Envelope{}, nil)
		wantIs(t, err, ErrOutcomeUnknown, context.DeadlineExceeded)
		if got := tr.Stats().InFlight; got != 1 {
			t.Errorf("got %d in flight, want 1: the driver has not told the outcome", got)
		}
		s.conn(0).cut()
		synctest.Wait()
		if got := tr.Stats(); got.InFlight != 0 || got.Unknown != 1 {
			t.Errorf("after the cut: %d in flight, %d unknown; want 0 and 1", got.InFlight, got.Unknown)
		}
	})
}

func TestReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{send: func(*scriptConn, Address, Message) (error, []error) { return nil, nil }}
		tr := s.open(t, "script://", nil)
		r, err := tr.Start(t.Context(), topic, &Envelope{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantIs(t, r.Err(), ErrOutcomeUnknown)
		wantIs(t, r.Wait(within(t, time.Second)), ErrOutcomeUnknown, context.DeadlineExceeded)
		s.conn(0).pending[0].Complete(nil)
		s.conn(0).pending = nil
		if err := r.Wait(t.Context()); err != nil {
			t.Errorf("accepted, but Wait says %v", err)
		}
	})
}

func TestReceiptKnowsItsOutcomeWhenTheWaitIsOver(t *testing.T) {
	tr := (&script{}).open(t, "script://", nil)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for range 32 { // a select takes either at random
		r, err := tr.Start(t.Context(), topic, &Envelope{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Wait(over); err != nil {
			t.Fatalf("accepted before ctx ended, but Wait says %v", err)
		}
	}
}

func TestUnsupportedBeforeTheWire(t *testing.T) {
	for name, o := range map[string]*SendOptions{
		"ttl":       {TTL: time.Second},
		"priority":  {Priority: 1},
		"durable":   {Durable: true},
		"mandatory": {Mandatory: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{caps: Capabilities{Ordered: true}}
				tr := s.open(t, "script://", nil)
				wantIs(t, tr.Send(t.Context(), topic, &Envelope{}, o), ErrUnsupported, ErrNotSent)
				if n := len(s.conn(0).sent); n != 0 {
					t.Errorf("%d messages were sent", n)
				}
			})
		})
	}
	t.Run("too large", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &script{caps: Capabilities{MaxMessage: 100}}
			tr := s.open(t, "script://", nil)
			wantIs(t, tr.Send(t.Context(), topic, &Envelope{Body: make([]byte, 100)}, nil), ErrTooLarge, ErrNotSent)
		})
	})
}

func TestUseAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		tr := s.open(t, "script://", nil)
		if err := tr.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _ = tr.Close(t.Context()) })
		}
		wg.Wait()
		ctx := within(t, time.Second)
		wantIs(t, tr.Send(ctx, topic, &Envelope{}, nil), ErrClosed, ErrNotSent)
		_, err := tr.Request(ctx, topic, &Envelope{}, nil)
		wantIs(t, err, ErrClosed)
		_, err = tr.Listen(ctx, Subscription{Sources: []Address{topic}})
		wantIs(t, err, ErrClosed)
		wantIs(t, tr.Connect(ctx), ErrClosed)
		if ctx.Err() != nil {
			t.Error("an operation on a closed transport waited")
		}
	})
}

// What is closed is closed, however little time there is to wait for it.
func TestCloseAgainWithoutTime(t *testing.T) {
	tr := (&script{}).open(t, "script://", nil)
	st, err := tr.Listen(t.Context(), Subscription{Sources: []Address{topic}})
	if err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []interface {
		Close(ctx context.Context) error
	}{st, tr} {
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 32 { // a select takes either at random
			if err := c.Close(over); err != nil {
				t.Fatalf("%T is closed, but Close says %v", c, err)
			}
		}
	}
}
