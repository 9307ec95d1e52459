package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func TestAcknowledgement(t *testing.T) {
	unsettled := func(b *bus) int {
		n := 0
		for _, q := range b.broker.Queues() {
			if strings.Contains(q.Name, `"volume"`) {
				n += q.Unsettled
			}
		}
		return n
	}
	tests := []struct {
		name string
		ack  rpc.AckMode
		want int
	}{
		{"early: before the handler", rpc.AckEarly, 0},
		{"late: after it", rpc.AckLate, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bus) {
				g := newGated()
				b.serve("s1", &rpc.ServerOptions{Ack: tt.ack}, g.Endpoint)
				outcome := b.calls(b.client(nil), "1")["1"]
				if n := unsettled(b); n != tt.want {
					t.Errorf("%d unsettled while the handler runs, want %d", n, tt.want)
				}
				close(g.release)
				if err := <-outcome; err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if n := unsettled(b); n != 0 {
					t.Errorf("%d unsettled in the end", n)
				}
			})
		})
	}
}

func TestLateAcknowledgementSurvivesTheServer(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		g := newGated()
		transport := b.open()
		s := b.serverOn(transport, "s1", &rpc.ServerOptions{Ack: rpc.AckLate}, g.Endpoint)
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.client(nil).Cast(t.Context(), "wait", rpc.Args{"Name": "x"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := transport.Close(t.Context()); err != nil { // the server dies
			t.Fatal(err)
		}
		other := newGated()
		b.serve("s2", &rpc.ServerOptions{Ack: rpc.AckLate}, other.Endpoint)
		if name := <-other.entered; name != "x" {
			t.Errorf("got %q", name)
		}
		close(g.release)
		close(other.release)
	})
}

func TestRequeue(t *testing.T) {
	tests := []struct {
		name string
		ack  rpc.AckMode
		call bool
		want int // attempts
	}{
		{"a cast, late", rpc.AckLate, false, 3},
		{"a cast, early", rpc.AckEarly, false, 1},
		{"a call, late", rpc.AckLate, true, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bus) {
				var attempts atomic.Int32
				var again atomic.Bool
				ep := &rpc.Endpoint{}
				rpc.HandleRaw(ep, "m", func(_ context.Context, r *rpc.Request) (json.RawMessage, error) {
					again.Store(r.Redelivered)
					if attempts.Add(1) < 3 {
						return nil, rpc.Requeue(errors.New("busy"))
					}
					return nil, nil
				})
				b.serve("s1", &rpc.ServerOptions{Ack: tt.ack}, ep)
				c := b.client(nil)
				if tt.call {
					if err := c.Call(t.Context(), "m", nil, nil); remote(t, err).Message != "requeue: busy" {
						t.Error(err)
					}
				} else if err := c.Cast(t.Context(), "m", nil); err != nil {
					t.Fatal(err)
				}
				<-time.After(time.Hour)
				if n := int(attempts.Load()); n != tt.want {
					t.Errorf("%d attempts, want %d", n, tt.want)
				}
				if got := again.Load(); got != (tt.want > 1) {
					t.Errorf("the last was redelivered: %v", got)
				}
			})
		})
	}
}

