package conformance

import (
	"fmt"
	"slices"

	"github.com/patchbay-go/patchbay/messaging"
)

func fanoutMemberCases() []Case {
	return group("fanout",
		must("fanout_excludes_left_member", "A server that left and comes back is new: what was told meanwhile is not for it.", fanoutLeft),
		must("fanout_new_member_after_ready", "A server that says it is ready hears the very next fanout; a slow joiner misses it.", fanoutJoin),
		must("fanout_slow_member_does_not_block_others", "One server that is stuck must not keep the news from all others.", fanoutSlow),
		must("fanout_large_group", "Groups grow; a fanout to many must reach each of them, once.", fanoutLarge).within(2*caseLimit),
	)
}

func fanoutLeft(t *trial) {
	topic := t.name("topic")
	stays, leaves := t.server(topic, "stays"), t.server(topic, "leaves")
	sender := t.open()
	t.send(sender, fanoutOf(topic), "both")
	t.wait("both copies", func(l *ledger) bool { return l.copies["both"] >= 2 })
	leaves.leave()

	ks := keys("away", 5)
	t.send(sender, fanoutOf(topic), ks...)
	t.waitKeys(ks...)
	again := t.receive(leaves.tr, "again", serverOf(messaging.Target{Topic: topic, Server: "leaves"}), nil)
	late := t.open()
	t.send(late, fanoutOf(topic), "back")
	t.wait("both copies", func(l *ledger) bool { return l.copies["back"] >= 2 })
	t.fanoutFence(late, topic, 2)
	t.send(late, named(topic, "leaves"), "fence/again")
	t.waitKeys("fence/again")

	t.got("leaves", []string{"both"})
	t.got(again.who, []string{"back"})
	t.got(stays.who, slices.Concat([]string{"both", "back"}, ks))
}

func fanoutJoin(t *trial) {
	topic := t.name("topic")
	old := t.open()
	t.check(old.Connect(t.patient()), "connecting")
	const members = 8
	want := map[string][]string{}
	for i := range members {
		who := fmt.Sprintf("m%d", i)
		t.server(topic, who)
		want[who] = nil
		// At once, by a client dialled now and by one that was there before.
		for _, key := range []string{fmt.Sprintf("new/%d", i), fmt.Sprintf("old/%d", i)} {
			tr := old
			if key[:3] == "new" {
				tr = t.open()
			}
			t.reachable(tr, fanoutOf(topic), i+1)
			t.send(tr, fanoutOf(topic), key)
			for m := range want {
				want[m] = append(want[m], key)
			}
		}
	}
	total := 0
	for _, ks := range want {
		total += len(ks)
	}
	t.waitReceipts(total)
	for who, ks := range want {
		t.got(who, ks)
	}
}

func fanoutSlow(t *trial) {
	topic := t.name("topic")
	release := make(chan struct{})
	sub := serverOf(messaging.Target{Topic: topic, Server: "slow"})
	sub.Prefetch = 2
	slow := t.receive(t.open(), "slow", sub, func(in *messaging.Incoming) {
		select {
		case <-release:
			t.ack(in)
		case <-t.ctx.Done():
		}
	})
	a, b := t.server(topic, "a"), t.server(topic, "b")
	ks := keys("f", max(40, t.volume(100)))
	sender := t.open()
	t.send(sender, fanoutOf(topic), ks[0])
	t.wait("the slow member to have something in hand", func(l *ledger) bool { return l.by["slow"] >= 1 })
	t.send(sender, fanoutOf(topic), ks[1:]...)
	t.wait("the others to get everything", func(l *ledger) bool { return l.by["a"] >= len(ks) && l.by["b"] >= len(ks) })
	if n := len(t.ledger.keysOf("slow")); n > 2 {
		t.errorf("the slow member was given %d messages, more than its prefetch of 2", n)
	}
	close(release)
	t.wait("the slow one to get the rest", func(l *ledger) bool { return l.by["slow"] >= len(ks) })
	for _, m := range []*receiver{slow, a, b} {
		t.got(m.who, ks)
	}
}

func fanoutLarge(t *trial) {
	const members, hosts = 50, 5
	topic := t.name("topic")
	var trs []*messaging.Transport
	for range hosts {
		trs = append(trs, t.open())
	}
	rs := make([]*receiver, members)
	t.each(members, func(i int) {
		who := fmt.Sprintf("m%02d", i)
		rs[i] = t.receive(trs[i%hosts], who, serverOf(messaging.Target{Topic: topic, Server: who}), nil)
	})
	sender := t.open()
	ks := keys("f", 10)
	t.send(sender, fanoutOf(topic), ks...)
	t.waitReceipts(len(ks) * members)
	t.fanoutFence(sender, topic, members)
	for _, r := range rs {
		t.got(r.who, ks)
	}
	t.prove("%d members in %d processes, %d fanouts", members, hosts, len(ks))
	t.noDuplicates(trs...)
}
