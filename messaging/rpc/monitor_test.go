package rpc_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

// sleeper is an endpoint whose method takes a time.
func sleeper() (*rpc.Endpoint, chan error) {
	ep := &rpc.Endpoint{}
	ended := make(chan error, 10)
	rpc.Handle(ep, "sleep", func(ctx context.Context, a struct{ Seconds float64 }) (rpc.None, error) {
		select {
		case <-time.After(time.Duration(a.Seconds * float64(time.Second))):
			return rpc.None{}, nil
		case <-ctx.Done():
			ended <- context.Cause(ctx)
			return rpc.None{}, ctx.Err()
		}
	})
	return ep, ended
}

func TestHeartbeatsKeepALongCall(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		ep, _ := sleeper()
		b.serve("s1", nil, ep)
		c := b.client(&rpc.ClientOptions{Monitor: 2 * time.Second, Timeout: time.Hour})
		if err := c.Call(t.Context(), "sleep", rpc.Args{"Seconds": 1000}, nil); err != nil {
			t.Error(err)
		}
	})
}

// A heartbeat must not wait for the connection over which the server would hear
// that its caller gave up.
func TestHeartbeatsDoNotWaitForTheReplyListener(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		ep, _ := sleeper()
		b.serve("s1", nil, ep)
		c := b.client(&rpc.ClientOptions{Monitor: 2 * time.Second, Timeout: time.Hour})
		if err := c.Prepare(rpc.WithMonitor(0)).Call(t.Context(), "sleep", rpc.Args{"Seconds": 0}, nil); err != nil {
			t.Fatal(err)
		}
		b.broker.RefuseNew(true)
		if err := c.Call(t.Context(), "sleep", rpc.Args{"Seconds": 10}, nil); err != nil {
			t.Error(err)
		}
	})
}

// A heartbeat that the broker has taken, and says nothing of yet, must not keep back
// the next one; nor must it keep the server from hearing that the caller left.
func TestHeartbeatsDoNotWaitForOutcomes(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		ep, ended := sleeper()
		b.serve("s1", nil, ep)
		c := b.client(&rpc.ClientOptions{Monitor: 2 * time.Second, Timeout: time.Hour})
		if err := c.Call(t.Context(), "sleep", rpc.Args{"Seconds": 5}, nil); err != nil {
			t.Fatal(err)
		}
		b.broker.HoldConfirms(true)
		defer b.broker.HoldConfirms(false)
		if err := c.Call(t.Context(), "sleep", rpc.Args{"Seconds": 60}, nil); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		left := time.Now().Add(5 * time.Second)
		time.AfterFunc(5*time.Second, cancel)
		wantIs(t, c.Call(ctx, "sleep", rpc.Args{"Seconds": 600}, nil), context.Canceled)
		if cause := <-ended; !errors.Is(cause, context.Canceled) || time.Since(left) > time.Second {
			t.Errorf("the handler heard after %v: %v", time.Since(left), cause)
		}
	})
}

