package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// Cases of what receives when the link breaks: servers, and callers.
func recoveryCases() []Case {
	return group("recovery",
		fault("cut_during_call_reply_survives_or_typed", "A call whose link breaks ends once: with its own answer, or with an error that says what is known.", cutDuringCall),
		fault("listener_alive_after_recovery", "A server that came back and is deaf at one of its addresses is worse than one that is down.", listenerAlive),
		fault("running_redelivery_is_held", "A message that comes again while its handler still runs must not be handled by a second.", runningRedelivery),
	)
}

func cutDuringCall(t *trial) {
	t.needs(t.h.Fault.Cut != nil, "Fault.Cut")
	const n = 8
	topic := t.name("topic")
	ep := &rpc.Endpoint{}
	entered, release := make(chan struct{}, n), make(chan struct{})
	rpc.Handle(ep, "slow", func(_ context.Context, a keyArgs) (string, error) {
		t.ledger.receive(receipt{key: a.Key, who: "s", count: -1})
		entered <- struct{}{}
		select {
		case <-release:
		case <-t.ctx.Done():
		}
		return a.Key, nil
	})
	server, caller := t.open(), t.open()
	t.serve(server, messaging.Target{Topic: topic, Server: "s"}, nil, ep, t.endpoint("s"))
	c := t.client(caller, topic)
	t.echo(c, "connected")
	results := make([]chan result, n)
	for i := range results {
		ch := make(chan result, 1)
		results[i] = ch
		t.spawn(func() {
			key := fmt.Sprintf("call/%d", i)
			t.ledger.attempt(key)
			start := time.Now()
			v, err := rpc.CallFor[string](t.ctx, c, "slow", keyArgs{Key: key})
			ch <- result{v, t.heard(err), time.Since(start)}
		})
	}
	for range n {
		select {
		case <-entered:
		case <-t.patient().Done():
			t.fatalf("a call does not reach its handler")
		}
	}
	t.until("the requests to be accepted", func() bool { return caller.Stats().InFlight == 0 })
	t.cut(server, caller)
	close(release)
	answered := 0
	for i, ch := range results {
		r := t.await("a call whose link broke", ch)
		switch want := fmt.Sprintf("call/%d", i); {
		case r.err == nil && r.value == want:
			answered++
		case r.err == nil:
			t.errorf("%s got %q, the answer to another", want, r.value)
		case t.caps.StableReply:
			t.errorf("%s ended with %v, although its reply address survives", want, r.err)
		case !errors.Is(r.err, messaging.ErrReplyLost) && !errors.Is(r.err, messaging.ErrOutcomeUnknown) &&
			!errors.Is(r.err, messaging.ErrServerLost) && !errors.Is(r.err, messaging.ErrTimeout):
			t.errorf("%s ended with %v, which does not say what is known", want, r.err)
		}
		if most := t.scaled(patience + slack); r.took > most {
			t.errorf("a call with a deadline of %v took %v", t.scaled(patience), r.took)
		}
	}
	t.prove("%d of %d calls were answered over new connections", answered, n)
	t.copies(keys("call", n), 1)
	t.echo(c, "after")
}

func listenerAlive(t *trial) {
	t.needs(t.h.Fault.Cut != nil, "Fault.Cut")
	topic := t.name("topic")
	r := t.server(topic, "s")
	calls := t.name("calls")
	service := t.open()
	t.serve(service, messaging.Target{Topic: calls, Server: "s"}, nil, t.endpoint("s"))
	caller, sender := t.open(), t.open()
	c := t.client(caller, calls)
	t.echo(c, "before")
	t.send(sender, anyOf(topic), "before")
	t.waitKeys("before")

	for round := range 2 {
		t.cut(r.tr, service, caller, sender)
		t.reaches(sender, anyOf(topic), "topic")
		t.reaches(sender, named(topic, "s"), "name")
		t.reaches(sender, fanoutOf(topic), "fanout")
		t.echo(c, fmt.Sprintf("round %d", round))
	}
	t.fence(sender, topic, r)
	if c := t.ledger.counts(); c.Duplicated > 0 || c.Unexpected > 0 {
		t.errorf("%d messages came twice, %d were never sent", c.Duplicated, c.Unexpected)
	}
}

// reaches sends to an address until something arrives there: where messages do
// not wait for their server, the first may come before it.
func (t *trial) reaches(sender *messaging.Transport, to messaging.Address, what string) {
	t.until("the listener to receive by its "+what+" again", func() bool {
		key := t.name(what)
		t.send(sender, to, key)
		return t.ledger.wait(t.within(moment), func(l *ledger) bool { return l.copies[key] > 0 }) == nil
	})
}

func runningRedelivery(t *trial) {
	t.needs(t.h.Fault.Cut != nil, "Fault.Cut")
	if !t.caps.Requeue {
		t.skipf("the driver does not give messages again: requeue is not declared")
		return
	}
	topic := t.name("topic")
	ep := &rpc.Endpoint{}
	entered, release := make(chan struct{}, 8), make(chan struct{})
	rpc.Handle(ep, method, func(_ context.Context, a keyArgs) (rpc.None, error) {
		t.ledger.receive(receipt{key: a.Key, who: "s", count: -1})
		if a.Key == "slow" {
			entered <- struct{}{}
			select {
			case <-release:
			case <-t.ctx.Done():
			}
		}
		return rpc.None{}, nil
	})
	tr := t.open()
	target := messaging.Target{Topic: topic, Server: "s"}
	server := t.serve(tr, target, &rpc.ServerOptions{Ack: rpc.AckLate}, ep)
	caller := t.open()
	c := t.client(caller, topic)
	t.record(c, "slow")
	select {
	case <-entered:
	case <-t.patient().Done():
		t.fatalf("the cast does not reach its handler")
	}
	t.cut(tr)
	t.until("the message to come again", func() bool { return tr.Stats().Duplicates > 0 })
	close(release)
	t.check(server.Stop(t.patient()), "stopping")
	t.check(server.Wait(t.patient()), "waiting for the handler")
	// What it settled was the copy that came again: nothing is left for another.
	t.serve(t.open(), target, nil, t.endpoint("other"))
	t.reachable(caller, anyOf(topic), 1)
	t.record(c, "fence/other")
	t.waitKeys("fence/other")
	t.copies([]string{"slow"}, 1)
}
