package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func callCases() []Case {
	return group("call",
		must("call_reply", "A call returns what the server's method returned.", callReply),
		must("call_void", "A method without a result still ends its call.", callVoid),
		must("call_remote_error_typed", "Who calls must be able to tell one failure of the server from another, across languages.", callRemoteError),
		must("call_handler_panic_is_error", "A mistake in one handler must cost one call, neither the server nor the caller's time.", callPanic),
		must("call_unknown_method", "A method that is not there must be an error at once, not a timeout.", callUnknownMethod),
		must("call_unknown_namespace", "A namespace that is not there must be an error at once, not another namespace's method.", callUnknownNamespace),
		must("call_version_mismatch", "An old server must refuse what it does not know yet, and a new one what it no longer does.", callVersionMismatch),
		must("call_minor_version_compatible", "Rolling upgrades rely on a server to serve every older minor version.", callMinorVersion),
		must("call_1000_concurrent_correlated", "However many calls are under way, each gets its own answer.", callMany),
		must("call_nested_same_server_no_deadlock", "A handler may call its own service; that must not wait for itself.", callNested),
		must("call_to_self", "Client and server may share a transport.", callToSelf),
		capability("call_no_responders_fast", "mandatory", "Nobody there is another failure than nobody answers, and is known at once.", callNoResponders, callNoRespondersProbe),
	)
}

func callReply(t *trial) {
	topic := t.name("topic")
	t.service(topic, "s")
	tr := t.open()
	c := t.client(tr, topic)
	t.echo(c, "hello")
	for _, text := range []string{`"text"`, `0`, `-1.5`, `9007199254740993`, `true`, `null`, `[]`, `{}`, `{"a":[1,{"b":null}]}`} {
		var got json.RawMessage
		t.check(c.Call(t.ctx, "echo", echoArgs{Value: json.RawMessage(text)}, &got), "calling echo(%s)", text)
		if meaning(got) != meaning([]byte(text)) {
			t.errorf("echo(%s) returned %s", text, got)
		}
	}
	t.echo(c.Prepare(rpc.WithServer("s")), "by name")
	if s := tr.Stats(); s.ReplyDropped > 0 || s.Calls != 0 {
		t.errorf("%d replies were dropped and %d calls wait, after each call has got its reply", s.ReplyDropped, s.Calls)
	}
}

func callVoid(t *trial) {
	topic := t.name("topic")
	t.service(topic, "s")
	c := t.client(t.open(), topic)
	var got json.RawMessage
	t.check(c.Call(t.ctx, method, keyArgs{Key: "1"}, &got), "calling a method without a result")
	if len(got) > 0 && string(got) != "null" {
		t.errorf("the result is %s, want null", got)
	}
	t.check(c.Call(t.ctx, method, keyArgs{Key: "2"}, nil), "calling and ignoring the result")
	t.check(c.Call(t.ctx, method, keyArgs{Key: "3"}, &rpc.None{}), "calling for none")
	t.got("s", []string{"1", "2", "3"})
}

func callRemoteError(t *trial) {
	topic := t.name("topic")
	ep := t.endpoint("s")
	rpc.Handle(ep, "fail", func(context.Context, rpc.None) (rpc.None, error) {
		return rpc.None{}, rpc.NewError("builtins", "ValueError", "no such size: \u20ac \"5\"")
	})
	rpc.Handle(ep, "fail_plainly", func(context.Context, rpc.None) (rpc.None, error) {
		return rpc.None{}, fmt.Errorf("opening the valve: %w", errors.New("stuck"))
	})
	t.serve(t.open(), messaging.Target{Topic: topic, Server: "s"}, nil, ep)
	c := t.client(t.open(), topic)

	remote := t.fails(c, "fail")
	if remote.Module != "builtins" || remote.Class != "ValueError" || remote.Message != "no such size: \u20ac \"5\"" {
		t.errorf("the failure arrived as module %q, class %q, message %q", remote.Module, remote.Class, remote.Message)
	}
	remote = t.fails(c, "fail_plainly")
	if remote.Class == "" || remote.Message != "opening the valve: stuck" {
		t.errorf("a plain error arrived as class %q, message %q", remote.Class, remote.Message)
	}
	t.echo(c, "still there")
}

// fails calls a method that must fail remotely.
func (t *trial) fails(c *rpc.Client, name string) *rpc.RemoteError {
	err := c.Call(t.ctx, name, rpc.None{}, nil)
	var remote *rpc.RemoteError
	if !errors.As(err, &remote) {
		t.fatalf("calling %s: %v, want a *rpc.RemoteError", name, err)
	}
	return remote
}

func callPanic(t *trial) {
	topic := t.name("topic")
	ep := t.endpoint("s")
	rpc.Handle(ep, "panic", func(context.Context, rpc.None) (rpc.None, error) { panic("on purpose") })
	t.serve(t.open(), messaging.Target{Topic: topic, Server: "s"}, nil, ep)
	c := t.client(t.open(), topic)
	for range 3 {
		if remote := t.fails(c, "panic"); !strings.Contains(remote.Message, "on purpose") {
			t.errorf("the panic arrived as %v", remote)
		}
	}
	t.echo(c, "still there")
}

func callUnknownMethod(t *trial) {
	topic := t.name("topic")
	t.service(topic, "s")
	c := t.client(t.open(), topic)
	if err := c.Call(t.ctx, "no_such_method", rpc.None{}, nil); !errors.Is(err, rpc.ErrNoSuchMethod) {
		t.errorf("calling an unknown method: %v, want ErrNoSuchMethod", err)
	}
	t.echo(c, "still there")
}

