package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

func castCases() []Case {
	return group("cast",
		must("cast_one", "The simplest case: one message, one server, once, as it was sent.", castOne),
		must("cast_exactly_one_of_n", "A topic is shared work: each message is handled by one of its servers, not by all.", castOneOfN),
		must("cast_spread_not_starved", "Servers are added to share the load; one that gets nothing is a server that is not there.", castSpread),
		must("cast_to_named_server_only", "A message for one server acts on what that server has; on another it does harm.", castNamed),
		must("cast_named_server_absent_no_fallback", "Named means named: a message for a server that is not there must not go to its neighbour.", castNamedAbsent),
		capability("cast_order_per_sender", "ordered", "Create, then delete: who sends in order relies on it.", castOrder, nil),
		capability("cast_before_consumer", "offline_cast", "Servers restart; what was cast meanwhile must wait for them.", castOffline, castOfflineProbe),
		capability("cast_no_consumer_mandatory", "mandatory", "A message to nobody must be an error now, not a silence.", castMandatory, castMandatoryProbe),
		must("cast_100k_concurrent_senders", "Under load, from many goroutines at once, what was accepted must arrive, once.", castMany).within(3*time.Minute),
	)
}

func castOne(t *trial) {
	topic := t.name("topic")
	s := t.listen(t.open(), serverOf(messaging.Target{Topic: topic, Server: "s"}))
	sender := t.open()
	e := message("one")
	e.Namespace, e.Version = "space", "1.7"
	want := string(e.Body)
	t.check(t.attemptEnvelope(sender, anyOf(topic), "one", e, nil), "casting")

	in := t.poll(s, "s")
	for _, f := range []struct{ what, got, want string }{
		{"kind", in.Kind.String(), messaging.KindRPC.String()},
		{"id", in.ID, e.ID},
		{"method", in.Method, method},
		{"namespace", in.Namespace, "space"},
		{"version", in.Version, "1.7"},
		{"call id", in.CallID, ""},
		{"reply address", in.ReplyTo, ""},
	} {
		if f.got != f.want {
			t.errorf("the %s is %q, want %q", f.what, f.got, f.want)
		}
	}
	if got := compact(in.Body); got != compact([]byte(want)) {
		t.errorf("the arguments are %s, want %s", got, want)
	}
	if in.ID == "" {
		t.errorf("the message has no id, so its duplicates cannot be found")
	}
	if in.Redelivered || in.Source != 0 {
		t.errorf("redelivered is %v and the source %d; it was the first delivery, from the topic", in.Redelivered, in.Source)
	}
	t.settle(in, messaging.Ack)
	t.send(sender, anyOf(topic), "fence/s")
	if next := t.poll(s, "s"); keyOf(next) != "fence/s" {
		t.errorf("after the message came %s", keyOf(next))
	}
}

func castOneOfN(t *trial) {
	topic := t.name("topic")
	a, b, c := t.server(topic, "a"), t.server(topic, "b"), t.server(topic, "c")
	sender := t.open()
	ks := keys("m", 60)
	t.send(sender, anyOf(topic), ks...)
	t.waitKeys(ks...)
	t.fence(sender, topic, a, b, c)
	t.onlyOnce(ks)
	t.noDuplicates(a.tr, b.tr, c.tr)
}

func castSpread(t *trial) {
	const members, each = 3, 40
	topic := t.name("topic")
	var held atomic.Int32
	release := make(chan struct{})
	for i := range members {
		who := fmt.Sprintf("s%d", i)
		sub := serverOf(messaging.Target{Topic: topic, Server: who})
		sub.Prefetch = 4
		t.receive(t.open(), who, sub, func(in *messaging.Incoming) {
			// The first message of each is held until all three have one: a
			// server that is never chosen makes the others wait for ever.
			if held.Add(1) == members {
				close(release)
			}
			select {
			case <-release:
			case <-t.ctx.Done():
			}
			t.ack(in)
		})
	}
	ks := keys("m", members*each)
	t.send(t.open(), anyOf(topic), ks...)
	err := t.ledger.wait(t.patient(), func(l *ledger) bool { return len(l.copies) >= len(ks) })
	shares := []int{}
	for i := range members {
		shares = append(shares, len(t.ledger.keysOf(fmt.Sprintf("s%d", i))))
	}
	t.prove("%d messages went to %d servers as %v", len(ks), members, shares)
	if slices.Min(shares) == 0 {
		t.errorf("one server got nothing: %v", shares)
	}
	t.check(err, "waiting for all messages")
}

