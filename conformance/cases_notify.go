package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func notifyCases() []Case {
	return group("notifications",
		must("notify_as_sent", "Whoever listens acts on what happened, where and when: all of it must arrive as it was said.", notifyAsSent),
		must("notify_only_wanted_priorities", "Who listens to errors must get the errors, and not be woken by the rest.", notifyPriorities),
		must("notify_handled_by_one", "Listeners of one topic share the work: each notification is handled by one of them.", notifyShared),
		capability("notify_waits_for_listener", "offline_cast", "What happened before anybody listened must not be lost: publishing declares the queue.", notifyWaits, nil),
		capability("notify_pool_has_its_copy", "groups", "A pool must get everything, also what was published while its members were away, and leave everything to others.", notifyPools, nil),
		capability("notify_tap_takes_nothing", "taps", "Who only watches must not take anything from those who work, nor leave anything behind.", notifyTap, notifyTapProbe),
		must("notify_failed_is_over", "Unless it is allowed to come again, what a handler could not do must not come back for ever.", notifyFailed),
		capability("notify_requeued_comes_again", "requeue", "What a handler could not do must be tried again, not at once, and without holding up the others.", notifyRequeued, nil),
		must("notify_batch_by_size_and_time", "A batch is for throughput: it must not wait when it is full, nor for ever when it is not.", notifyBatch),
		capability("notify_failed_batch_comes_again", "requeue", "A batch that failed must come again as a whole, and nothing else with it.", notifyFailedBatch, nil),
		capability("notify_acknowledged_after_handling", "requeue", "What a listener had in hand when it died must be handled by another.", notifyInHand, nil),
		fault("notify_outlives_its_links", "Listeners and publishers lose their links; nothing that was accepted may be lost with them.", notifyCuts),
	)
}

func notifyAsSent(t *trial) {
	topic := t.name("notifications")
	got := make(chan notify.Notification, 1)
	ep := &notify.Endpoint{}
	notify.HandleRaw(ep, notify.Warn, func(_ context.Context, n *notify.Notification) error {
		got <- *n
		return nil
	})
	t.subscribeTo(topic, "s", notify.ListenerOptions{}, ep)
	sent := make(chan notify.Notification, 1)
	note := func(next notify.Invoker) notify.Invoker {
		return func(ctx context.Context, ns []*notify.Notification) error {
			sent <- *ns[0]
			return next(ctx, ns)
		}
	}
	const body = `{"id": "v-1", "size": 9007199254740993, "text": "h\u00e9llo 世界 \"}{\\", "nested": [null, {"a": [1.5, true]}], "empty": {}}`
	for _, format := range []notify.Format{notify.V1, notify.V2} {
		driver := notify.Messaging(t.open(), &notify.MessagingOptions{Topics: []string{topic}, Format: format})
		n := notify.NewNotifier("publisher.höst/1", []notify.Driver{driver}, &notify.NotifierOptions{Middleware: []notify.Middleware{note}})
		ctx := rpc.NewContext(rpc.NewContext(t.ctx, "request_id", "req-1"), "roles", []string{"reader", "é"})
		start := time.Now()
		t.check(t.heard(n.Warn(ctx, "volume.attach.end", json.RawMessage(body))), "publishing")
		want := <-sent
		select {
		case n := <-got:
			checkNotification(t, &want, &n, body, start)
		case <-t.patient().Done():
			t.fatalf("waiting for a notification: it did not come")
		}
	}
}