// Without Capabilities.Requeue nothing can be given back, so nothing that was
// taken may be left.
func TestServerWithoutRequeue(t *testing.T) {
	withoutRequeue := &tap{caps: func(c *messaging.Capabilities) { c.Requeue = false }}
	t.Run("a drain handles what waits for a worker", func(t *testing.T) {
		onNative(t, func(t *testing.T, b *bus) {
			b.tap = withoutRequeue
			g := newGated()
			s := b.serve("s1", &rpc.ServerOptions{Executor: rpc.Workers(1)}, g.Endpoint)
			outcomes := b.calls(b.client(nil), "1", "2")
			waited := make(chan error, 1)
			go func() { waited <- s.Wait(t.Context()) }()
			synctest.Wait()
			close(g.release)
			for name, outcome := range outcomes {
				if err := <-outcome; err != nil {
					t.Errorf("call %s: %v", name, err)
				}
			}
			if err := <-waited; err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("a cast that asks for it is acknowledged", func(t *testing.T) {
		onNative(t, func(t *testing.T, b *bus) {
			b.tap = withoutRequeue
			ep := &rpc.Endpoint{}
			rpc.Handle(ep, "m", func(context.Context, rpc.None) (rpc.None, error) { return rpc.None{}, rpc.Requeue(nil) })
			s := b.serve("s1", &rpc.ServerOptions{Ack: rpc.AckLate}, ep)
			if err := b.client(nil).Cast(t.Context(), "m", nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if err := s.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			for _, q := range b.broker.Queues() {
				if q.Waiting+q.Unsettled > 0 {
					t.Errorf("left in %s: %+v", q.Name, q)
				}
			}
			if got := b.log.String(); !strings.Contains(got, "cannot be given back") {
				t.Errorf("log: %s", got)
			}
		})
	})
}

// A reply whose outcome is unknown is sent again, and so is one that was not sent
// after all, whether or not a worker waits for it.
func TestReplyThatMayNotHaveArrivedIsSentAgain(t *testing.T) {
	for _, outcome := range []error{messaging.ErrOutcomeUnknown, messaging.ErrNotSent} {
		for _, ack := range []rpc.AckMode{rpc.AckEarly, rpc.AckLate} {
			onNative(t, func(t *testing.T, b *bus) {
				b.tap = &tap{lose: new(atomic.Int32), kind: messaging.KindReply, lost: outcome}
				b.tap.lose.Store(2)
				s := b.serve("s1", &rpc.ServerOptions{Ack: ack}, demo())
				if n, err := rpc.CallFor[int](t.Context(), b.client(nil), "add", addArgs{1, 2}); n != 3 || err != nil {
					t.Errorf("%v: %d, %v", outcome, n, err)
				}
				synctest.Wait()
				if n := s.Stats(); n.Running != 0 || n.RepliesLost != 0 || b.tap.lose.Load() >= 0 {
					t.Errorf("%v: %+v, left %d", outcome, n, b.tap.lose.Load())
				}
			})
		}
	}
}

// However many replies the peer does not take, few wait to be sent again.
func TestRepliesThatAreNotSentAreBounded(t *testing.T) {
	onNative(t, func(t *testing.T, b *bus) {
		b.tap = &tap{lose: new(atomic.Int32), kind: messaging.KindReply, lost: messaging.ErrNotSent}
		b.tap.lose.Store(1 << 30)
		s := b.serve("h", nil, demo())
		attacker := newStranger(b)
		for i := range 1000 {
			attacker.request(messaging.Envelope{Method: "nothing", CallID: fmt.Sprint(i), ReplyTo: "full"})
		}
		synctest.Wait()
		if n := s.Stats(); n.Running > 256 || n.RepliesLost < 1000-256 {
			t.Errorf("%+v", n)
		}
		b.tap.lose.Store(0)
		<-time.After(time.Minute)
	})
}

// A reply to an address that is not there is tried for a while, those after it once,
// whether or not a worker waits for them.
func TestReplyToARefusedAddressIsSentOnce(t *testing.T) {
	for _, ack := range []rpc.AckMode{rpc.AckEarly, rpc.AckLate} {
		onNative(t, func(t *testing.T, b *bus) {
			var sends atomic.Int64
			b.tap = &tap{gone: func() { sends.Add(1) }}
			s := b.serve("h", &rpc.ServerOptions{Ack: ack}, demo())
			attacker := newStranger(b)
			request := func(id string) (attempts int64) {
				sends.Store(0)
				attacker.request(messaging.Envelope{ID: id, CallID: id, ReplyTo: "reply_x", Method: "nothing"})
				<-time.After(time.Minute / 2) // longer than Options.ReplyWindow, shorter than it is remembered
				return sends.Load()
			}
			if n := request("1"); n < 3 {
				t.Errorf("%v: the first reply was sent %d times, want several", ack, n)
			}
			if n := request("2"); n != 1 {
				t.Errorf("%v: a reply to a refused address was sent %d times, want once", ack, n)
			}
			if n := s.Stats(); n.Running != 0 || n.RepliesLost != 2 {
				t.Errorf("%v: %+v", ack, n)
			}
		})
	}
}