func castNamed(t *trial) {
	topic := t.name("topic")
	a, b, c := t.server(topic, "a"), t.server(topic, "b"), t.server(topic, "c")
	sender := t.open()
	ks := keys("b", 20)
	t.send(sender, named(topic, "b"), ks...)
	t.waitKeys(ks...)
	t.fence(sender, topic, a, b, c)
	t.got("a", nil)
	t.got("b", ks)
	t.got("c", nil)
	if rs := t.ledger.receipts(ks[0]); len(rs) > 0 && rs[0].source != 1 {
		t.errorf("it came from source %d, want 1, the server's own address", rs[0].source)
	}
}

func castNamedAbsent(t *trial) {
	topic := t.name("topic")
	a, b := t.server(topic, "a"), t.server(topic, "b")
	sender := t.open()
	for _, key := range keys("absent", 10) {
		if err := t.attempt(sender, named(topic, "nobody"), key, nil); err != nil && !errors.Is(err, messaging.ErrNoRoute) {
			t.errorf("casting to a server that is not there: %v, want acceptance or ErrNoRoute", err)
		}
	}
	t.send(sender, anyOf(topic), "any/0", "any/1")
	t.waitKeys("any/0", "any/1")
	t.fence(sender, topic, a, b)
	t.copies(keys("absent", 10), 0)
}

func castOrder(t *trial) {
	const senders, each = 3, 100
	topic := t.name("topic")
	s := t.listen(t.open(), serverOf(messaging.Target{Topic: topic, Server: "s"}))
	tr := t.open()
	sent := make(chan struct{})
	t.spawn(func() {
		defer close(sent)
		t.each(senders, func(i int) {
			o := &messaging.SendOptions{OrderKey: fmt.Sprintf("order-%d", i)}
			var receipts []*messaging.Receipt
			ks := keys(fmt.Sprintf("sender%d", i), each)
			for _, key := range ks {
				t.ledger.attempt(key)
				r, err := tr.Start(t.patient(), anyOf(topic), message(key), o)
				t.check(err, "starting %s", key)
				receipts = append(receipts, r)
			}
			for n, r := range receipts {
				err := r.Wait(t.patient())
				t.ledger.outcome(ks[n], err)
				t.check(err, "waiting for the outcome of %s", ks[n])
			}
		})
	})
	next := map[string]int{}
	for range senders * each {
		in := t.poll(s, "s")
		t.settle(in, messaging.Ack)
		from, _, _ := strings.Cut(keyOf(in), "/")
		if want := fmt.Sprintf("%s/%d", from, next[from]); keyOf(in) != want {
			t.fatalf("received %s, want %s", keyOf(in), want)
		}
		next[from]++
	}
	select {
	case <-sent: // the outcomes too
	case <-t.patient().Done():
		t.fatalf("waiting for the outcomes: %v", context.Cause(t.ctx))
	}
}

// castWhileAway lets a server leave, casts to its topic and lets it come back.
// It returns whether the cast is there.
func (t *trial) castWhileAway() bool {
	topic := t.name("topic")
	target := messaging.Target{Topic: topic, Server: "s"}
	sender := t.open()
	first := t.server(topic, "s")
	t.send(sender, anyOf(topic), "first")
	t.waitKeys("first")
	first.leave()
	t.check(first.tr.Close(t.patient()), "closing the server's transport")
	if err := t.attempt(sender, anyOf(topic), "while away", nil); err != nil && !errors.Is(err, messaging.ErrNoRoute) {
		t.fatalf("casting while the server is away: %v", err)
	}
	s := t.receive(t.open(), "s", serverOf(target), nil)
	t.send(t.open(), anyOf(topic), "fence/back")
	t.waitKeys("fence/back")
	t.fence(sender, topic, s)
	return t.ledger.received("while away") == 1
}

