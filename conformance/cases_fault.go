package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// Cases of what becomes of sends when the link breaks.
func faultCases() []Case {
	return group("faults",
		fault("cut_idle", "Connections die at night; in the morning the first message must go through.", cutIdle),
		fault("cut_during_publish", "Under load, with connections dying, each send has one outcome, and what was accepted arrives.", cutDuringPublish),
		fault("cut_between_write_and_confirm", "A send whose answer is lost is neither accepted nor certainly not sent, and saying either would be a lie.", cutBeforeConfirm),
		fault("confirm_means_accepted", "Accepted means that the peer has it; losing the link right after must not lose the message.", confirmMeans),
		fault("blackhole_detected_by_heartbeat", "A link that passes nothing and does not end must be noticed, or everybody waits for ever.", blackhole),
		fault("blocked_publisher_respects_ctx", "A broker out of memory stops its senders; each must still end when its context does, and go on after.", blockedPublisher),
		fault("initial_connect_broker_down_then_up", "Services start before their broker does; they must find it when it comes.", downThenUp),
		fault("failover_second_host", "A second host in the URL is there for the day on which the first is gone.", failover),
	)
}

// heals ends all faults with the case.
func (t *trial) heals() {
	t.needs(t.h.Fault.Heal != nil, "Fault.Heal")
	t.cleanup(func(ctx context.Context) {
		if err := t.h.Fault.Heal(ctx); err != nil {
			t.errorf("healing: %v", err)
		}
	})
}

// cut ends all connections, and waits until these transports noticed that of each: what
// is sent over one before that is lost with it.
func (t *trial) cut(trs ...*messaging.Transport) {
	var after []uint64
	for _, tr := range trs {
		s := tr.Stats()
		cut := s.Conns
		if s.Links > 0 { // a node stays
			cut = s.Links
		}
		after = append(after, s.ConnsLost+uint64(max(1, cut))) //nolint:gosec // a few
	}
	t.check(t.h.Fault.Cut(t.patient()), "cutting all connections")
	for i, tr := range trs {
		t.until("the lost connections to be noticed", func() bool { return tr.Stats().ConnsLost >= after[i] })
	}
}

func cutIdle(t *trial) {
	t.needs(t.h.Fault.Cut != nil, "Fault.Cut")
	topic := t.name("topic")
	r := t.server(topic, "s")
	sender := t.open()
	t.send(sender, anyOf(topic), "before")
	t.waitKeys("before")
	for i := range 2 {
		t.cut(r.tr, sender)
		if !t.caps.OfflineCast {
			t.reaches(sender, anyOf(topic), "the server's topic")
		}
		t.send(sender, anyOf(topic), fmt.Sprintf("after/%d", i))
		t.send(sender, named(topic, "s"), fmt.Sprintf("named/%d", i))
		t.waitKeys(fmt.Sprintf("after/%d", i), fmt.Sprintf("named/%d", i))
	}
	t.fence(sender, topic, r)
	t.judge("after idle connections were cut", t.caps.OfflineCast)
}

func cutDuringPublish(t *trial) {
	t.needs(t.h.Fault.Cut != nil, "Fault.Cut")
	const senders, cuts = 8, 3
	topic := t.name("topic")
	r := t.server(topic, "s")
	trs := []*messaging.Transport{t.open(), t.open()}
	var accepted atomic.Int64
	var over atomic.Bool
	t.spawn(func() {
		defer over.Store(true)
		for range cuts {
			goal := accepted.Load() + 5*senders
			t.until("sends to be accepted", func() bool { return accepted.Load() >= goal })
			t.check(t.h.Fault.Cut(t.patient()), "cutting all connections")
		}
	})
	t.each(senders, func(i int) {
		for n := 0; !over.Load() && t.ctx.Err() == nil; n++ {
			t.pass(time.Millisecond)
			err := t.attempt(trs[i%len(trs)], anyOf(topic), fmt.Sprintf("under cuts %d/%d", i, n), nil)
			switch {
			case err == nil:
				accepted.Add(1)
			case !errors.Is(err, messaging.ErrOutcomeUnknown):
				t.errorf("sending while connections are cut: %v, want acceptance or ErrOutcomeUnknown", err)
				return
			}
		}
	})
	t.fence(t.open(), topic, r)
	t.judge("while connections were cut", t.caps.OfflineCast)
}