func notifyPriorities(t *trial) {
	topic := t.name("notifications")
	wanted := []notify.Priority{notify.Error, notify.Critical}
	var rest []notify.Priority
	for _, p := range notify.Priorities() {
		if !slices.Contains(wanted, p) {
			rest = append(rest, p)
		}
	}
	alarm := t.subscribe(topic, "alarms", notify.ListenerOptions{}, nil, wanted...)
	other := t.subscribe(topic, "rest", notify.ListenerOptions{}, nil, rest...)
	n := t.publisherOf(topic)
	var alarms, others []string
	for i := range 3 {
		for _, p := range notify.Priorities() {
			key := fmt.Sprintf("%s/%d", p, i)
			t.publish(n, p, key)
			if slices.Contains(wanted, p) {
				alarms = append(alarms, key)
			} else {
				others = append(others, key)
			}
		}
	}
	t.waitKeys(append(alarms, others...)...)
	t.fencePriorities(n, 1, notify.Priorities()...)
	t.got("alarms", alarms)
	t.got("rest", others)
	for s, want := range map[*subscriber]int{alarm: len(alarms) + len(wanted), other: len(others) + len(rest)} {
		t.until("its notifications to be counted", func() bool { return s.listener.Stats().Handled >= uint64(want) })
		if n := s.listener.Stats().Handled; n > uint64(want) { // those that it has no handler for included
			t.errorf("%s received %d notifications, want %d", s.who, n, want)
		}
	}
}

func notifyShared(t *trial) {
	topic := t.name("notifications")
	listeners := []string{"a", "b"}
	var first atomic.Int32
	both := make(chan struct{})
	for _, who := range listeners {
		held := false
		o := notify.ListenerOptions{Prefetch: 4, Executor: rpc.Blocking()}
		t.subscribe(topic, who, o, func(string) error {
			if held {
				return nil
			}
			// The first of each is held until both have one: a listener that gets
			// none makes the other wait.
			if held = true; int(first.Add(1)) == len(listeners) {
				close(both)
			}
			select {
			case <-both:
			case <-t.ctx.Done():
			}
			return nil
		}, notify.Info)
	}
	n := t.publisherOf(topic)
	ks := keys("n", 40)
	t.publish(n, notify.Info, ks...)
	err := t.ledger.wait(t.patient(), func(l *ledger) bool { return len(l.copies) >= len(ks) })
	for _, who := range listeners {
		if len(t.ledger.keysOf(who)) == 0 {
			t.errorf("listener %s got nothing of %d notifications", who, len(ks))
		}
	}
	t.check(err, "waiting for all notifications")
	t.fencePriorities(n, 1, notify.Info)
	t.onlyOnce(ks)
}

func notifyWaits(t *trial) {
	topic := t.name("notifications")
	n := t.publisherOf(topic)
	ks := keys("early", 10)
	t.publish(n, notify.Info, ks...)
	stopped := make(chan struct{})
	s := t.subscribe(topic, "s", notify.ListenerOptions{}, func(key string) error {
		if key == ks[len(ks)-1] { // in hand when the listener stops: it must be over, too
			select {
			case <-stopped:
			case <-t.ctx.Done():
			}
		}
		return nil
	}, notify.Info)
	t.waitKeys(ks...)
	t.check(s.listener.Stop(t.patient()), "stopping the listener")
	close(stopped)
	s.leave()
	away := keys("away", 10)
	t.publish(n, notify.Info, away...)
	// In order, so that the fence comes after whatever came back.
	t.subscribe(topic, "s", notify.ListenerOptions{Executor: rpc.Blocking()}, nil, notify.Info)
	t.waitKeys(away...)
	t.fencePriorities(n, 1, notify.Info)
	t.onlyOnce(append(ks, away...))
}

