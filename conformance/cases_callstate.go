package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func callStateCases() []Case {
	return group("call",
		must("call_timeout_both_bounds", "A deadline is a promise both ways: not before it, and not much after.", callTimeout),
		must("call_timeout_leaves_no_state", "Calls that time out happen all day; what each leaves behind adds up.", callTimeoutState),
		must("call_cancel_returns_at_once", "Who gives up a call must not wait for its deadline.", callCancel),
		must("call_cancel_reaches_handler", "Work whose caller gave up is waste; the handler of a monitored call learns of it.", callCancelReaches),
		must("call_late_reply_dropped", "An answer that comes too late must not become the answer to the next call.", callLateReply),
		must("call_duplicate_reply_dropped", "An answer that comes twice must not become the answer to the next call.", callDuplicateReply),
		must("call_reply_for_other_client_never_delivered", "An answer belongs to the call that it names, whoever else waits.", callOtherClient),
		must("call_reply_to_strange_address", "Anybody can name any address for his reply: to answer there must cost others nothing.", callStrangeAddress),
		must("call_deadline_propagates_remaining", "A server that knows when its caller gives up can stop in time.", callDeadline),
		must("call_to_busy_server_waits", "What comes while all workers are busy waits for one, whichever way it came in.", callBusy),
		must("call_expired_request_not_executed", "Work that nobody waits for any more must not be done under load.", callExpired),
	)
}

// blocked starts a server whose method "block" waits.
func (t *trial) blocked(o *rpc.ServerOptions) (*rpc.Server, *blocker, string) {
	topic := t.name("topic")
	ep := t.endpoint("s")
	b := t.block(ep)
	return t.serve(t.open(), messaging.Target{Topic: topic, Server: "s"}, o, ep), b, topic
}

func callTimeout(t *trial) {
	_, b, topic := t.blocked(nil)
	c := t.client(t.open(), topic)
	t.echo(c, "connected")

	byOption := t.callAsync(t.ctx, c.Prepare(rpc.WithTimeout(t.scaled(moment))), "block")
	byContext := t.callAsync(t.within(moment), c, "block")
	b.waitFor(2)
	for what, ch := range map[string]<-chan result{"a timeout": byOption, "ctx's deadline": byContext} {
		r := t.await("a call to end by "+what, ch)
		if !errors.Is(r.err, context.DeadlineExceeded) || !errors.Is(r.err, messaging.ErrTimeout) {
			t.errorf("a call ended by %s: %v, want ErrTimeout and context.DeadlineExceeded", what, r.err)
		}
		if d := t.scaled(moment); r.took < d-d/20 || r.took > d+t.scaled(slack) {
			t.errorf("a call ended by %s after %v, want %v", what, r.took, d)
		}
	}
	close(b.release)
}

func callTimeoutState(t *trial) {
	_, b, topic := t.blocked(nil)
	tr := t.open()
	c := t.client(tr, topic)
	t.echo(c, "connected")
	const n = 20
	var calls []<-chan result
	for range n {
		calls = append(calls, t.callAsync(t.within(moment), c, "block"))
	}
	b.waitFor(n)
	if s := tr.Stats(); s.Calls != n {
		t.errorf("Stats says that %d calls wait, want %d", s.Calls, n)
	}
	for _, ch := range calls {
		t.await("a timeout", ch)
	}
	if s := tr.Stats(); s.Calls != 0 || s.InFlight != 0 {
		t.errorf("after all calls timed out, Stats says that %d wait and %d sends are in flight", s.Calls, s.InFlight)
	}
	close(b.release)
	t.echo(c, "still works")
}

func callCancel(t *trial) {
	_, b, topic := t.blocked(nil)
	tr := t.open()
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	call := t.callAsync(ctx, t.client(tr, topic), "block")
	b.waitFor(1)
	start := time.Now()
	cancel()
	r := t.await("a cancelled call", call)
	if !errors.Is(r.err, context.Canceled) || errors.Is(r.err, context.DeadlineExceeded) {
		t.errorf("a cancelled call: %v, want context.Canceled", r.err)
	}
	t.bounds("a cancelled call", start, 0)
	if s := tr.Stats(); s.Calls != 0 {
		t.errorf("after the call was cancelled, Stats says that %d wait", s.Calls)
	}
	close(b.release)
	t.lateRepliesWere(tr, 0, 1)
}

