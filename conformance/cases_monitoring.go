package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func monitoringCases() []Case {
	return group("monitoring",
		must("heartbeat_keeps_long_call", "A call may take long as long as its server lives; that is what the monitor is for.", heartbeatKeeps),
		must("heartbeat_lost_server_detected_early", "A server that went away must not cost the whole deadline.", heartbeatLost),
		must("heartbeat_stops_after_reply", "A heartbeat of a call that is over is traffic for ever.", heartbeatStops),
		must("heartbeat_interval_bounds", "Too few heartbeats lose living servers, too many are load.", heartbeatInterval),
		must("ping_endpoint", "Operators ask a server whether it lives without knowing its methods.", ping),
	)
}

// interval is the monitor time of these cases: long enough for a busy machine
// to send a heartbeat every half of it.
const interval = 1200 * time.Millisecond

// napping starts a server whose method "nap" takes a number of intervals.
func (t *trial) napping() (topic string) {
	topic = t.name("topic")
	ep := t.endpoint("s")
	rpc.Handle(ep, "nap", func(ctx context.Context, a struct {
		Intervals float64 `json:"intervals"`
	},
	) (string, error) {
		// The passing of time is what is asked for; nothing is synchronised by it.
		select {
		case <-time.After(time.Duration(a.Intervals * float64(t.scaled(interval)))):
			return "rested", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	})
	t.serve(t.open(), messaging.Target{Topic: topic, Server: "s"}, nil, ep)
	return topic
}

func (t *trial) nap(c *rpc.Client, intervals float64) error {
	got, err := rpc.CallFor[string](t.ctx, c, "nap", rpc.Args{"intervals": intervals})
	if t.heard(err) != nil || got != "rested" {
		return fmt.Errorf("a call of %v intervals returned %q, %v", intervals, got, err) //nolint:errorlint // for the report
	}
	return nil
}

// steadily makes an attempt, which opens what it needs anew, at what heartbeats must
// come in time for. One that failed while the process itself stood still, with the
// whole machine perhaps, tells nothing of the driver, and is made again.
func (t *trial) steadily(attempt func() error) {
	const attempts = 5
	for n := 1; ; n++ {
		stood, err := stoodStill(attempt)
		if err == nil {
			return
		}
		if n == attempts || stood < t.scaled(interval)/4 {
			t.fatalf("%v", err)
		}
		t.prove("the process stood still for %v, and %v", stood.Round(time.Millisecond), err)
	}
}

// stoodStill runs f, and tells the longest time for which meanwhile no goroutine of
// this process ran.
func stoodStill(f func() error) (stood time.Duration, err error) {
	const tick = 10 * time.Millisecond
	var longest time.Duration
	over, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for last, ended := time.Now(), false; !ended; {
			select {
			case <-ticker.C:
			case <-over:
				ended = true
			}
			now := time.Now()
			longest, last = max(longest, now.Sub(last)-tick), now
		}
	}()
	defer func() {
		close(over)
		<-told
		stood = longest
	}()
	return 0, f()
}

func heartbeatKeeps(t *trial) {
	topic := t.napping()
	t.steadily(func() error {
		return t.nap(t.client(t.open(), topic).Prepare(rpc.WithMonitor(t.scaled(interval))), 1.25)
	})
}

func heartbeatLost(t *trial) {
	topic := t.name("topic")
	// A server that takes the call and is never heard of again.
	s := t.listen(t.open(), serverOf(messaging.Target{Topic: topic, Server: "s"}))
	monitor := t.scaled(interval)
	call := t.callAsync(t.ctx, t.client(t.open(), topic).Prepare(rpc.WithMonitor(monitor)), "nap")
	in := t.poll(s, "s")
	t.settle(in, messaging.Ack)
	if in.Monitor <= 0 {
		t.errorf("the server is not told that the caller wants heartbeats")
	}
	r := t.await("the loss to be noticed", call)
	if !errors.Is(r.err, messaging.ErrServerLost) || errors.Is(r.err, context.DeadlineExceeded) {
		t.errorf("a call whose server went away: %v, want ErrServerLost", r.err)
	}
	if r.took < monitor || r.took > monitor+t.scaled(slack) {
		t.errorf("it was noticed after %v, want %v", r.took, monitor)
	}
}

func heartbeatStops(t *trial) {
	topic := t.napping()
	t.steadily(func() error {
		tr := t.open()
		c := t.client(tr, topic)
		if err := t.nap(c.Prepare(rpc.WithMonitor(t.scaled(interval))), 1.25); err != nil {
			return err
		}
		// A second call, without heartbeats, gives those of the first time to come.
		before := tr.Stats().Received
		t.check(t.nap(c, 0.5), "calling again")
		if n := tr.Stats().Received - before; n != 1 {
			return fmt.Errorf("the client received %d messages during a call without a monitor, want its reply alone", n)
		}
		return nil
	})
}

func heartbeatInterval(t *trial) {
	topic := t.napping()
	t.steadily(func() error {
		tr := t.open()
		c := t.client(tr, topic)
		t.echo(c, "connected")
		const intervals = 2
		before := tr.Stats().Received
		if err := t.nap(c.Prepare(rpc.WithMonitor(t.scaled(interval))), intervals); err != nil {
			return err
		}
		beats := int(tr.Stats().Received-before) - 1
		t.prove("%d heartbeats in %d intervals", beats, intervals)
		// One every half interval; a busy machine may skip some.
		if beats < intervals || beats > 2*intervals+1 {
			return fmt.Errorf("%d heartbeats came in %d intervals, want one every half of them", beats, intervals)
		}
		return nil
	})
}

func ping(t *trial) {
	topic := t.name("topic")
	t.serve(t.open(), messaging.Target{Topic: topic, Server: "with"}, &rpc.ServerOptions{Ping: true}, t.endpoint("with"))
	t.serve(t.open(), messaging.Target{Topic: topic, Server: "without"}, nil, t.endpoint("without"))
	c := t.client(t.open(), topic)
	t.check(c.Prepare(rpc.WithServer("with")).Ping(t.ctx), "pinging")
	if err := c.Prepare(rpc.WithServer("without")).Ping(t.ctx); !errors.Is(err, rpc.ErrNoSuchMethod) {
		t.errorf("pinging a server without the ping endpoint: %v, want ErrNoSuchMethod", err)
	}
}
