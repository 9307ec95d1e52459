package conformance

import (
	"errors"
	"fmt"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func fanoutCases() []Case {
	return group("fanout",
		must("fanout_all_members", "A fanout tells everybody: each server of the topic, once.", fanoutAll),
		must("fanout_no_members_ok", "A fanout to nobody is no error: servers may come and go.", fanoutNobody),
		must("fanout_per_server_once", "A server listens at three addresses at once; a fanout is one message to it, not three.", fanoutOnce),
		must("fanout_isolated_topics", "A fanout to one service must not reach another.", fanoutTopics),
		must("fanout_isolated_namespaces", "A fanout within a namespace runs that namespace's methods only.", fanoutNamespaces),
		must("fanout_call_rejected", "A call has one answer; asking everybody for it is a mistake to be told of.", fanoutCall),
	)
}

func fanoutAll(t *trial) {
	topic := t.name("topic")
	var members []*receiver
	for i := range 3 {
		members = append(members, t.server(topic, fmt.Sprintf("m%d", i)))
	}
	sender := t.open()
	ks := keys("f", 20)
	t.send(sender, fanoutOf(topic), ks...)
	t.waitReceipts(len(ks) * len(members))
	t.fanoutFence(sender, topic, len(members))
	for _, m := range members {
		t.got(m.who, ks)
		t.noDuplicates(m.tr)
	}
}

// fanoutFence sends one more fanout, waits until n members have it.
func (t *trial) fanoutFence(tr *messaging.Transport, topic string, n int) {
	key := "fence/" + t.name("fanout")
	t.send(tr, fanoutOf(topic), key)
	t.wait("a fanout to reach everybody", func(l *ledger) bool { return l.copies[key] >= n })
}

func fanoutNobody(t *trial) {
	tr := t.open()
	topic := t.name("nobody")
	t.send(tr, fanoutOf(topic), keys("f", 3)...)
	if t.caps.Mandatory { // where it is known that nobody is there, it is told
		err := t.attempt(tr, fanoutOf(topic), "mandatory", &messaging.SendOptions{Mandatory: true})
		if err != nil && !errors.Is(err, messaging.ErrNoRoute) {
			t.errorf("a mandatory fanout to nobody: %v, want ErrNoRoute or nothing", err)
		}
	}
	// None of these is an error of the next send, to the same topic or another.
	there := t.name("topic")
	s := t.server(there, "s")
	t.reachable(tr, fanoutOf(there), 1)
	t.check(t.attempt(tr, fanoutOf(there), "to somebody", &messaging.SendOptions{Mandatory: t.caps.Mandatory}), "sending to somebody")
	t.send(tr, fanoutOf(topic), "to nobody again")
	t.fence(tr, there, s)
	t.waitKeys("to somebody")
	t.got("s", []string{"to somebody"})
	if n := tr.Stats().ConnsLost; n > 0 {
		t.errorf("a fanout to nobody cost %d connections", n)
	}
}

func fanoutOnce(t *trial) {
	topic := t.name("topic")
	tr := t.open()
	// Two servers of one program, so one transport.
	a := t.receive(tr, "a", serverOf(messaging.Target{Topic: topic, Server: "a"}), nil)
	b := t.receive(tr, "b", serverOf(messaging.Target{Topic: topic, Server: "b"}), nil)
	sender := t.open()
	t.send(sender, fanoutOf(topic), "f")
	t.wait("both copies", func(l *ledger) bool { return l.copies["f"] >= 2 })
	t.fanoutFence(sender, topic, 2)
	t.fence(sender, topic, a, b)
	t.got("a", []string{"f"})
	t.got("b", []string{"f"})
	t.noDuplicates(tr)
	for _, r := range t.ledger.receipts("f") {
		if r.source != 2 {
			t.errorf("%v; a fanout comes from source 2", r)
		}
	}
}

func fanoutTopics(t *trial) {
	one, two := t.name("topic"), t.name("topic")
	a, b := t.server(one, "a"), t.server(two, "b")
	sender := t.open()
	ks := keys("f", 5)
	t.send(sender, fanoutOf(one), ks...)
	t.waitKeys(ks...)
	t.fanoutFence(sender, one, 1)
	t.fanoutFence(sender, two, 1)
	t.fence(sender, one, a)
	t.fence(sender, two, b)
	t.got("a", ks)
	t.got("b", nil)
}

func fanoutNamespaces(t *trial) {
	topic := t.name("topic")
	for i := range 2 {
		red, blue := t.endpoint(fmt.Sprintf("red%d", i)), t.endpoint(fmt.Sprintf("blue%d", i))
		red.Namespace, blue.Namespace = "red", "blue"
		t.serve(t.open(), messaging.Target{Topic: topic, Server: fmt.Sprintf("s%d", i)}, nil, red, blue)
	}
	c := t.client(t.open(), topic)
	for _, ns := range []string{"red", "blue"} {
		t.ledger.attempt(ns)
		err := c.Prepare(rpc.WithNamespace(ns)).Fanout(t.ctx, method, keyArgs{Key: ns})
		t.ledger.outcome(ns, err)
		t.check(err, "fanning out in namespace %s", ns)
	}
	t.waitReceipts(4)
	for i := range 2 {
		t.got(fmt.Sprintf("red%d", i), []string{"red"})
		t.got(fmt.Sprintf("blue%d", i), []string{"blue"})
	}
}

func fanoutCall(t *trial) {
	topic := t.name("topic")
	t.service(topic, "s")
	tr := t.open()
	c := rpc.NewClient(tr, messaging.Target{Topic: topic, Fanout: true}, &rpc.ClientOptions{Timeout: t.scaled(patience)})
	if err := c.Call(t.ctx, method, keyArgs{Key: "everybody"}, nil); !errors.Is(err, messaging.ErrInvalidTarget) {
		t.errorf("calling a fanout: %v, want ErrInvalidTarget", err)
	}
	t.echo(t.client(tr, topic), "fence")
	t.got("s", nil)
}
