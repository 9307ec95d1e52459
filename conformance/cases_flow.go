package conformance

import (
	"errors"
	"fmt"

	"github.com/patchbay-go/patchbay/messaging"
)

func flowCases() []Case {
	return group("flow",
		must("prefetch_bounds_unacked", "A busy server must not hold work that an idle one could do.", prefetchBounds),
		must("backpressure_bounds_memory", "A server that does not keep up must not collect the queue in its memory.", backpressure),
		capability("nack_requeues", "requeue", "A server that cannot do it now gives it back, and it is done by another.", nackRequeues, nackProbe),
		must("nack_never_loops_hot", "A message that was refused for good must not come back, and one given back comes once for each time.", nackNeverLoops),
	)
}

func prefetchBounds(t *trial) {
	const prefetch, total = 4, 20
	topic := t.name("topic")
	sub := serverOf(messaging.Target{Topic: topic, Server: "busy"})
	sub.Prefetch = prefetch
	busy := t.listen(t.open(), sub)
	sender := t.open()
	ks := keys("m", total)
	sent := make(chan struct{})
	t.spawn(func() { // what has no room there may wait here
		defer close(sent)
		t.send(sender, anyOf(topic), ks...)
	})
	var inHand []*messaging.Incoming
	for range prefetch {
		inHand = append(inHand, t.poll(busy, "busy"))
	}
	// All that is left goes to a second server, so nothing else is on its way
	// to the first.
	idle := t.server(topic, "idle")
	t.reachable(sender, named(topic, "idle"), 1)
	t.wait(fmt.Sprintf("the other %d messages to reach the idle server", total-prefetch),
		func(l *ledger) bool { return l.by["idle"] >= total-prefetch })
	t.ended("the sender", sent)
	t.fence(sender, topic, idle)
	t.onlyOnce(ks)
	for _, in := range inHand {
		t.settle(in, messaging.Ack)
	}
	t.send(sender, named(topic, "busy"), "room again")
	if in := t.poll(busy, "busy"); keyOf(in) != "room again" {
		t.errorf("the busy server received %s beyond its prefetch", keyOf(in))
	}
}

func backpressure(t *trial) {
	const prefetch = 8
	topic := t.name("topic")
	sub := serverOf(messaging.Target{Topic: topic, Server: "stuck"})
	sub.Prefetch = prefetch
	stuck := t.listen(t.open(), sub) // and never polled
	sender := t.open()
	sent := []string{}
	for _, key := range keys("m", max(100, t.volume(500))) {
		if err := t.attemptFor(slack, sender, anyOf(topic), key, message(key), nil); err != nil {
			if !errors.Is(err, messaging.ErrNotSent) && !errors.Is(err, messaging.ErrRejected) {
				t.errorf("sending to a server that is stuck: %v, want acceptance, ErrNotSent or ErrRejected", err)
			}
			t.prove("the sender was held back after %d messages", len(sent))
			break
		}
		sent = append(sent, key)
	}
	t.server(topic, "idle")
	t.reachable(sender, named(topic, "idle"), 1)
	t.wait("the idle server to get all but what was prefetched",
		func(l *ledger) bool { return l.by["idle"] >= len(sent)-prefetch })
	held, err := stuck.Stop(t.patient())
	t.check(err, "stopping the stuck server")
	t.prove("of %d messages, %d were held by the server that is stuck", len(sent), held)
	if held > prefetch {
		t.errorf("the stuck server held %d messages, more than its prefetch of %d", held, prefetch)
	}
	t.waitKeys(sent...)
	t.got("idle", sent)
}

func nackRequeues(t *trial) {
	topic := t.name("topic")
	first := t.listen(t.open(), serverOf(messaging.Target{Topic: topic, Server: "first"}))
	sender := t.open()
	t.send(sender, anyOf(topic), "m")
	t.settle(t.poll(first, "first"), messaging.Requeue)
	again := t.poll(first, "first")
	if keyOf(again) != "m" || !again.Redelivered {
		t.errorf("after it was given back came %s, redelivered %v; want m, redelivered", keyOf(again), again.Redelivered)
	}
	// Once more, and then somebody else takes it.
	_, err := first.Stop(t.patient())
	t.check(err, "stopping the first server")
	t.settle(again, messaging.Requeue)
	second := t.server(topic, "second")
	t.reachable(sender, named(topic, "second"), 1)
	t.wait("the second server to get it", func(l *ledger) bool { return l.by["second"] >= 1 })
	t.fence(sender, topic, second)
	t.got("second", []string{"m"})
}

func nackProbe(t *trial) {
	topic := t.name("topic")
	s := t.listen(t.open(), serverOf(messaging.Target{Topic: topic, Server: "s"}))
	t.send(t.open(), anyOf(topic), "m")
	if err := t.poll(s, "s").Settle(t.patient(), messaging.Requeue); !errors.Is(err, messaging.ErrUnsupported) {
		t.errorf("giving a message back: %v, want ErrUnsupported", err)
	}
}

func nackNeverLoops(t *trial) {
	topic := t.name("topic")
	tr, sender := t.open(), t.open()
	s := t.listen(tr, serverOf(messaging.Target{Topic: topic, Server: "s"}))
	t.send(sender, anyOf(topic), "refused")
	t.settle(t.poll(s, "s"), messaging.Drop)
	const times = 5
	if t.caps.Requeue {
		t.send(sender, anyOf(topic), "given back")
		for range times {
			t.settle(t.poll(s, "s"), messaging.Requeue)
		}
		t.settle(t.poll(s, "s"), messaging.Ack)
		t.copies([]string{"given back"}, times+1)
	}
	t.send(sender, anyOf(topic), "fence/s")
	if in := t.poll(s, "s"); keyOf(in) != "fence/s" {
		t.errorf("%s came back", keyOf(in))
	}
	t.copies([]string{"refused"}, 1)
	t.noDuplicates(tr)
}