func TestLostServerIsDetected(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		ep, _ := sleeper()
		transport := b.open()
		s := b.serverOn(transport, "s1", nil, ep)
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(10*time.Second, func() { _ = transport.Close(b.ctx()) }) // the server dies
		start := time.Now()
		c := b.client(&rpc.ClientOptions{Monitor: 4 * time.Second, Timeout: time.Hour})
		wantIs(t, c.Call(t.Context(), "sleep", rpc.Args{"Seconds": 1000}, nil), messaging.ErrServerLost)
		if took := time.Since(start); took < 12*time.Second || took > 14*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestStandstillIsNotTheServers: a process that stood still, as a virtual machine does
// that is moved, has not read the heartbeats that came meanwhile.
func TestStandstillIsNotTheServers(t *testing.T) {
	b := &bus{t: t, broker: fake.New(nil), codec: wire.Native(0), log: &logBuffer{}}
	ep, _ := sleeper()
	b.serve("s1", &rpc.ServerOptions{Executor: rpc.Workers(32)}, ep)
	c := b.client(&rpc.ClientOptions{Monitor: time.Second, Timeout: time.Minute})
	var calls sync.WaitGroup
	for range 32 { // it is chance whether a heartbeat or the end of the wait for it is seen first
		calls.Go(func() {
			if err := c.Call(t.Context(), "sleep", rpc.Args{"Seconds": 1.5}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	stop := exec.CommandContext(t.Context(), "sh", "-c", "sleep 0.3; kill -STOP $0; sleep 0.9; kill -CONT $0", strconv.Itoa(os.Getpid()))
	if out, err := stop.CombinedOutput(); err != nil {
		t.Errorf("stopping this process: %v, %s", err, out)
	}
	calls.Wait()
}

// event is a reply or a heartbeat.
type event struct {
	at    time.Duration // since the call
	final bool
}

// rawCall calls without a client, and returns every reply and heartbeat.
func (b *bus) rawCall(method, body string, monitor time.Duration) <-chan event {
	b.t.Helper()
	transport := b.open()
	replies, err := transport.Listen(b.ctx(), messaging.Subscription{Reply: "reply_raw"})
	if err != nil {
		b.t.Fatal(err)
	}
	events := make(chan event, 1000)
	start := time.Now()
	go func() {
		for {
			in, err := replies.Poll(b.ctx())
			if err != nil {
				return
			}
			events <- event{time.Since(start), in.Final}
			_ = in.Settle(b.ctx(), messaging.Ack)
		}
	}()
	e := &messaging.Envelope{Method: method, Body: []byte(body), CallID: "c1", ReplyTo: "reply_raw", Monitor: monitor}
	if err := transport.Send(b.ctx(), messaging.Address{Topic: "volume"}, e, nil); err != nil {
		b.t.Fatal(err)
	}
	return events
}

func TestHeartbeatTimes(t *testing.T) {
	tests := []struct {
		name    string
		body    string
		monitor time.Duration
		beats   int
		every   time.Duration
		reply   time.Duration
	}{
		{"one every half", `{"Seconds": 10.5}`, 2 * time.Second, 10, time.Second, 10500 * time.Millisecond},
		{"none when not asked for", `{"Seconds": 10}`, 0, 0, 0, 10 * time.Second},
		{"none for a short call", `{"Seconds": 1}`, 4 * time.Second, 0, 0, time.Second},
		{"none after a failure", `{"Minutes": 1}`, 2 * time.Second, 0, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bus) {
				ep, _ := sleeper()
				b.serve("s1", nil, ep)
				events := b.rawCall("sleep", tt.body, tt.monitor)
				<-time.After(time.Hour)
				for i := range tt.beats {
					if got, want := <-events, (event{time.Duration(i+1) * tt.every, false}); got != want {
						t.Errorf("event %d: %v, want %v", i, got, want)
					}
				}
				if got, want := <-events, (event{tt.reply, true}); got != want {
					t.Errorf("last: %v, want %v", got, want)
				}
				if n := len(events); n != 0 {
					t.Errorf("%d events after the reply", n)
				}
			})
		})
	}
}

func TestHeartbeatsAreBounded(t *testing.T) {
	onNative(t, func(t *testing.T, b *bus) {
		ep, _ := sleeper()
		b.serve("s1", nil, ep)
		events := b.rawCall("sleep", `{"Seconds": 1}`, time.Nanosecond)
		<-time.After(time.Minute)
		if n := len(events); n < 90 || n > 101 {
			t.Errorf("%d heartbeats and replies in a second", n)
		}
	})
}

func TestMonitorIsNotPassedOn(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		stream, err := b.open().Listen(t.Context(), messaging.Subscription{Sources: []messaging.Address{{Topic: "inner"}}})
		if err != nil {
			t.Fatal(err)
		}
		ep := &rpc.Endpoint{}
		inner := b.client(nil).Prepare(rpc.WithTopic("inner"), rpc.WithTimeout(10*time.Second))
		rpc.Handle(ep, "outer", func(ctx context.Context, _ rpc.None) (rpc.None, error) {
			return rpc.None{}, inner.Call(ctx, "m", nil, nil)
		})
		b.serve("s1", nil, ep)
		done := make(chan error, 1)
		go func() {
			done <- b.client(&rpc.ClientOptions{Monitor: 2 * time.Second}).Call(b.ctx(), "outer", nil, nil)
		}()
		in, err := stream.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if in.Monitor != 0 || len(in.Context) != 0 {
			t.Errorf("the nested call has monitor %v and context %v", in.Monitor, in.Context)
		}
		if r := remote(t, <-done); r.Class != "MessagingTimeout" {
			t.Errorf("the outer call failed with %+v", r)
		}
	})
}