func callUnknownNamespace(t *trial) {
	topic := t.name("topic")
	t.service(topic, "s")
	c := t.client(t.open(), topic)
	err := c.Prepare(rpc.WithNamespace("elsewhere")).Call(t.ctx, method, keyArgs{Key: "wrong"}, nil)
	if !errors.Is(err, rpc.ErrUnsupportedVersion) && !errors.Is(err, rpc.ErrNoSuchMethod) {
		t.errorf("calling in an unknown namespace: %v, want ErrUnsupportedVersion or ErrNoSuchMethod", err)
	}
	t.echo(c, "still there")
	t.got("s", nil)
}

// versioned starts a server of versions 1.5 and 3.0, and returns a client.
func (t *trial) versioned() *rpc.Client {
	topic := t.name("topic")
	one, three := t.endpoint("s"), t.endpoint("s3")
	one.Version, three.Version = "1.5", "3.0"
	t.serve(t.open(), messaging.Target{Topic: topic, Server: "s"}, nil, one, three)
	return t.client(t.open(), topic)
}

func callVersionMismatch(t *trial) {
	c := t.versioned()
	for _, v := range []string{"1.6", "1.5.1", "2.0", "3.1", "0.9"} {
		err := c.Prepare(rpc.WithVersion(v)).Call(t.ctx, method, keyArgs{Key: v}, nil)
		if !errors.Is(err, rpc.ErrUnsupportedVersion) {
			t.errorf("calling version %s of a server of 1.5 and 3.0: %v, want ErrUnsupportedVersion", v, err)
		}
	}
	t.got("s", nil)
	t.got("s3", nil)
}

func callMinorVersion(t *trial) {
	c := t.versioned()
	for _, v := range []string{"1.0", "1.4", "1.5", "3.0"} {
		t.check(c.Prepare(rpc.WithVersion(v)).Call(t.ctx, method, keyArgs{Key: v}, nil), "calling version %s", v)
	}
	t.got("s", []string{"1.0", "1.4", "1.5"})
	t.got("s3", []string{"3.0"})
}

func callMany(t *trial) {
	topic := t.name("topic")
	t.service(topic, "a")
	t.service(topic, "b")
	trs := []*messaging.Transport{t.open(), t.open()}
	everyone := func(text string) {
		for _, tr := range trs {
			t.echo(t.client(tr, topic), text)
		}
	}
	everyone("here I am")
	const callers = 50
	each := max(1, t.volume(1000)/callers)
	t.each(callers, func(i int) {
		c := t.client(trs[i%len(trs)], topic)
		for n := range each {
			t.echo(c, fmt.Sprintf("caller %d, call %d", i, n))
		}
	})
	t.prove("%d calls by %d goroutines over %d transports", callers*each, callers, len(trs))
	everyone("fence") // a reply that went astray before has arrived by now
	for _, tr := range trs {
		if s := tr.Stats(); s.ReplyDropped > 0 || s.Calls != 0 {
			t.errorf("%d replies were dropped and %d calls wait, after each call has got its reply", s.ReplyDropped, s.Calls)
		}
	}
}

func callNested(t *trial) {
	topic := t.name("topic")
	tr := t.open()
	c := t.client(tr, topic).Prepare(rpc.WithServer("s"))
	ep := t.endpoint("s")
	rpc.Handle(ep, "depth", func(ctx context.Context, a struct {
		Left int `json:"left"`
	},
	) (int, error) {
		if a.Left == 0 {
			return 0, nil
		}
		n, err := rpc.CallFor[int](ctx, c, "depth", rpc.Args{"left": a.Left - 1})
		return n + 1, err
	})
	t.serve(tr, messaging.Target{Topic: topic, Server: "s"}, &rpc.ServerOptions{Executor: rpc.Workers(8)}, ep)
	outer := t.client(t.open(), topic)
	n, err := rpc.CallFor[int](t.ctx, outer, "depth", rpc.Args{"left": 5})
	t.check(err, "calling a method that calls itself")
	if n != 5 {
		t.errorf("5 nested calls returned %d", n)
	}
}

func callToSelf(t *trial) {
	tr := t.open()
	for range 10 { // from the second on, its connection for sending was there before the server
		topic := t.name("topic")
		t.serve(tr, messaging.Target{Topic: topic, Server: "s"}, nil, t.endpoint("s"))
		t.echo(t.client(tr, topic), "to the topic")
		t.echo(t.client(tr, topic).Prepare(rpc.WithServer("s")), "by name")
	}
}

func callNoResponders(t *trial) {
	topic := t.name("topic")
	t.service(topic, "s")
	tr := t.open()
	for what, c := range map[string]*rpc.Client{
		"a topic without servers":   t.client(tr, t.name("nobody")),
		"a server that is not here": t.client(tr, topic).Prepare(rpc.WithServer("nobody")),
	} {
		r := t.await("a call to nobody", t.callAsync(t.ctx, c.Prepare(rpc.WithMandatory(true)), "echo"))
		if !errors.Is(r.err, messaging.ErrNoRoute) {
			t.errorf("calling %s: %v, want ErrNoRoute", what, r.err)
		}
		if r.took > t.scaled(slack) {
			t.errorf("calling %s took %v", what, r.took)
		}
	}
	t.echo(t.client(tr, topic).Prepare(rpc.WithMandatory(true)), "who is there answers")
}

func callNoRespondersProbe(t *trial) {
	c := t.client(t.open(), t.name("nobody")).Prepare(rpc.WithMandatory(true))
	if err := c.Call(t.ctx, "echo", rpc.None{}, nil); !errors.Is(err, messaging.ErrUnsupported) {
		t.errorf("a mandatory call: %v, want ErrUnsupported", err)
	}
}