func castOffline(t *trial) {
	if !t.castWhileAway() {
		t.errorf("what was cast while the server was away did not wait for it")
	}
}

func castOfflineProbe(t *trial) {
	if t.castWhileAway() {
		t.errorf("offline_cast is not declared, yet a cast waited for its server: declare it")
	}
}

func castMandatory(t *trial) {
	topic := t.name("topic")
	s := t.server(topic, "here")
	sender := t.open()
	mandatory := &messaging.SendOptions{Mandatory: true}
	start := time.Now()
	for what, to := range map[string]messaging.Address{
		"a topic without servers":   anyOf(t.name("nobody")),
		"a server that is not here": named(topic, "nobody"),
	} {
		key := "to " + what
		if err := t.attempt(sender, to, key, mandatory); !errors.Is(err, messaging.ErrNoRoute) {
			t.errorf("casting to %s: %v, want ErrNoRoute", what, err)
		}
	}
	t.bounds("two sends to nobody", start, 0)
	for key, to := range map[string]messaging.Address{"to any": anyOf(topic), "by name": named(topic, "here")} {
		t.check(t.attempt(sender, to, key, mandatory), "casting to a server that is there, %s", key)
	}
	t.waitKeys("to any", "by name")
	t.fence(sender, topic, s)
	if n := sender.Stats().NoRoute; n != 2 {
		t.errorf("Stats counts %d sends without a route, want 2", n)
	}
}

func castMandatoryProbe(t *trial) {
	t.unsupported(&messaging.SendOptions{Mandatory: true})
}

// unsupported checks that a send with these options is refused before anything
// is sent.
func (t *trial) unsupported(o *messaging.SendOptions) {
	topic := t.name("topic")
	s := t.server(topic, "s")
	sender := t.open()
	err := t.attempt(sender, anyOf(topic), "unsupported", o)
	if !errors.Is(err, messaging.ErrUnsupported) || fateOf(err) != notSent {
		t.errorf("sending with %+v: %v, want ErrNotSent with ErrUnsupported", *o, err)
	}
	t.fence(sender, topic, s)
	t.copies([]string{"unsupported"}, 0)
}

func castMany(t *trial) {
	const senders, servers = 50, 3
	topic := t.name("topic")
	var rs []*receiver
	for i := range servers {
		sub := serverOf(messaging.Target{Topic: topic, Server: fmt.Sprintf("s%d", i)})
		sub.Prefetch = 256
		rs = append(rs, t.receive(t.open(), fmt.Sprintf("s%d", i), sub, nil))
	}
	trs := []*messaging.Transport{t.open(), t.open()}
	each := max(1, t.volume(100_000)/senders)
	start := time.Now()
	t.each(senders, func(i int) {
		for _, key := range keys(fmt.Sprintf("sender%d", i), each) {
			t.check(t.attempt(trs[i%len(trs)], anyOf(topic), key, nil), "sending %s", key)
		}
	})
	total := senders * each
	sent := time.Since(start)
	ctx := t.within(2 * time.Minute)
	if err := t.ledger.wait(ctx, func(l *ledger) bool { return len(l.copies) >= total }); err != nil {
		t.errorf("waiting for %d messages: %v", total, err)
	}
	t.fence(trs[0], topic, rs...)
	c := t.ledger.counts()
	t.prove("%d messages by %d goroutines, accepted in %v, received in %v", total, senders, sent.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
	if c.Lost+c.Duplicated+c.Unexpected > 0 {
		t.errorf("%d messages lost, %d duplicated, %d unexpected", c.Lost, c.Duplicated, c.Unexpected)
	}
	for _, r := range rs {
		t.noDuplicates(r.tr)
	}
}
