package messaging_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/patchbay-go/patchbay/messaging"
)

// answering makes a script whose requests are accepted and handed to answer,
// which may deliver replies through the reply listener.
func answering(answer func(s *script, c *scriptConn, e Envelope)) *script {
	s := &script{}
	s.send = func(c *scriptConn, _ Address, m Message) (error, []error) {
		var e Envelope
		if err := (plain{}).Decode(&m, &e); err != nil {
			return fmt.Errorf("%w: %w", ErrNotSent, err), nil
		}
		go answer(s, c, e)
		return nil, []error{nil}
	}
	return s
}

func reply(e Envelope, body string) *Envelope {
	return &Envelope{CallID: e.CallID, Final: true, Body: []byte(body)}
}

func TestRequestMatchesReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := answering(func(s *script, _ *scriptConn, e Envelope) { s.listener().deliver(reply(e, e.Method)) })
		tr := s.open(t, "script://", nil)
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() {
				name := fmt.Sprint("method", i)
				r, err := tr.Request(within(t, time.Minute), topic, &Envelope{Method: name}, nil)
				if err != nil || string(r.Body) != name {
					t.Errorf("%s: got %v, error %v", name, r, err)
				}
			})
		}
		wg.Wait()
		if st := tr.Stats(); st.Calls != 0 || st.ReplyDropped != 0 || st.Sent != 500 {
			t.Errorf("got stats %+v", st)
		}
		if s.lists != 1 {
			t.Errorf("listened %d times for replies, want 1", s.lists)
		}
	})
}

func TestRequestFails(t *testing.T) {
	lost := errors.New("peer reset")
	tests := []struct {
		name    string
		sending []error // outcomes; nil: pending for ever
		monitor time.Duration
		then    func(s *script, e Envelope)
		want    []error
		took    time.Duration
	}{
		{name: "nobody answers", sending: []error{nil}, want: []error{ErrTimeout, context.DeadlineExceeded}, took: time.Hour},
		{name: "unroutable", sending: []error{ErrNoRoute}, want: []error{ErrNoRoute}},
		{name: "rejected", sending: []error{ErrRejected}, want: []error{ErrRejected}},
		{name: "sending connection lost", then: func(s *script, _ Envelope) { s.sender().cut() }, want: []error{ErrOutcomeUnknown}},
		{name: "no heartbeat", sending: []error{nil}, monitor: time.Second, want: []error{ErrServerLost}, took: time.Second},
		{
			name: "heartbeats that end", sending: []error{nil}, monitor: time.Second, want: []error{ErrServerLost}, took: 5500 * time.Millisecond,
			then: func(s *script, e Envelope) {
				for range 9 {
					elapse(500 * time.Millisecond)
					s.listener().deliver(&Envelope{CallID: e.CallID})
				}
			},
		},
		{
			name: "the driver saw the server go", sending: []error{nil}, want: []error{ErrServerLost, lost},
			then: func(s *script, e Envelope) {
				d := NewDelivery(Message{CorrelationID: e.CallID}, nil)
				d.Lost = lost
				s.listener().in <- d
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{}
				s.send = func(_ *scriptConn, _ Address, m Message) (error, []error) {
					if tt.then != nil {
						e := decodePlain(t, m)
						go tt.then(s, e)
					}
					return nil, tt.sending
				}
				tr := s.open(t, "script://", nil)
				began := time.Now()
				_, err := tr.Request(within(t, time.Hour), topic, &Envelope{Monitor: tt.monitor}, nil)
				wantIs(t, err, tt.want...)
				if took := time.Since(began); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if st := tr.Stats(); st.Calls != 0 {
					t.Errorf("%d calls wait afterwards", st.Calls)
				}
			})
		})
	}
}

// sender returns the connection that was sent to.
func (s *script) sender() *scriptConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		if len(c.sent) > 0 {
			return c
		}
	}
	return nil
}

