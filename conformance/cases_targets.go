package conformance

import (
	"errors"
	"strings"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func targetCases() []Case {
	return group("targets",
		capability("exchange_isolation", "exchanges", "Two deployments on one broker use the same topics in different exchanges.", exchangeIsolation, exchangeProbe),
		must("topic_isolation", "What is sent to one service must not reach another, even when one name begins with the other.", topicIsolation),
		must("namespace_isolation", "The same method in two namespaces is two methods.", namespaceIsolation),
		must("names_with_dots_slashes_unicode", "Names are the application's: host names have dots, and not everybody writes English.", names),
		must("name_too_long_typed", "A name that works on one transport works on all; one that cannot is an error before anything is sent.", nameTooLong),
		must("version_cap_enforced_client_side", "During an upgrade the cap keeps new clients from saying what old servers do not understand.", versionCap),
	)
}

// crossExchange sends to a topic in one exchange, where another exchange has
// the same topic, and returns what the server of the other one got.
func (t *trial) crossExchange() []string {
	topic := t.name("topic")
	one, two := t.name("exchange"), t.name("exchange")
	inOne := messaging.Target{Exchange: one, Topic: topic, Server: "one"}
	inTwo := messaging.Target{Exchange: two, Topic: topic, Server: "two"}
	t.receive(t.open(), "one", serverOf(inOne), nil)
	t.receive(t.open(), "two", serverOf(inTwo), nil)
	sender := t.open()
	ks := keys("m", 20)
	fanout := messaging.Target{Exchange: one, Topic: topic, Fanout: true}
	t.send(sender, messaging.Target{Exchange: one, Topic: topic}.Address(), ks...)
	t.send(sender, fanout.Address(), "fanout")
	t.waitKeys(append(ks, "fanout")...)
	t.send(sender, inOne.Address(), "fence/one")
	t.send(sender, inTwo.Address(), "fence/two")
	fanout.Exchange = two
	t.send(sender, fanout.Address(), "fence/fanout")
	t.waitKeys("fence/one", "fence/two", "fence/fanout")
	var stray []string
	for _, key := range t.ledger.keysOf("two") {
		if !isFence(key) {
			stray = append(stray, key)
		}
	}
	return stray
}

func exchangeIsolation(t *trial) {
	if stray := t.crossExchange(); len(stray) > 0 {
		t.errorf("%d messages of one exchange reached a server of another: %v", len(stray), stray)
	}
}

func exchangeProbe(t *trial) {
	if len(t.crossExchange()) == 0 {
		t.errorf("exchanges is not declared, yet the same topic in two exchanges was two topics: declare it")
	}
}

func topicIsolation(t *trial) {
	topic := t.name("topic")
	topics := []string{topic, topic + "x", topic + "_", strings.ToUpper(topic)}
	var rs []*receiver
	for _, name := range topics {
		rs = append(rs, t.receive(t.open(), name, serverOf(messaging.Target{Topic: name, Server: "s"}), nil))
	}
	sender := t.open()
	for _, name := range topics {
		t.send(sender, anyOf(name), keys("any/"+name, 5)...)
		t.send(sender, named(name, "s"), "named/"+name)
	}
	t.waitReceipts(6 * len(topics))
	for _, name := range topics {
		t.send(sender, named(name, "s"), "fence/"+name)
		t.waitKeys("fence/" + name)
	}
	for i, name := range topics {
		t.got(rs[i].who, append(keys("any/"+name, 5), "named/"+name))
	}
}

func namespaceIsolation(t *trial) {
	topic := t.name("topic")
	none, red, blue := t.endpoint("none"), t.endpoint("red"), t.endpoint("blue")
	red.Namespace, blue.Namespace, blue.LegacyNamespaces = "red", "blue", []string{"old-blue"}
	t.serve(t.open(), messaging.Target{Topic: topic, Server: "s"}, nil, none, red, blue)
	c := t.client(t.open(), topic)
	for key, ns := range map[string]string{"none": "", "red": "red", "blue": "blue", "legacy": "old-blue"} {
		t.check(c.Prepare(rpc.WithNamespace(ns)).Call(t.ctx, method, keyArgs{Key: key}, nil), "calling in namespace %q", ns)
	}
	t.got("none", []string{"none"})
	t.got("red", []string{"red"})
	t.got("blue", []string{"blue", "legacy"})
}

func names(t *trial) {
	sender := t.open()
	for _, n := range []string{
		"with.dots.in.it", "with/slashes//in/it", "with space", "Ünïcødé-日本語-😀", "a:b;c,d", "percent%20", "#*?", "_fanout", "quote\"'", `back\slash`,
	} {
		topic := t.name("t") + n
		t.server(topic, n)
		t.reachable(sender, fanoutOf(topic), 1)
		t.send(sender, anyOf(topic), "any "+n)
		t.send(sender, named(topic, n), "named "+n)
		t.send(sender, fanoutOf(topic), "fanout "+n)
		t.wait("all three", func(l *ledger) bool { return l.arrivals(n) >= 3 })
		t.got(n, []string{"any " + n, "named " + n, "fanout " + n})
	}
	for _, n := range []string{"*", "#"} { // patterns, to some brokers
		topic := t.name("t")
		pattern, other := t.server(topic, n), t.server(topic, "not"+n)
		t.reachable(sender, named(topic, n), 1)
		t.reachable(sender, named(topic, other.who), 1)
		t.send(sender, named(topic, n), "to "+n)
		t.send(sender, named(topic, other.who), "to "+other.who)
		t.fence(sender, topic, pattern, other)
		t.got(n, []string{"to " + n})
		t.got(other.who, []string{"to " + other.who})
	}
}

func nameTooLong(t *trial) {
	prefix := t.name("t")
	pad := func(n int) string { return prefix + strings.Repeat("x", n-len(prefix)) }
	longest, rest := pad(messaging.MaxName), strings.Repeat("s", messaging.MaxServerName-messaging.MaxName)
	tr := t.open()
	for what, target := range map[string]messaging.Target{
		"a topic that is too long":           {Topic: pad(messaging.MaxName + 1), Server: "s"},
		"a server that is too long":          {Topic: prefix, Server: pad(messaging.MaxName + 1)},
		"topic and server too long together": {Topic: longest, Server: rest + "s"},
		"no topic":                           {Server: "s"},
		"a control character":                {Topic: prefix + "\n", Server: "s"},
		"not UTF-8":                          {Topic: prefix + "\xff", Server: "s"},
	} {
		c := rpc.NewClient(tr, target, &rpc.ClientOptions{Timeout: t.scaled(patience)})
		if err := c.Cast(t.ctx, method, rpc.None{}); !errors.Is(err, messaging.ErrInvalidTarget) {
			t.errorf("casting to %s: %v, want ErrInvalidTarget", what, err)
		}
		s, err := rpc.NewServer(tr, target, []*rpc.Endpoint{t.endpoint("s")}, nil)
		if err == nil {
			err = s.Start(t.patient())
		}
		if !errors.Is(err, messaging.ErrInvalidTarget) {
			t.errorf("serving %s: %v, want ErrInvalidTarget", what, err)
		}
	}
	// The longest names that are possible work, for all three addresses.
	t.server(longest, rest)
	sender := t.open()
	t.send(sender, anyOf(longest), "any")
	t.send(sender, named(longest, rest), "named")
	t.send(sender, fanoutOf(longest), "fanout")
	t.waitKeys("any", "named", "fanout")
}

func versionCap(t *trial) {
	topic := t.name("topic")
	ep := t.endpoint("s")
	ep.Version = "1.9"
	t.serve(t.open(), messaging.Target{Topic: topic, Server: "s"}, nil, ep)
	tr := t.open()
	c := rpc.NewClient(tr, messaging.Target{Topic: topic, Version: "1.2"},
		&rpc.ClientOptions{Timeout: t.scaled(patience), VersionCap: "1.5"})
	for v, can := range map[string]bool{"": true, "1.0": true, "1.5": true, "1.6": false, "2.0": false} {
		if got := c.CanSendVersion(v); got != can {
			t.errorf("CanSendVersion(%q) below a cap of 1.5 is %v", v, got)
		}
	}
	above := c.Prepare(rpc.WithVersion("1.6"))
	if err := above.Call(t.ctx, method, keyArgs{Key: "call"}, nil); !errors.Is(err, rpc.ErrVersionCap) {
		t.errorf("calling version 1.6 above a cap of 1.5: %v, want ErrVersionCap", err)
	}
	if err := above.Cast(t.ctx, method, keyArgs{Key: "cast"}); !errors.Is(err, rpc.ErrVersionCap) {
		t.errorf("casting version 1.6 above a cap of 1.5: %v, want ErrVersionCap", err)
	}
	t.check(c.Prepare(rpc.WithVersion("1.5")).Call(t.ctx, method, keyArgs{Key: "at the cap"}, nil), "calling at the cap")
	t.got("s", []string{"at the cap"})
}
