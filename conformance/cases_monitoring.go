package conformance

import (
	"context"
	"errors"
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
const interval = 750 * time.Millisecond

// napping starts a server whose method "nap" takes a number of intervals.
func (t *trial) napping() (topic string) {
	topic = t.name("topic")
	ep := t.endpoint("s")
	rpc.Handle(ep, "nap", func(ctx context.Context, a struct {
		Intervals int `json:"intervals"`
	},
	) (string, error) {
		// The passing of time is what is asked for; nothing is synchronised by it.
		select {
		case <-time.After(time.Duration(a.Intervals) * t.scaled(interval)):
			return "rested", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	})
	t.serve(t.open(), messaging.Target{Topic: topic, Server: "s"}, nil, ep)
	return topic
}

func (t *trial) nap(c *rpc.Client, intervals int) {
	got, err := rpc.CallFor[string](t.ctx, c, "nap", rpc.Args{"intervals": intervals})
	if err != nil || got != "rested" {
		t.fatalf("a call of %d intervals returned %q, %v", intervals, got, err)
	}
}

func heartbeatKeeps(t *trial) {
	topic := t.napping()
	c := t.client(t.open(), topic)
	t.nap(c.Prepare(rpc.WithMonitor(t.scaled(interval))), 2)
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
	tr := t.open()
	c := t.client(tr, topic)
	t.nap(c.Prepare(rpc.WithMonitor(t.scaled(interval))), 2)
	// A second call, without heartbeats, gives those of the first time to come.
	before := tr.Stats().Received
	t.nap(c, 1)
	if n := tr.Stats().Received - before; n != 1 {
		t.errorf("the client received %d messages during a call without a monitor, want its reply alone", n)
	}
}

func heartbeatInterval(t *trial) {
	topic := t.napping()
	tr := t.open()
	c := t.client(tr, topic)
	t.echo(c, "connected")
	const intervals = 3
	before := tr.Stats().Received
	t.nap(c.Prepare(rpc.WithMonitor(t.scaled(interval))), intervals)
	beats := int(tr.Stats().Received-before) - 1
	t.prove("%d heartbeats in %d intervals", beats, intervals)
	// One every half interval; a busy machine may skip some.
	if beats < intervals-1 || beats > 2*intervals+1 {
		t.errorf("%d heartbeats came in %d intervals, want one every half of them", beats, intervals)
	}
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