func TestRequestNeedsADeadline(t *testing.T) {
	tr := (&script{}).open(t, "script://", nil)
	_, err := tr.Request(t.Context(), topic, &Envelope{}, nil)
	wantIs(t, err, ErrNotSent, ErrPermanent)
}

func TestRequestCarriesTheRestOfItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := answering(func(s *script, _ *scriptConn, e Envelope) { s.listener().deliver(reply(e, "")) })
		tr := s.open(t, "script://", nil)
		if _, err := tr.Request(within(t, 90*time.Second), topic, &Envelope{}, nil); err != nil {
			t.Fatal(err)
		}
		m := s.sender().sent[0]
		if e := decodePlain(t, m); e.Timeout != 90*time.Second || m.TTL != 90*time.Second {
			t.Errorf("got timeout %v and ttl %v, want 90s", e.Timeout, m.TTL)
		}
	})
}

func TestRequestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := answering(func(*script, *scriptConn, Envelope) {}).open(t, "script://", nil)
		ctx, cancel := context.WithCancel(within(t, time.Hour))
		time.AfterFunc(time.Second, cancel)
		_, err := tr.Request(ctx, topic, &Envelope{}, nil)
		wantIs(t, err, context.Canceled)
		if errors.Is(err, ErrTimeout) {
			t.Errorf("%v is called a timeout", err)
		}
	})
}

// A reply that came before ctx ended counts, also if the caller's goroutine looks
// only when both have happened.
func TestReplyIsThereWhenTheWaitIsOver(t *testing.T) {
	for name, end := range map[string]func(cancel context.CancelFunc){
		"cancelled": func(cancel context.CancelFunc) { cancel() },
		"deadline":  func(context.CancelFunc) { elapse(time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			for range 32 { // a select takes either at random
				synctest.Test(t, func(t *testing.T) {
					s := &script{}
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					s.send = func(_ *scriptConn, _ Address, m Message) (error, []error) {
						s.listener().deliver(reply(decodePlain(t, m), "done"))
						synctest.Wait()
						end(cancel)
						return nil, []error{nil}
					}
					tr := s.open(t, "script://", nil)
					if r, err := tr.Request(ctx, topic, &Envelope{}, nil); err != nil || string(r.Body) != "done" {
						t.Errorf("answered before the wait was over, but got %v, error %v", r, err)
					}
				})
			}
		})
	}
}

func TestRepliesLateTwiceAndForeign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := answering(func(s *script, _ *scriptConn, e Envelope) {
			s.listener().deliver(reply(Envelope{CallID: "foreign"}, "no"))
			s.listener().deliver(reply(e, "yes"))
			s.listener().deliver(reply(e, "again"))
			s.listener().deliver(&Envelope{CallID: e.CallID}) // a late heartbeat is no reply
		})
		tr := s.open(t, "script://", nil)
		r, err := tr.Request(within(t, time.Second), topic, &Envelope{}, nil)
		if err != nil || string(r.Body) != "yes" {
			t.Errorf("got %v, %v", r, err)
		}
		synctest.Wait()
		if st := tr.Stats(); st.ReplyDropped != 2 {
			t.Errorf("dropped %d replies, want 2", st.ReplyDropped)
		}
		if got := len(s.listener().outcomes()); got != 4 {
			t.Errorf("settled %d, want all 4", got)
		}
	})
}

// A request that is not sent yet must not be sent with a reply address that is
// not ours any more.
func TestRequestFollowsItsReplyAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sentWith []string
		s := &script{
			caps:   Capabilities{Ordered: true}, // no StableReply
			listen: func(n int, _ Subscription) (string, error) { return fmt.Sprint("given", n), nil },
		}
		s.send = func(_ *scriptConn, _ Address, m Message) (error, []error) {
			e := decodePlain(t, m)
			sentWith = append(sentWith, e.ReplyTo)
			if len(sentWith) == 1 { // the listener moves meanwhile
				s.listener().c.cut()
				elapse(10 * time.Second)
				return ErrNotSent, nil
			}
			go s.listener().deliver(reply(e, "done"))
			return nil, []error{nil}
		}
		tr := s.open(t, "script://", nil)
		if _, err := tr.Request(within(t, time.Minute), topic, &Envelope{}, nil); err != nil {
			t.Fatal(err)
		}
		if len(sentWith) != 2 || sentWith[0] == sentWith[1] {
			t.Errorf("sent with reply addresses %q", sentWith)
		}
	})
}