func TestHandlerIsCancelledWhenItsCallerIsGone(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		ep, ended := sleeper()
		b.serve("s1", nil, ep)
		transport := b.open()
		c := rpc.NewClient(transport, messaging.Target{Topic: "volume"}, &rpc.ClientOptions{Monitor: 2 * time.Second, Timeout: time.Hour})
		go func() { _ = c.Call(b.ctx(), "sleep", rpc.Args{"Seconds": 3000}, nil) }()
		synctest.Wait()
		if err := transport.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if cause := <-ended; !errors.Is(cause, messaging.ErrReplyRefused) {
			t.Errorf("cause %v", cause)
		}
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// A request that was fetched before the transport was closed, and is handled
// after it, has no caller any more.
func TestHandlerIsCancelledWhenItsTransportIsClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		ep, ended := sleeper()
		release := make(chan struct{})
		rpc.Handle(ep, "hold", func(context.Context, rpc.None) (rpc.None, error) {
			<-release
			return rpc.None{}, nil
		})
		transport := b.open()
		if err := b.serverOn(transport, "s1", &rpc.ServerOptions{Executor: rpc.Workers(1)}, ep).Start(b.ctx()); err != nil {
			t.Fatal(err)
		}
		c := b.client(&rpc.ClientOptions{Monitor: 2 * time.Second})
		if err := c.Cast(b.ctx(), "hold", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		go func() { _ = c.Call(b.ctx(), "sleep", rpc.Args{"Seconds": 3000}, nil) }()
		synctest.Wait()
		if err := transport.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		close(release)
		if cause := <-ended; !errors.Is(cause, messaging.ErrClosed) {
			t.Errorf("cause %v, want one that is %q", cause, messaging.ErrClosed)
		}
	})
}

// A caller that gives up a monitored call cancels its handler, on both wires: at
// once if it has had a heartbeat, else when it gets the first.
func TestHandlerIsCancelledWithItsCaller(t *testing.T) {
	for _, tt := range []struct {
		name         string
		after, least time.Duration
	}{
		{"before the first heartbeat", 500 * time.Millisecond, 500 * time.Millisecond},
		{"between heartbeats", 3500 * time.Millisecond, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bus) {
				ep, ended := sleeper()
				b.serve("s1", nil, ep)
				transport := b.open()
				c := rpc.NewClient(transport, messaging.Target{Topic: "volume"}, &rpc.ClientOptions{Monitor: 2 * time.Second, Timeout: time.Hour})
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(tt.after, cancel)
				wantIs(t, c.Call(ctx, "sleep", rpc.Args{"Seconds": 3000}, nil), context.Canceled)
				gaveUp := time.Now()
				if cause := <-ended; !errors.Is(cause, context.Canceled) {
					t.Errorf("cause %v", cause)
				}
				if took := time.Since(gaveUp); took != tt.least {
					t.Errorf("the handler was cancelled %v after its caller gave up, want %v", took, tt.least)
				}
				synctest.Wait()
				if st := transport.Stats(); st.Calls != 0 || st.ReplyDropped > 1 {
					t.Errorf("left behind: %+v", st)
				}
			})
		})
	}
}

// A server that calls itself watches the call under the same id as it waits for.
func TestMonitoredCallToSelf(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		ep, ended := sleeper()
		transport := b.open()
		s := b.serverOn(transport, "s1", nil, ep)
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		c := rpc.NewClient(transport, messaging.Target{Topic: "volume"}, &rpc.ClientOptions{Monitor: 2 * time.Second, Timeout: time.Hour})
		if err := c.Call(t.Context(), "sleep", rpc.Args{"Seconds": 10}, nil); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		wantIs(t, c.Call(ctx, "sleep", rpc.Args{"Seconds": 3000}, nil), messaging.ErrTimeout)
		if cause := <-ended; cause == nil { // by its deadline where the wire carries it, else by its caller
			t.Error("the handler's ctx has not ended")
		}
	})
}
