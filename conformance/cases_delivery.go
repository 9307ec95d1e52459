package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// Cases of what becomes of a message beyond its first delivery, or without one.
func deliveryCases() []Case {
	return group("delivery options",
		capability("mandatory_unroutable_typed", "mandatory", "Under load, the news that nobody listens must reach the send that it is about, and no other.", mandatoryMixed, nil),
		capability("delay_not_early", "requeue", "What a handler gave back must wait, or a server that cannot do it spins.", delayNotEarly, nil),
		capability("poison_to_dead_letter_after_n", "requeue", "A message that nobody can handle must not be tried for ever, nor stop the others.", poison, nil),
	)
}

func mandatoryMixed(t *trial) {
	topic, nobody := t.name("topic"), t.name("nobody")
	r := t.server(topic, "s")
	sender := t.open()
	t.check(sender.Connect(t.patient()), "connecting")
	const n = 64
	o := &messaging.SendOptions{Mandatory: true}
	t.each(n, func(i int) {
		to, key := anyOf(topic), fmt.Sprintf("routable/%d", i)
		if i%2 == 1 {
			to, key = anyOf(nobody), fmt.Sprintf("unroutable/%d", i)
		}
		err := t.attempt(sender, to, key, o)
		switch unroutable := errors.Is(err, messaging.ErrNoRoute); {
		case i%2 == 1 && !unroutable:
			t.errorf("sending to nobody among %d: %v, want ErrNoRoute", n, err)
		case i%2 == 0 && err != nil:
			t.errorf("sending to a server among %d: %v", n, err)
		}
	})
	t.fence(sender, topic, r)
	t.judge("among unroutable ones", true)
}

// refusal is a method that gives back what it gets.
type refusal struct {
	mu    sync.Mutex
	tried []time.Time
	again chan struct{}
}

// refuse adds to an endpoint the method "refuse", which gives back the first n.
func (t *trial) refuse(ep *rpc.Endpoint, n int) *refusal {
	r := &refusal{again: make(chan struct{}, 64)}
	rpc.Handle(ep, "refuse", func(_ context.Context, a keyArgs) (rpc.None, error) {
		t.ledger.receive(receipt{key: a.Key, who: "s", count: -1})
		r.mu.Lock()
		defer r.mu.Unlock()
		r.tried = append(r.tried, time.Now())
		r.again <- struct{}{}
		if len(r.tried) > n {
			return rpc.None{}, nil
		}
		return rpc.None{}, rpc.Requeue(errors.New("not now"))
	})
	return r
}

// waitFor waits until the method was called n times more.
func (r *refusal) waitFor(t *trial, n int) {
	ctx := t.patient()
	for range n {
		select {
		case <-r.again:
		case <-ctx.Done():
			t.fatalf("waiting for what was given back: %v", context.Cause(ctx))
		}
	}
}

func delayNotEarly(t *trial) {
	topic := t.name("topic")
	ep := t.endpoint("s")
	r := t.refuse(ep, 2)
	delay := t.scaled(moment)
	t.serve(t.open(), messaging.Target{Topic: topic, Server: "s"}, &rpc.ServerOptions{Ack: rpc.AckLate, RequeueDelay: delay}, ep)
	c := t.client(t.open(), topic)
	t.ledger.attempt("given back")
	err := t.heard(c.Cast(t.ctx, "refuse", keyArgs{Key: "given back"}))
	t.ledger.outcome("given back", err)
	t.check(err, "casting")
	r.waitFor(t, 1)
	t.record(c, "not held up") // by what waits
	t.waitKeys("not held up")
	r.waitFor(t, 2)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, want := range []time.Duration{delay, 2 * delay} {
		wait := r.tried[i+1].Sub(r.tried[i])
		if wait < want-want/20 || wait > want+t.scaled(slack) {
			t.errorf("what was given back for the %d. time came again after %v, want %v", i+1, wait, want)
		}
	}
}

func poison(t *trial) {
	const attempts = 3
	topic := t.name("topic")
	ep := t.endpoint("s")
	r := t.refuse(ep, 100*attempts)
	server := t.serve(t.open(), messaging.Target{Topic: topic, Server: "s"},
		&rpc.ServerOptions{Ack: rpc.AckLate, RequeueDelay: time.Millisecond, MaxAttempts: attempts}, ep)
	caller := t.open()
	c := t.client(caller, topic)
	t.ledger.attempt("poison")
	err := t.heard(c.Cast(t.ctx, "refuse", keyArgs{Key: "poison"}))
	t.ledger.outcome("poison", err)
	t.check(err, "casting")
	r.waitFor(t, attempts)
	t.until("the server to drop it", func() bool { return server.Stats().Abandoned == 1 })
	if t.h.DeadLetters != nil && t.caps.DeadLetter {
		t.until("it to be kept aside", func() bool {
			n, err := t.h.DeadLetters(t.patient(), topic)
			t.check(err, "counting what is kept aside")
			return n == 1
		})
	}
	// Nothing is left of it for the next server either.
	t.check(server.Stop(t.patient()), "stopping")
	t.check(server.Wait(t.patient()), "waiting")
	other := t.endpoint("other")
	t.refuse(other, 0)
	t.serve(t.open(), messaging.Target{Topic: topic, Server: "other"}, nil, other)
	t.reachable(caller, anyOf(topic), 1)
	t.record(c, "fence/other")
	t.waitKeys("fence/other")
	t.copies([]string{"poison"}, attempts)
}