// A reply address that goes with its connection takes the calls with it, whether or
// not another connection can be had.
func TestReplyAddressIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		s := &script{
			caps: Capabilities{Ordered: true}, // no StableReply
			dial: func(int, Endpoint) error {
				if down.Load() {
					return ErrConnect
				}
				return nil
			},
			send: func(*scriptConn, Address, Message) (error, []error) { return nil, []error{nil} },
		}
		tr := s.open(t, "script://", nil)
		time.AfterFunc(time.Second, func() {
			down.Store(true)
			s.listener().c.cut()
		})
		began := time.Now()
		_, err := tr.Request(within(t, time.Minute), topic, &Envelope{}, nil)
		wantIs(t, err, ErrReplyLost)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the call knew it after %v", took)
		}
	})
}

// A burst of heartbeats must not take the room of the reply.
func TestHeartbeatsLeaveRoomForTheReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := answering(func(s *script, _ *scriptConn, e Envelope) {
			for range 50 {
				s.listener().deliver(&Envelope{CallID: e.CallID})
			}
			s.listener().deliver(reply(e, "done"))
		})
		tr := s.open(t, "script://", nil)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := tr.Request(within(t, time.Minute), topic, &Envelope{Monitor: time.Second}, nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

func TestReplyListenerLost(t *testing.T) {
	for _, stable := range []bool{true, false} {
		t.Run(fmt.Sprintf("stable=%v", stable), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := answering(func(*script, *scriptConn, Envelope) {})
				s.listen = func(n int, sub Subscription) (string, error) {
					if stable {
						return sub.Reply, nil
					}
					return fmt.Sprint("given", n), nil
				}
				tr := s.open(t, "script://", nil)
				time.AfterFunc(time.Second, func() {
					first := s.listener()
					first.c.cut()
					if stable {
						elapse(time.Minute)
						e := decodePlain(t, s.sender().sent[0])
						s.listener().deliver(reply(e, "after"))
					}
				})
				r, err := tr.Request(within(t, time.Hour), topic, &Envelope{}, nil)
				if stable && (err != nil || string(r.Body) != "after") {
					t.Errorf("the reply came over the next connection, but got %v, %v", r, err)
				}
				if !stable {
					wantIs(t, err, ErrReplyLost)
				}
			})
		})
	}
}

func TestCloseEndsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := answering(func(*script, *scriptConn, Envelope) {}).open(t, "script://", nil)
		time.AfterFunc(time.Second, func() { _ = tr.Close(context.WithoutCancel(t.Context())) })
		_, err := tr.Request(within(t, time.Hour), topic, &Envelope{}, nil)
		wantIs(t, err, ErrClosed)
	})
}

func TestRequestWhileTheReplyListenerCannotOpen(t *testing.T) {
	for name, shares := range map[string]bool{"a connection each": false, "shared connection": true} {
		t.Run(name, func(t *testing.T) {
			refused := errors.New("connection refused")
			for _, tt := range []struct {
				dial error
				want []error
			}{
				{refused, []error{ErrNotSent, ErrConnect, context.DeadlineExceeded, refused}},
				{ErrAuth, []error{ErrNotSent, ErrAuth}},
			} {
				t.Run(tt.dial.Error(), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						s := &script{shares: shares, dial: func(int, Endpoint) error { return fmt.Errorf("%w: %w", ErrConnect, tt.dial) }}
						tr := s.open(t, "script://host", nil)
						_, err := tr.Request(within(t, 5*time.Second), topic, &Envelope{}, nil)
						wantIs(t, err, tt.want...)
					})
				})
			}
		})
	}
}

