package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// Capabilities that belong to a pattern are proven in that pattern's group:
// ordered, requeue, mandatory, offline_cast and exchanges.
func capabilityCases() []Case {
	return group("capabilities",
		capability("durable_survives_restart", "durable", "Who asks for durability will restart the broker one day.", durable, durableProbe),
		capability("ttl_expires", "ttl", "A message that is too old to act on must not be acted on.", ttl, ttlProbe),
		capability("priority_order", "priority", "What is urgent must overtake what waits.", priority, priorityProbe),
		capability("group_shares_queue", "groups", "A pool of listeners shares the work; another pool has its own copy of it.", groups, groupsProbe),
		capability("drop_is_kept_aside", "dead_letter", "What was refused must be there for people to look at.", deadLetter, nil),
		capability("delivery_count_known", "delivery_count", "Who knows how often a message failed can stop trying.", deliveryCount, deliveryCountProbe),
		capability("reply_address_survives", "stable_reply", "A reply must find its caller after the caller's connection was replaced.", stableReply, stableReplyProbe),
	)
}

func durable(t *trial) {
	t.needs(t.h.Fault.Restart != nil, "Fault.Restart")
	topic := t.name("topic")
	target := messaging.Target{Topic: topic, Server: "s"}
	s := t.server(topic, "s")
	s.leave()
	t.check(s.tr.Close(t.patient()), "closing the server's transport")
	sender := t.open()
	ks := keys("m", 20)
	for _, key := range ks {
		t.check(t.attempt(sender, anyOf(topic), key, &messaging.SendOptions{Durable: true}), "sending %s", key)
	}
	t.check(t.h.Fault.Restart(t.within(caseLimit/2)), "restarting the peer")
	t.receive(t.open(), "s", serverOf(target), nil)
	t.waitKeys(ks...)
	t.onlyOnce(ks)
}

func durableProbe(t *trial) { t.unsupported(&messaging.SendOptions{Durable: true}) }

// occupied listens with a prefetch of one and keeps the one message, so that
// others wait at the peer until it is settled.
func (t *trial) occupied() (topic string, s *messaging.Stream, sender *messaging.Transport, inHand *messaging.Incoming) {
	topic = t.name("topic")
	sub := serverOf(messaging.Target{Topic: topic, Server: "s"})
	sub.Prefetch = 1
	s = t.listen(t.open(), sub)
	sender = t.open()
	t.send(sender, anyOf(topic), "in hand")
	return topic, s, sender, t.poll(s, "s")
}

func ttl(t *trial) {
	topic, s, sender, inHand := t.occupied()
	brief := t.scaled(moment)
	sent := make(chan struct{})
	t.spawn(func() {
		defer close(sent)
		for _, m := range []struct { // the first is the one that a peer hands out too early
			key  string
			life time.Duration
		}{{"brief", brief}, {"long", 100 * brief}, {"endless", 0}} {
			err := t.attempt(sender, anyOf(topic), m.key, &messaging.SendOptions{TTL: m.life})
			if m.key != "brief" || fateOf(err) != notSent { // it may expire here as well, while it waits for room
				t.check(err, "sending %s", m.key)
			}
		}
	})
	select {
	case <-sent:
	case <-time.After(t.scaled(moment)): // what has no room at the server may wait here
	}
	t.pass(moment + moment/2)
	t.settle(inHand, messaging.Ack)
	for range 2 {
		t.settle(t.poll(s, "s"), messaging.Ack)
	}
	t.ended("the senders", sent)
	t.send(sender, anyOf(topic), "fence/s")
	t.poll(s, "s")
	t.got("s", []string{"in hand", "long", "endless"})
}

func ttlProbe(t *trial) { t.unsupported(&messaging.SendOptions{TTL: time.Minute}) }

func priority(t *trial) {
	topic, s, sender, inHand := t.occupied()
	levels := []uint8{0, 0, 5, 5, 9, 9}
	t.rng.Shuffle(len(levels), func(i, j int) { levels[i], levels[j] = levels[j], levels[i] })
	if levels[0] == 9 { // else order of sending could look like order of priority
		i := slices.Index(levels, 0)
		levels[0], levels[i] = levels[i], levels[0]
	}
	want := []string{}
	for i, p := range levels {
		key := fmt.Sprintf("priority %d, number %d", p, i)
		want = append(want, key)
		t.check(t.attempt(sender, anyOf(topic), key, &messaging.SendOptions{Priority: p}), "sending %s", key)
	}
	t.settle(inHand, messaging.Ack)
	for range levels {
		t.settle(t.poll(s, "s"), messaging.Ack)
	}
	// Highest first, and in the order of sending within one priority.
	slices.SortStableFunc(want, func(a, b string) int { return int(b[9]) - int(a[9]) })
	if got := t.ledger.keysOf("s")[1:]; !slices.Equal(got, want) {
		t.errorf("received %q, want %q", got, want)
	}
}

func priorityProbe(t *trial) { t.unsupported(&messaging.SendOptions{Priority: 9}) }

// notification returns a notification that says key.
func notification(key string) *messaging.Envelope {
	body, err := json.Marshal(map[string]any{
		"message_id": key, "publisher_id": "conformance", "event_type": method, "priority": "INFO",
		"payload": payload{Key: key}, "timestamp": "2000-01-01 00:00:00.000000",
	})
	if err != nil {
		panic(err) // strings only
	}
	return &messaging.Envelope{Kind: messaging.KindNotify, Body: body}
}