func callCancelReaches(t *trial) {
	topic := t.name("topic")
	ep := t.endpoint("s")
	entered, ended := make(chan struct{}, 1), make(chan error, 1)
	rpc.Handle(ep, "wait", func(ctx context.Context, _ rpc.None) (rpc.None, error) {
		entered <- struct{}{}
		select {
		case <-ctx.Done():
			ended <- ctx.Err()
		case <-t.ctx.Done():
		}
		return rpc.None{}, ctx.Err()
	})
	t.serve(t.open(), messaging.Target{Topic: topic, Server: "s"}, nil, ep)
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	monitored := t.client(t.open(), topic).Prepare(rpc.WithMonitor(t.scaled(interval)))
	call := t.callAsync(ctx, monitored, "wait")
	over := t.within(patience / 2)
	select {
	case <-entered:
	case <-over.Done():
		t.fatalf("the call did not reach its handler")
	}
	cancel()
	if r := t.await("the cancelled call", call); !errors.Is(r.err, context.Canceled) {
		t.errorf("a cancelled call: %v, want context.Canceled", r.err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.errorf("the handler's context ended with %v, want context.Canceled", err)
		}
	case <-over.Done():
		t.errorf("the handler did not learn that its caller gave up")
	}
}

func callLateReply(t *trial) {
	topic := t.name("topic")
	server, client := t.open(), t.open()
	s := t.listen(server, serverOf(messaging.Target{Topic: topic, Server: "s"}))
	first := t.request(t.patient(), client, anyOf(topic), "first") // and so everything is connected
	in := t.poll(s, "s")
	t.settle(in, messaging.Ack)
	t.answer(server, in)
	t.answered("first", first)

	call := t.request(t.within(2*moment), client, anyOf(topic), "late")
	late := t.poll(s, "s")
	t.settle(late, messaging.Ack)
	if r := t.await("a timeout", call); !errors.Is(r.err, messaging.ErrTimeout) {
		t.fatalf("a call without an answer: %v, want ErrTimeout", r.err)
	}
	next := t.request(t.patient(), client, anyOf(topic), "next")
	in = t.poll(s, "s")
	t.settle(in, messaging.Ack)
	t.answer(server, late)
	t.lateRepliesWere(client, 0, 1)
	t.answer(server, in)
	t.answered("next", next)
}

// lateRepliesWere waits until n more replies have been dropped, and checks that
// it does not become more by the time of the next reply.
func (t *trial) lateRepliesWere(tr *messaging.Transport, before, n uint64) {
	t.until("the reply to be dropped", func() bool { return tr.Stats().ReplyDropped >= before+n })
	if got := tr.Stats().ReplyDropped - before; got != n {
		t.errorf("%d replies were dropped, want %d", got, n)
	}
}

// request makes a call below package rpc, to a receiver that answers as the case wants.
func (t *trial) request(ctx context.Context, tr *messaging.Transport, to messaging.Address, key string) <-chan result {
	ch := make(chan result, 1)
	t.spawn(func() {
		start := time.Now()
		reply, err := tr.Request(ctx, to, message(key), nil)
		r := result{err: err, took: time.Since(start)}
		if err == nil {
			r.value = meaning(reply.Body)
		}
		ch <- r
	})
	return ch
}

// answer replies to a call with its own key.
func (t *trial) answer(tr *messaging.Transport, in *messaging.Incoming) {
	t.check(tr.Reply(t.patient(), in, replyWith(keyOf(in))), "replying to %s", keyOf(in))
}

func replyWith(text string) *messaging.Envelope {
	return &messaging.Envelope{Kind: messaging.KindReply, Final: true, Body: []byte(quote(text))}
}