func notifyPools(t *trial) {
	topic := t.name("notifications")
	red := notify.ListenerOptions{Pool: t.name("red"), Prefetch: 4}
	blue := notify.ListenerOptions{Pool: t.name("blue")}
	t.subscribe(topic, "red1", red, nil, notify.Info, notify.Error)
	t.subscribe(topic, "red2", red, nil, notify.Info, notify.Error)
	b := t.subscribe(topic, "blue", blue, nil, notify.Info, notify.Error)
	t.subscribe(topic, "none", notify.ListenerOptions{}, nil, notify.Info, notify.Error)
	n := t.publisherOf(topic)
	var sent []string
	for i := range 20 {
		if i == 10 {
			t.wait("the blue pool to get all so far", func(l *ledger) bool { return l.by["blue"] >= i })
			b.leave()
		}
		key := fmt.Sprintf("n/%d", i)
		sent = append(sent, key)
		t.publish(n, []notify.Priority{notify.Info, notify.Error}[i%2], key)
	}
	if t.caps.OfflineCast { // the pool's queue waits for it
		t.subscribe(topic, "blue", blue, nil, notify.Info, notify.Error)
		t.wait("three copies of each", func(l *ledger) bool { return len(l.got) >= 3*len(sent) })
		t.fencePriorities(n, 3, notify.Info, notify.Error)
		t.copies(sent, 3)
		t.got("blue", sent)
	} else {
		t.wait("two copies of each", func(l *ledger) bool { return len(l.got)-l.by["blue"] >= 2*len(sent) })
		t.fencePriorities(n, 2, notify.Info, notify.Error)
	}
	t.got("none", sent)
	got := append(t.ledger.keysOf("red1"), t.ledger.keysOf("red2")...)
	got = slices.DeleteFunc(got, isFence)
	if len(got) != len(sent) {
		t.errorf("the two members of one pool received %d notifications, want %d: %v", len(got), len(sent), got)
	}
	if len(t.ledger.keysOf("red1")) == 0 || len(t.ledger.keysOf("red2")) == 0 {
		t.errorf("one of the two members of a pool got nothing")
	}
}

func notifyTap(t *trial) {
	topic := t.name("notifications")
	n := t.publisherOf(topic)
	t.subscribe(topic, "worker", notify.ListenerOptions{}, nil, notify.Info, notify.Error)
	t.publish(n, notify.Info, "before")
	t.waitKeys("before")
	tap := t.subscribe(topic, "tap", notify.ListenerOptions{Tap: true}, nil, notify.Info, notify.Error)
	during := keys("during", 20)
	for i, key := range during {
		t.publish(n, []notify.Priority{notify.Info, notify.Error}[i%2], key)
	}
	t.wait("both to get all", func(l *ledger) bool { return l.by["tap"] >= len(during) && l.by["worker"] > len(during) })
	tap.leave()
	t.publish(n, notify.Info, "after")
	t.waitKeys("after")
	t.subscribe(topic, "second tap", notify.ListenerOptions{Tap: true}, nil, notify.Info)
	t.fencePriorities(n, 2, notify.Info)
	t.got("tap", during)
	t.got("second tap", nil)
	t.got("worker", append(during, "before", "after"))
}

func notifyTapProbe(t *trial) {
	_, err := t.open().Listen(t.patient(), messaging.Subscription{
		Sources: []messaging.Address{{Kind: messaging.KindNotify, Topic: t.name("notifications") + ".info"}}, Tap: true,
	})
	if !errors.Is(err, messaging.ErrUnsupported) {
		t.errorf("listening as a tap: %v, want ErrUnsupported", err)
	}
}

func notifyFailed(t *trial) {
	topic := t.name("notifications")
	s := t.subscribe(topic, "s", notify.ListenerOptions{}, func(key string) error {
		switch key {
		case "fails/0":
			return errors.New("disk full")
		case "fails/1":
			return notify.ErrRequeue
		case "fails/2":
			panic("oops")
		}
		return nil
	}, notify.Info)
	n := t.publisherOf(topic)
	ks := keys("fails", 4)
	t.publish(n, notify.Info, ks...)
	t.waitKeys(ks...)
	t.until("the failures to be counted", func() bool { return s.listener.Stats().Failed == 3 })
	s.leave()
	next := t.subscribe(topic, "next", notify.ListenerOptions{}, nil, notify.Info)
	t.heardBy(n, notify.Info)
	t.fencePriorities(n, 1, notify.Info)
	t.onlyOnce(ks)
	t.noDuplicates(s.tr, next.tr)
}