// judge checks that nothing came twice or from nowhere and, where messages wait
// for a server that lost its link, that all came which was accepted.
func (t *trial) judge(when string, wait bool) {
	var err error
	if wait {
		err = t.ledger.wait(t.patient(), func(l *ledger) bool {
			for key, f := range l.sent {
				if f == accepted && l.copies[key] == 0 {
					return false
				}
			}
			return true
		})
	}
	c := t.ledger.counts()
	t.prove("%s: %d accepted, %d unknown, of which %d arrived", when, c.Accepted, c.Unknown, c.Recovered)
	if err != nil || c.Duplicated > 0 || c.Unexpected > 0 {
		t.errorf("%s, %d messages that were accepted were lost, %d came twice, %d were never sent", when, c.Lost, c.Duplicated, c.Unexpected)
	}
}

func cutBeforeConfirm(t *trial) {
	t.needs(t.h.Fault.CutAnswer != nil, "Fault.CutAnswer")
	t.heals()
	topic := t.name("topic")
	sender := t.open()
	ready := t.server(topic, "s")
	t.send(sender, anyOf(topic), "before")
	t.waitKeys("before")
	if t.caps.OfflineCast { // else the delivery itself could be what is cut
		ready.leave()
		t.check(ready.tr.Close(t.patient()), "closing the server's transport")
	}
	// The peer may say something else first, such as a heartbeat: then the
	// message was not sent, and is sent again, or was lost on its way. So there
	// are several rounds, and one of the unknown outcomes may be such a loss.
	const rounds, enough = 6, 2
	var unknownKeys []string
	for i := 0; i < rounds && len(unknownKeys) < enough; i++ {
		key := fmt.Sprintf("answer lost/%d", i)
		t.check(t.h.Fault.CutAnswer(t.patient()), "cutting with the next answer")
		switch err := t.attempt(sender, anyOf(topic), key, nil); {
		case errors.Is(err, messaging.ErrOutcomeUnknown):
			unknownKeys = append(unknownKeys, key)
		case err != nil:
			t.errorf("sending, with the answer lost: %v, want ErrOutcomeUnknown", err)
		}
		t.check(t.h.Fault.Heal(t.patient()), "healing")
	}
	if len(unknownKeys) == 0 {
		t.errorf("%d times the answer to a send was lost with its connection, and the sender says that it was accepted", rounds)
	}
	if t.caps.OfflineCast {
		t.server(topic, "s")
		t.waitAny(unknownKeys) // the peer did have it
	}
	t.send(sender, anyOf(topic), "after")
	t.waitKeys("after")
	t.judge("with answers lost", t.caps.OfflineCast)
}

func confirmMeans(t *trial) {
	t.needs(t.h.Fault.Cut != nil, "Fault.Cut")
	const rounds, senders = 3, 10
	topic := t.name("topic")
	r := t.server(topic, "s")
	sender := t.open()
	t.check(sender.Connect(t.patient()), "connecting")
	for round := range rounds {
		t.each(senders, func(i int) {
			t.send(sender, anyOf(topic), fmt.Sprintf("round%d/%d", round, i))
		})
		t.cut(sender)
	}
	t.fence(t.open(), topic, r)
	t.judge("with a cut right after they were accepted", t.caps.OfflineCast)
}

func blackhole(t *trial) {
	t.needs(t.h.Fault.Blackhole != nil, "Fault.Blackhole")
	t.needs(t.h.Silence > 0, "Silence")
	t.heals()
	topic := t.name("topic")
	r := t.server(topic, "s")
	sender := t.open()
	t.send(sender, anyOf(topic), "before")
	t.waitKeys("before")
	start := time.Now()
	t.check(t.h.Fault.Blackhole(t.patient()), "making a black hole")
	pending := make(chan error, 1)
	limit := t.h.Silence + t.scaled(slack)
	t.spawn(func() {
		ctx, cancel := context.WithTimeout(t.ctx, limit+t.scaled(patience))
		defer cancel()
		t.ledger.attempt("swallowed")
		err := sender.Send(ctx, anyOf(topic), message("swallowed"), nil)
		t.ledger.outcome("swallowed", err)
		pending <- err
	})
	ctx, cancel := context.WithTimeout(t.ctx, limit)
	defer cancel()
	for _, tr := range []*messaging.Transport{r.tr, sender} {
		for tr.Stats().ConnsLost == 0 {
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				t.fatalf("a link that passes nothing was not noticed in %v", limit)
			}
		}
	}
	t.prove("the black hole was noticed after %v", time.Since(start).Round(100*time.Millisecond))
	t.check(t.h.Fault.Heal(t.patient()), "healing")
	select {
	case err := <-pending:
		if err != nil && !errors.Is(err, messaging.ErrOutcomeUnknown) {
			t.errorf("sending into a black hole that ended: %v, want acceptance or ErrOutcomeUnknown", err)
		}
	case <-t.patient().Done():
		t.fatalf("a send hangs after the black hole")
	}
	t.send(sender, anyOf(topic), "after")
	t.waitKeys("after")
	t.judge("around a black hole", t.caps.OfflineCast)
}

