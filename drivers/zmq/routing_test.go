package zmq_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/conformance/faultproxy"
	"github.com/patchbay-go/patchbay/messaging"
)

func fanoutOf(topic string) messaging.Address {
	return messaging.Target{Topic: topic, Fanout: true}.Address()
}

// member subscribes as a server of that name does, and polls nothing.
func member(t *testing.T, c messaging.Conn, name string, prefetch int) messaging.Listener {
	t.Helper()
	return listenOn(t, c, messaging.Subscription{
		Sources: messaging.Target{Topic: "work", Server: name}.ListenAddresses(), Instance: name, Prefetch: prefetch,
	})
}

func send(t *testing.T, c messaging.Conn, to messaging.Address, body string) error {
	t.Helper()
	r := make(result, 1)
	if err := c.Send(within(t, limit), to, &messaging.Message{Body: []byte(body)}, r); err != nil {
		return err
	}
	return r.wait(within(t, limit))
}

func poll(t *testing.T, l messaging.Listener) *messaging.Delivery {
	t.Helper()
	d, err := l.Poll(within(t, limit))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestFanoutToNobody: that nobody is there is an error if it is to be.
func TestFanoutToNobody(t *testing.T) {
	url := "zmq://" + freePorts(t, 1)[0] + "/"
	member(t, dial(t, url), "s", 4)
	c := dial(t, url)
	for _, tt := range []struct {
		topic     string
		mandatory bool
		want      error
	}{{"nobody's", false, nil}, {"nobody's", true, messaging.ErrNoRoute}, {"work", true, nil}} {
		r := make(result, 1)
		if err := c.Send(within(t, limit), fanoutOf(tt.topic), &messaging.Message{Mandatory: tt.mandatory}, r); err != nil {
			t.Fatal(err)
		}
		if err := r.wait(within(t, limit)); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

// TestFanoutNamesWhoFailed: a member that is lost meanwhile, and one that is too
// far behind, are named; the others have it.
func TestFanoutNamesWhoFailed(t *testing.T) {
	const backlog, prefetch = 256, 4
	bind := freePorts(t, 2)
	proxy, err := faultproxy.Listen(t.Context(), bind[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	url := "zmq://" + bind[0] + "," + proxy.Addr() + "/?heartbeat_interval=0.2&heartbeat_timeout=1&bind=" + strings.Join(bind, ",")
	good := member(t, dial(t, url), "good", 10*backlog)
	bad := member(t, dial(t, url), "bad", prefetch)
	c := dial(t, url)

	for i := range prefetch + backlog {
		if err := send(t, c, fanoutOf("work"), fmt.Sprint(i)); err != nil {
			t.Fatalf("fanout %d, which is kept for who is behind: %v", i, err)
		}
	}
	named := func(err error, outcome error) {
		t.Helper()
		var all *messaging.FanoutError
		var one *messaging.MemberError
		if !errors.As(err, &all) || !errors.As(err, &one) || all.Members != 2 || len(all.Failed) != 1 || one.Member != "bad" || !errors.Is(one.Outcome, outcome) {
			t.Errorf("%v, want a FanoutError about bad with %v", err, outcome)
		}
		if !errors.Is(err, messaging.ErrOutcomeUnknown) || errors.Is(err, messaging.ErrNotSent) {
			t.Errorf("%v must not be sent again as a whole", err)
		}
	}
	named(send(t, c, fanoutOf("work"), "too many"), messaging.ErrNotSent)
	for range prefetch + backlog + 1 {
		poll(t, good)
	}
	// It catches up, in order.
	for i := range prefetch + backlog {
		d := poll(t, bad)
		if string(d.Body) != fmt.Sprint(i) {
			t.Fatalf("it got %s as number %d", d.Body, i)
		}
		if err := d.Settle(t.Context(), messaging.Ack); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "room for the next one", func() bool { return send(t, c, fanoutOf("work"), "again") == nil })
	poll(t, bad)

	proxy.Blackhole()
	named(send(t, c, fanoutOf("work"), "lost"), messaging.ErrOutcomeUnknown)
}

// TestWaitingSends: a send for which no server has room waits under its ctx, and
// ends with the node.
func TestWaitingSends(t *testing.T) {
	url := nodesURL(t, 1, "")
	l := member(t, dial(t, url), "s", 1)
	c := dial(t, url)
	to := targetOf("work")
	if err := send(t, c, to, "first"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := c.Send(ctx, to, &messaging.Message{Body: []byte("late")}, nil)
	if !errors.Is(err, messaging.ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want ErrNotSent and context.DeadlineExceeded", err)
	}
	err = c.Send(t.Context(), to, &messaging.Message{Body: []byte("brief"), TTL: 50 * time.Millisecond}, nil)
	if !errors.Is(err, messaging.ErrNotSent) || !errors.Is(err, messaging.ErrPermanent) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want ErrNotSent, ErrPermanent and context.DeadlineExceeded: its time is over", err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- send(t, c, to, "second") }()
	if err := poll(t, l).Settle(t.Context(), messaging.Ack); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Errorf("when there was room: %v", err)
	}
	if d := poll(t, l); string(d.Body) != "second" {
		t.Errorf("received %s", d.Body)
	}
	go func() { waiting <- send(t, c, to, "never") }()
	until(t, "the send to wait, or the node to close", func() bool { return true })
	if err := c.Close(within(t, limit)); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, messaging.ErrNotSent) || !errors.Is(err, messaging.ErrClosed) {
		t.Errorf("when the node closed: %v, want ErrNotSent and ErrClosed", err)
	}
}

// TestSmallerPeer: what a server does not take is refused, and costs no link.
func TestSmallerPeer(t *testing.T) {
	url := nodesURL(t, 1, "")
	l := member(t, dial(t, url+"max_message_size=1000"), "s", 8)
	c := dial(t, url)
	err := send(t, c, targetOf("work"), strings.Repeat("x", 1001))
	if !errors.Is(err, messaging.ErrRejected) || !errors.Is(err, messaging.ErrTooLarge) {
		t.Errorf("%v, want ErrRejected and ErrTooLarge", err)
	}
	if err := send(t, c, targetOf("work"), strings.Repeat("x", 1000)); err != nil {
		t.Error(err)
	}
	if d := poll(t, l); len(d.Body) != 1000 {
		t.Errorf("received %d bytes", len(d.Body))
	}
}

// TestAtMostOnceIsNotSentAgain, and what is at least once is, to the same node when
// that is there still.
func TestSentAgain(t *testing.T) {
	for name, once := range map[string]bool{"at least once": false, "at most once": true} {
		t.Run(name, func(t *testing.T) {
			bind := freePorts(t, 1)
			proxy, err := faultproxy.Listen(t.Context(), bind[0])
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = proxy.Close() })
			url := "zmq://" + proxy.Addr() + "/?bind=" + bind[0]
			l := listenOn(t, dial(t, url), messaging.Subscription{Sources: []messaging.Address{targetOf("work")}, Prefetch: 8, AtMostOnce: once})
			c := dial(t, url)
			for _, body := range []string{"a", "b", "c"} {
				if err := send(t, c, targetOf("work"), body); err != nil {
					t.Fatal(err)
				}
			}
			first := poll(t, l)
			proxy.Cut()
			until(t, "a new link", func() bool { return send(t, c, targetOf("work"), "fence") == nil })
			if err := first.Settle(t.Context(), messaging.Ack); !errors.Is(err, messaging.ErrConnLost) {
				t.Errorf("settling what came over the lost link: %v, want %v", err, messaging.ErrConnLost)
			}
			var got []string
			for len(got) == 0 || got[len(got)-1] != "fence" {
				d := poll(t, l)
				s := string(d.Body)
				if d.Redelivered {
					s += fmt.Sprint(" again ", d.Count)
				}
				got = append(got, s)
				_ = d.Settle(t.Context(), messaging.Ack) // of the lost link too
			}
			want := []string{"b", "c", "fence"}
			if !once {
				want = []string{"b", "c", "a again 1", "b again 1", "c again 1", "fence"}
			}
			if !slices.Equal(got, want) {
				t.Errorf("received %q, want %q", got, want)
			}
		})
	}
}

// TestGivenBackCall: a call that a server gives back when nobody else is there fails at
// once, and says whether somebody may have begun it. One that another can take does not.
func TestGivenBackCall(t *testing.T) {
	for _, tt := range []struct {
		name       string
		seen, left bool
	}{{"unseen", false, false}, {"seen", true, false}, {"another is there", false, true}} {
		t.Run(tt.name, func(t *testing.T) {
			url := nodesURL(t, 2, "")
			l := member(t, dial(t, url), "s", 8)
			c := dial(t, url)
			replies := listenOn(t, c, messaging.Subscription{Reply: "r", Instance: "r", Prefetch: 8})
			r := make(result, 1)
			call := &messaging.Message{Body: []byte("a call"), ReplyTo: replies.Address(), CorrelationID: "1", Unawaited: true}
			if err := c.Send(within(t, limit), targetOf("work"), call, r); err != nil {
				t.Fatal(err)
			}
			if err := r.wait(within(t, limit)); err != nil {
				t.Fatal(err)
			}
			var in *messaging.Delivery
			if tt.seen {
				in = poll(t, l)
			}
			var other messaging.Listener
			if tt.left {
				other = member(t, dial(t, url), "other", 8)
				if err := c.(messaging.Awaiter).Await(within(t, limit), targetOf("work"), 2); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := l.Stop(within(t, limit)); err != nil {
				t.Fatal(err)
			}
			if tt.seen {
				if err := in.Settle(t.Context(), messaging.Requeue); err != nil {
					t.Fatal(err)
				}
			}
			if tt.left {
				if d := poll(t, other); string(d.Body) != "a call" {
					t.Errorf("the other got %q", d.Body)
				}
				return
			}
			lost := poll(t, replies)
			if lost.CorrelationID != "1" || lost.Lost == nil || errors.Is(lost.Lost, messaging.ErrNoRoute) == tt.seen {
				t.Errorf("call %q is lost: %v", lost.CorrelationID, lost.Lost)
			}
		})
	}
}

// TestStuckServer: a process that is stopped takes little, and does not keep work
// from the others.
func TestStuckServer(t *testing.T) {
	url := nodesURL(t, 2, "heartbeat_interval=0.5&heartbeat_timeout=3")
	stuck := start(t, role{URL: url, Topic: "work", Servers: []string{"stuck"}, Late: true})
	good := start(t, role{URL: url, Topic: "work", Servers: []string{"good"}, Late: true})
	tr := open(t, url)
	c := clientOf(tr, "work")
	await(t, tr, "work", 2)
	if err := stuck.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus // what it does before it stops counts as its own work
	if _, err := syscall.Wait4(stuck.cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("waiting for the server to stop: %v, status %v", err, status)
	}
	const senders, casts = 8, 2000
	var next, accepted, unknown atomic.Int64
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for i := next.Add(1); i <= casts; i = next.Add(1) {
				switch err := c.Cast(t.Context(), "record", keyArgs{fmt.Sprint(i)}); {
				case err == nil:
					accepted.Add(1)
				case errors.Is(err, messaging.ErrOutcomeUnknown): // the stopped one had it
					unknown.Add(1)
				default:
					t.Errorf("cast %d: %v", i, err)
				}
			}
		})
	}
	defer func() { t.Logf("%d done by the other server", good.all()) }()
	good.until(t, "the other server to do nearly all", func() bool { return good.all() >= casts-senders })
	wg.Wait()
	t.Logf("%d accepted, %d were stuck with the server", accepted.Load(), unknown.Load())
	if n := unknown.Load(); n > senders {
		t.Errorf("%d casts were given to a server that does not answer", n)
	}
}