func groups(t *trial) {
	topic := t.name("notifications")
	pools := map[string]string{"red1": t.name("red"), "blue": t.name("blue")}
	pools["red2"] = pools["red1"]
	sources := []messaging.Address{
		{Kind: messaging.KindNotify, Topic: topic + ".info"},
		{Kind: messaging.KindNotify, Topic: topic + ".error"},
	}
	var members []*receiver
	for who, pool := range pools {
		members = append(members, t.receive(t.open(), who, messaging.Subscription{Sources: sources, Group: pool, Prefetch: 16}, nil))
	}
	sender := t.open()
	var sent []string
	for i := range 20 {
		key := fmt.Sprintf("n/%d", i)
		sent = append(sent, key)
		t.check(t.attemptEnvelope(sender, sources[i%2], key, notification(key), nil), "notifying %s", key)
	}
	t.waitReceipts(2 * len(sent))
	for i := range 2 { // one more for each pool, and nothing beyond it
		key := fmt.Sprintf("fence/%d", i)
		t.check(t.attemptEnvelope(sender, sources[i], key, notification(key), nil), "notifying %s", key)
		t.wait("the fence", func(l *ledger) bool { return l.copies[key] >= 2 })
	}
	for _, m := range members {
		if n := m.leave(); n > 0 {
			t.errorf("%d messages are left for %s when each pool has got all", n, m.who)
		}
	}
	t.copies(sent, 2)
	t.got("blue", sent)
	if n := len(t.ledger.keysOf("red1")) + len(t.ledger.keysOf("red2")); n != len(sent)+2 {
		t.errorf("the two members of one pool received %d messages, want %d", n, len(sent)+2)
	}
}

func groupsProbe(t *trial) {
	_, err := t.open().Listen(t.patient(), messaging.Subscription{
		Sources: []messaging.Address{{Kind: messaging.KindNotify, Topic: t.name("notifications") + ".info"}}, Group: t.name("pool"),
	})
	if !errors.Is(err, messaging.ErrUnsupported) {
		t.errorf("listening as a group: %v, want ErrUnsupported", err)
	}
}

func deadLetter(t *trial) {
	t.needs(t.h.DeadLetters != nil, "DeadLetters")
	topic := t.name("topic")
	s := t.listen(t.open(), serverOf(messaging.Target{Topic: topic, Server: "s"}))
	sender := t.open()
	t.send(sender, anyOf(topic), "refused/0", "refused/1", "good")
	for range 3 {
		in := t.poll(s, "s")
		if keyOf(in) == "good" {
			t.settle(in, messaging.Ack)
		} else {
			t.settle(in, messaging.Drop)
		}
	}
	n := 0
	t.until("the refused messages to be kept aside", func() bool {
		var err error
		n, err = t.h.DeadLetters(t.patient(), topic)
		t.check(err, "counting what is kept aside")
		return n >= 2
	})
	if n != 2 {
		t.errorf("%d messages are kept aside, want 2", n)
	}
}

// countsOf gives a message back twice, if that is possible, and returns the
// delivery counts that its receiver saw.
func (t *trial) countsOf() []int {
	topic := t.name("topic")
	s := t.listen(t.open(), serverOf(messaging.Target{Topic: topic, Server: "s"}))
	t.send(t.open(), anyOf(topic), "m")
	var counts []int
	for i := range 3 {
		in := t.poll(s, "s")
		counts = append(counts, in.Count)
		if i == 2 || !t.caps.Requeue {
			t.settle(in, messaging.Ack)
			break
		}
		t.settle(in, messaging.Requeue)
	}
	return counts
}

func deliveryCount(t *trial) {
	counts := t.countsOf()
	for i, n := range counts {
		if n != i {
			t.errorf("the counts of a message that was given back are %v, want 0, 1, 2", counts)
			return
		}
	}
}

func deliveryCountProbe(t *trial) {
	for _, n := range t.countsOf() {
		if n != -1 {
			t.errorf("delivery_count is not declared, yet a count of %d came: declare it, or say -1", n)
			return
		}
	}
}

// wantedReply listens for replies at an address of its own choice, twice, each
// time over another connection, and reports whether both were reached at the
// address that the first one answered with.
func (t *trial) wantedReply() error {
	wanted := t.name("reply")
	sender := t.open()
	var to messaging.Address
	for i := range 2 {
		tr := t.open()
		s := t.listen(tr, messaging.Subscription{Reply: wanted, Prefetch: 16})
		if i == 0 {
			to = messaging.Address{Kind: messaging.KindReply, Direct: s.Address()}
		}
		key := fmt.Sprintf("reply/%d", i)
		e := &messaging.Envelope{Kind: messaging.KindReply, CallID: key, Final: true, Body: messageWith(payload{Key: key}).Body}
		if err := t.attemptEnvelope(sender, to, key, e, nil); err != nil {
			return fmt.Errorf("sending to the address: %w", err)
		}
		in, err := s.Poll(t.within(2 * moment))
		if err != nil {
			return fmt.Errorf("polling at the address: %w", err)
		}
		t.arrived("caller", in)
		t.settle(in, messaging.Ack)
		if in.CallID != key {
			return fmt.Errorf("the reply to %s arrived as one to %s", key, in.CallID)
		}
		t.check(s.Close(t.patient()), "closing")
		t.check(tr.Close(t.patient()), "closing the connection")
	}
	return nil
}

func stableReply(t *trial) {
	t.check(t.wantedReply(), "using a reply address again")
}

func stableReplyProbe(t *trial) {
	if t.wantedReply() == nil {
		t.errorf("stable_reply is not declared, yet a reply address worked over two connections: declare it")
	}
}