func blockedPublisher(t *trial) {
	t.needs(t.h.Fault.Block != nil, "Fault.Block")
	t.heals()
	topic := t.name("topic")
	t.server(topic, "s")
	sender := t.open()
	t.send(sender, anyOf(topic), "before")
	t.waitKeys("before")
	t.check(t.h.Fault.Block(t.within(caseLimit/2)), "blocking senders")

	// The first may reach the peer, which says only then that it takes no more.
	const attempts = 10
	held := false
	for i := 0; i < attempts && !held; i++ {
		key := fmt.Sprintf("blocked/%d", i)
		start := time.Now()
		t.ledger.attempt(key)
		err := sender.Send(t.within(moment), anyOf(topic), message(key), nil)
		t.ledger.outcome(key, err)
		t.bounds("a send while the peer blocks senders", start, t.scaled(moment))
		if !errors.Is(err, context.DeadlineExceeded) || (fateOf(err) != notSent && fateOf(err) != unknown) {
			t.fatalf("sending while the peer blocks senders: %v, want context.DeadlineExceeded with ErrNotSent or ErrOutcomeUnknown", err)
		}
		held = fateOf(err) == notSent
	}
	if !held {
		t.errorf("after %d sends the transport does not know yet that the peer blocks it", attempts)
	}
	waiting := make(chan error, 1)
	t.spawn(func() {
		ctx, cancel := context.WithTimeout(t.ctx, t.scaled(caseLimit/2))
		defer cancel()
		t.ledger.attempt("waits")
		err := sender.Send(ctx, anyOf(topic), message("waits"), nil)
		t.ledger.outcome("waits", err)
		waiting <- err
	})
	t.check(t.h.Fault.Heal(t.within(caseLimit/2)), "unblocking senders")
	select {
	case err := <-waiting:
		t.check(err, "sending, with a context that lives longer than the block")
	case <-t.patient().Done():
		t.fatalf("a send goes on waiting after the block")
	}
	t.waitKeys("waits")
	t.judge("around a block", t.caps.OfflineCast)
}

func downThenUp(t *trial) {
	t.needs(t.h.Fault.RefuseNew != nil, "Fault.RefuseNew")
	t.heals()
	topic := t.name("topic")
	server, sender := t.open(), t.open()
	t.check(t.h.Fault.RefuseNew(t.patient()), "refusing connections")
	listening := make(chan struct{})
	t.spawn(func() {
		defer close(listening)
		t.receive(server, "s", serverOf(messaging.Target{Topic: topic, Server: "s"}), nil)
	})
	connected := make(chan error, 1)
	ctx := t.patient()
	t.spawn(func() { connected <- sender.Connect(ctx) })
	for _, tr := range []*messaging.Transport{server, sender} {
		t.until("a second attempt to connect", func() bool { return tr.Stats().DialFailures > 1 })
	}
	t.check(t.h.Fault.Heal(t.patient()), "letting connections in")
	t.check(<-connected, "connecting to a peer that came up meanwhile")
	select {
	case <-listening:
	case <-t.patient().Done():
		t.fatalf("listening does not go on after the peer came up")
	}
	t.reachable(sender, anyOf(topic), 1)
	t.send(sender, anyOf(topic), "m")
	t.waitKeys("m")
}

func failover(t *trial) {
	t.needs(t.h.OpenURL != nil && t.h.Failover != "", "Failover URL")
	t.needs(t.h.Fault.Cut != nil, "Fault.Cut")
	topic := t.name("topic")
	open := func() *messaging.Transport {
		tr, err := t.h.OpenURL(t.patient(), t.h.Failover)
		t.check(err, "opening a URL of two hosts")
		t.cleanup(func(ctx context.Context) { _ = tr.Close(ctx) })
		return tr
	}
	server, sender := open(), open()
	t.receive(server, "s", serverOf(messaging.Target{Topic: topic, Server: "s"}), nil)
	t.send(sender, anyOf(topic), "first")
	t.waitKeys("first")
	t.cut(server, sender)
	t.send(sender, anyOf(topic), "second")
	t.waitKeys("second")

	// Which host comes first is random: more connect, until one met the other.
	failures := server.Stats().DialFailures + sender.Stats().DialFailures
	const most = 30
	for i := 0; failures == 0; i++ {
		if i == most {
			t.fatalf("of %d transports none tried the first host of the URL", most)
		}
		another := open()
		t.check(another.Connect(t.patient()), "connecting to one of two hosts")
		failures += another.Stats().DialFailures
	}
}