// answered checks that a call got the answer to its own key.
func (t *trial) answered(key string, ch <-chan result) {
	r := t.await("the reply to "+key, ch)
	if r.err != nil || r.value != quote(key) {
		t.errorf("the call %s returned %s, %v", key, r.value, r.err)
	}
}

func callDuplicateReply(t *trial) {
	topic := t.name("topic")
	server, client := t.open(), t.open()
	s := t.listen(server, serverOf(messaging.Target{Topic: topic, Server: "s"}))
	call := t.request(t.patient(), client, anyOf(topic), "first")
	in := t.poll(s, "s")
	t.settle(in, messaging.Ack)
	t.answer(server, in)
	t.answered("first", call)

	next := t.request(t.patient(), client, anyOf(topic), "second")
	second := t.poll(s, "s")
	t.settle(second, messaging.Ack)
	t.answer(server, in) // again, while another call waits
	t.lateRepliesWere(client, 0, 1)
	t.answer(server, second)
	t.answered("second", next)
}

func callOtherClient(t *trial) {
	topic := t.name("topic")
	server, alice, bob := t.open(), t.open(), t.open()
	s := t.listen(server, serverOf(messaging.Target{Topic: topic, Server: "s"}))
	fromAlice := t.request(t.patient(), alice, anyOf(topic), "alice")
	a := t.poll(s, "s")
	fromBob := t.request(t.patient(), bob, anyOf(topic), "bob")
	b := t.poll(s, "s")
	t.settle(a, messaging.Ack)
	t.settle(b, messaging.Ack)
	if a.ReplyTo == b.ReplyTo || a.CallID == b.CallID {
		t.fatalf("two clients have reply addresses %q and %q, calls %q and %q", a.ReplyTo, b.ReplyTo, a.CallID, b.CallID)
	}
	// An answer to alice's call, sent to bob's address: nobody's.
	forged := replyWith("forged")
	forged.CallID = a.CallID
	to := messaging.Address{Kind: messaging.KindReply, Direct: b.ReplyTo}
	t.check(t.attemptEnvelope(server, to, "forged", forged, nil), "sending a reply to the wrong client")
	t.lateRepliesWere(bob, 0, 1)
	// In the other order than they came.
	t.answer(server, b)
	t.answered("bob", fromBob)
	t.answer(server, a)
	t.answered("alice", fromAlice)
	if n := alice.Stats().ReplyDropped; n != 0 {
		t.errorf("the other client dropped %d replies, want none", n)
	}
}

// callStrangeAddress sends replies to addresses, and calls, that a stranger's request
// could name, while a good call waits for its own. The second address ends a
// connection to RabbitMQ before 4.2, if it gets there, and what is not UTF-8 one of
// AMQP 1.0.
func callStrangeAddress(t *trial) {
	topic := t.name("topic")
	server, client := t.open(), t.open()
	s := t.listen(server, serverOf(messaging.Target{Topic: topic, Server: "s"}))
	good := t.request(t.patient(), client, anyOf(topic), "good")
	in := t.poll(s, "s")
	t.settle(in, messaging.Ack)
	nobody := strings.Repeat("long", 70)
	for _, strange := range []struct{ address, call string }{
		{"nobody", in.CallID},
		{"amq.rabbitmq.reply-to.g2EB.x", in.CallID},
		{"amq.rabbitmq.reply-to", in.CallID},
		{"/queues/%zz", in.CallID},
		{"/queues/amq.rabbitmq.reply-to.g2EB.x", in.CallID},
		{"/queues/", in.CallID},
		{"/queues/a/b", in.CallID},
		{"/queues/%ff", in.CallID},
		{"/queues/%00", in.CallID},
		{"/queues/" + nobody, in.CallID},
		{"/exchanges/nowhere/x", in.CallID},
		{"*", in.CallID},
		{"a.#", in.CallID},
		{"tcp://127.0.0.1:1", in.CallID},
		{"\x00", in.CallID},
		{"\xff", in.CallID},
		{in.ReplyTo + "x", in.CallID},
		{nobody, in.CallID},
		{strings.Repeat("\U0001f4ec", 60), in.CallID},
		{in.ReplyTo, nobody},
		{in.ReplyTo, "\x00"},
		{in.ReplyTo, "\xff"},
		{in.ReplyTo, "\U0001f4ec"},
	} {
		e := replyWith("strange")
		e.CallID = strange.call
		to := messaging.Address{Kind: messaging.KindReply, Direct: strange.address}
		if err := t.attemptEnvelope(server, to, fmt.Sprintf("%q to %q", strange.call, strange.address), e, nil); errors.Is(err, messaging.ErrOutcomeUnknown) {
			t.errorf("a reply to %q is lost on the way: %v", strange.address, err)
		}
	}
	t.answer(server, in)
	t.answered("good", good)
	if n := server.Stats().ConnsLost; n > 0 {
		t.errorf("strange addresses cost %d connections", n)
	}
}