// A call that waits for its reply listener to come back says, as one that waits for
// its first connection does, why there is none.
func TestRequestWhileTheReplyListenerIsAway(t *testing.T) {
	for name, shares := range map[string]bool{"a connection each": false, "shared connection": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var down atomic.Bool
				refused := errors.New("connection refused")
				s := answering(func(s *script, _ *scriptConn, e Envelope) { s.listener().deliver(reply(e, "done")) })
				s.shares = shares
				s.dial = func(int, Endpoint) error {
					if down.Load() {
						return fmt.Errorf("%w: %w", ErrConnect, refused)
					}
					return nil
				}
				tr := s.open(t, "script://host", nil)
				if _, err := tr.Request(within(t, time.Minute), topic, &Envelope{}, nil); err != nil {
					t.Fatal(err)
				}
				down.Store(true)
				for i := range s.dialled() {
					s.conn(i).cut()
				}
				synctest.Wait()
				_, err := tr.Request(within(t, 5*time.Second), topic, &Envelope{}, nil)
				wantIs(t, err, ErrNotSent, ErrConnect, context.DeadlineExceeded, refused)
			})
		})
	}
}

func TestReplyToAnAddressThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		comesBack := 1000
		s := &script{send: func(_ *scriptConn, to Address, m Message) (error, []error) {
			if to.Direct == "" || !m.Mandatory {
				t.Errorf("reply went to %v, mandatory %v", to, m.Mandatory)
			}
			tries++
			if tries >= comesBack {
				return nil, []error{nil}
			}
			return nil, []error{ErrNoRoute}
		}}
		tr := s.open(t, "script://", nil)
		st, err := tr.Listen(t.Context(), Subscription{Sources: []Address{topic}})
		if err != nil {
			t.Fatal(err)
		}
		poll := func(id string) *Incoming {
			s.listener().deliver(&Envelope{ID: id, CallID: id, ReplyTo: "reply_x"})
			in, err := st.Poll(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return in
		}
		comesBack = 3
		if err := tr.Reply(t.Context(), poll("1"), &Envelope{Final: true}); err != nil {
			t.Errorf("the caller came back, but %v", err)
		}
		comesBack, tries = 1<<30, 0
		began := time.Now()
		wantIs(t, tr.Reply(t.Context(), poll("2"), &Envelope{Final: true}), ErrReplyRefused, ErrNoRoute)
		if took := time.Since(began); took < 8*time.Second || took > 10*time.Second {
			t.Errorf("tried for %v, want about the reply window of 10s", took)
		}
		tries, began = 0, time.Now()
		wantIs(t, tr.Reply(t.Context(), poll("3"), &Envelope{Final: true}), ErrReplyRefused)
		if tries != 1 || time.Since(began) != 0 {
			t.Errorf("tried %d times in %v although the address is known to be gone", tries, time.Since(began))
		}
		comesBack = 0
		if err := tr.Reply(t.Context(), poll("4"), &Envelope{Final: true}); err != nil {
			t.Errorf("the caller is back and calls again, but %v", err)
		}
	})
}

// A reply whose connection was lost on the way is sent again: the caller waits
// for it, and takes one only.
func TestReplyIsSentAgainWhenItsOutcomeIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sends := 0
		s := &script{send: func(c *scriptConn, _ Address, _ Message) (error, []error) {
			if sends++; sends == 1 {
				go c.cut()
				return nil, nil // pending, until the cut
			}
			return nil, []error{nil}
		}}
		tr := s.open(t, "script://", nil)
		st := listen(t, tr)
		s.listener().deliver(&Envelope{ID: "1", CallID: "1", ReplyTo: "reply_x"})
		in, err := st.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.Reply(within(t, time.Minute), in, &Envelope{Final: true}); err != nil || sends != 2 {
			t.Errorf("%d sends, error %v; want 2 and none", sends, err)
		}
	})
}