func notifyRequeued(t *trial) {
	topic := t.name("notifications")
	delay := t.scaled(moment)
	tried := make(chan time.Time, 16)
	var tries atomic.Int32
	s := t.subscribe(topic, "s", notify.ListenerOptions{AllowRequeue: true, RequeueDelay: delay}, func(key string) error {
		if key != "hard" {
			return nil
		}
		tried <- time.Now()
		if tries.Add(1) < 3 {
			return errors.New("not now")
		}
		return nil
	}, notify.Info)
	n := t.publisherOf(topic)
	t.publish(n, notify.Info, "hard")
	t.waitKeys("hard")
	t.publish(n, notify.Info, "not held up") // by what waits
	t.waitKeys("not held up")
	t.wait("what was given back twice", func(l *ledger) bool { return l.copies["hard"] >= 3 })
	last := <-tried
	for i, want := range []time.Duration{delay, 2 * delay} {
		now := <-tried
		if wait := now.Sub(last); wait < want-want/20 || wait > want+t.scaled(slack) {
			t.errorf("what was given back for the %d. time came again after %v, want %v", i+1, wait, want)
		}
		last = now
	}
	t.fencePriorities(n, 1, notify.Info)
	t.copies([]string{"hard"}, 3)
	for _, r := range t.ledger.receipts("hard")[1:] {
		if !r.redelivered {
			t.errorf("what came again is not marked as redelivered: %v", r)
		}
	}
	if st := s.listener.Stats(); st.Requeued != 2 || st.Abandoned != 0 {
		t.errorf("the listener counted %+v, want 2 that were given back", st)
	}
}

func notifyInHand(t *trial) {
	topic := t.name("notifications")
	entered, release := make(chan struct{}, 8), make(chan struct{})
	dies := t.subscribe(topic, "dies", notify.ListenerOptions{Executor: rpc.Blocking(), Prefetch: 6}, func(string) error {
		entered <- struct{}{}
		select {
		case <-release:
		case <-t.ctx.Done():
		}
		return nil
	}, notify.Info)
	n := t.publisherOf(topic)
	ks := keys("n", 6)
	t.publish(n, notify.Info, ks...)
	select {
	case <-entered:
	case <-t.patient().Done():
		t.fatalf("no notification reaches the listener")
	}
	// The process ends: everything that it did not acknowledge belongs to others.
	closed := make(chan error, 1)
	t.spawn(func() { closed <- dies.tr.Close(t.within(moment)) })
	t.check(<-closed, "closing the transport of a listener")
	next := t.subscribe(topic, "next", notify.ListenerOptions{}, nil, notify.Info)
	t.wait("the next listener to get all", func(l *ledger) bool { return l.by["next"] >= len(ks) })
	close(release)
	t.heardBy(n, notify.Info)
	t.fencePriorities(n, 1, notify.Info)
	t.got("next", ks)
	next.leave()
}

func notifyCuts(t *trial) {
	t.needs(t.h.Fault.Cut != nil, "Fault.Cut")
	const rounds, each = 3, 20
	topic := t.name("notifications")
	s := t.subscribe(topic, "s", notify.ListenerOptions{}, nil, notify.Info)
	n := t.publisherOf(topic)
	t.publish(n, notify.Info, "before")
	t.waitKeys("before")
	for round := range rounds {
		ks := keys(fmt.Sprintf("round %d", round), each)
		for i, key := range ks {
			if i == each/2 {
				t.check(t.h.Fault.Cut(t.patient()), "cutting all connections")
			}
			t.ledger.attempt(key)
			err := t.heard(n.Info(t.ctx, method, payload{Key: key}))
			t.ledger.outcome(key, err)
			if err != nil && !errors.Is(err, messaging.ErrOutcomeUnknown) {
				t.errorf("publishing while connections are cut: %v, want acceptance or ErrOutcomeUnknown", err)
			}
		}
	}
	t.wait("all that was accepted", func(l *ledger) bool {
		for key, f := range l.sent {
			if f == accepted && l.copies[key] == 0 {
				return false
			}
		}
		return true
	})
	c := t.ledger.counts()
	t.prove("%d accepted, %d unknown, of which %d arrived; %d links of the listener lost", c.Accepted, c.Unknown, c.Recovered, s.tr.Stats().ConnsLost)
	if c.Duplicated > 0 || c.Unexpected > 0 {
		t.errorf("while connections were cut, %d notifications came twice, %d were never sent", c.Duplicated, c.Unexpected)
	}
}