func callDeadline(t *trial) {
	topic := t.name("topic")
	server, client := t.open(), t.open()
	s := t.listen(server, serverOf(messaging.Target{Topic: topic, Server: "s"}))
	call := t.request(t.patient(), client, anyOf(topic), "first")
	in := t.poll(s, "s")
	left := time.Until(in.Deadline)
	t.settle(in, messaging.Ack)
	t.answer(server, in)
	t.answered("first", call)
	if in.Deadline.IsZero() {
		t.skipf("the wire format does not carry a deadline")
		return
	}
	t.prove("of %v, %v were left at the server", t.scaled(patience), left.Round(time.Millisecond))
	if left <= 0 || left > t.scaled(patience) {
		t.errorf("at the server %v of %v were left", left, t.scaled(patience))
	}
}

func callExpired(t *trial) {
	carried := t.carriesDeadline()
	if carried {
		t.expires(8) // the second call waits inside the server
	}
	if t.caps.TTL {
		t.expires(1) // at the peer
	}
	if !carried && !t.caps.TTL {
		t.skipf("the wire format carries no deadline and messages cannot expire")
	}
}

func callBusy(t *trial) {
	_, b, topic := t.blocked(&rpc.ServerOptions{Executor: rpc.Workers(2), Prefetch: 4})
	c := t.client(t.open(), topic)
	t.echo(c, "connected")
	var calls []<-chan result
	for range 8 { // two with workers, some in the server, the others at the peer
		calls = append(calls, t.callAsync(t.ctx, c, "block"))
	}
	b.waitFor(2)
	t.pass(moment)
	close(b.release)
	for _, ch := range calls {
		if r := t.await("a call to a busy server", ch); r.err != nil || r.value != "done" {
			t.errorf("a call to a server that was busy returned %q, %v", r.value, r.err)
		}
	}
}

// expires lets a call expire while the only worker of its server is busy.
func (t *trial) expires(prefetch int) {
	_, b, topic := t.blocked(&rpc.ServerOptions{Executor: rpc.Workers(1), Ack: rpc.AckLate, Prefetch: prefetch})
	tr := t.open()
	c := t.client(tr, topic)
	busy := t.callAsync(t.ctx, c, "block")
	b.waitFor(1)
	err := c.Prepare(rpc.WithTimeout(t.scaled(moment))).Call(t.ctx, method, keyArgs{Key: "expired"}, nil)
	if !errors.Is(err, context.DeadlineExceeded) { // whether it waits there or here
		t.errorf("a call to a busy server: %v, want context.DeadlineExceeded", err)
	}
	t.pass(moment) // what the way to the server took counts for the server
	close(b.release)
	t.await("the call that kept the server busy", busy)
	t.echo(c, "fence")
	t.got("s", nil)
}

// carriesDeadline finds out whether the wire format tells the server how long
// its caller waits.
func (t *trial) carriesDeadline() bool {
	topic := t.name("topic")
	server := t.open()
	s := t.listen(server, serverOf(messaging.Target{Topic: topic, Server: "s"}))
	call := t.request(t.patient(), t.open(), anyOf(topic), "probe")
	in := t.poll(s, "probe")
	t.settle(in, messaging.Ack)
	t.answer(server, in)
	t.answered("probe", call)
	return !in.Deadline.IsZero()
}
