package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// leakCase judges what any case left behind, so it is the last.
const leakCase = "no_goroutine_fd_timer_leak"

func shutdownCases() []Case {
	return group("shutdown",
		must("drain_finishes_inflight", "A deployment must not cost the calls that are being handled.", drainFinishes),
		must("drain_deadline_returns_count", "A handler that is stuck must not keep a server from ending, and somebody must be told.", drainDeadline),
		must("drain_keeps_reply_path_open", "A handler in hand may need an answer itself before it can give one.", drainReplies),
		must("drain_prefetched_go_back_not_dead_lettered", "What a server had not begun belongs to others, however many servers came and went.", drainPrefetched),
		fault("stop_during_reconnect", "A program must be able to end while its broker is down.", stopDuringReconnect),
		must("close_while_publishing", "Each send has one outcome, also when the transport closes under it.", closeWhilePublishing),
	)
}

// wholeRunCases judge what happened in all cases, and so are the last.
func wholeRunCases() []Case {
	return group("whole run",
		must(secretCase, "Logs and errors are copied into tickets; a password in one is everybody's.", noSecret),
		must(leakCase, "A service opens and closes for months; what each round leaves behind ends it.", noLeak),
	)
}

func drainFinishes(t *trial) {
	server, b, topic := t.blocked(nil)
	c := t.client(t.open(), topic)
	const n = 5
	var calls []<-chan result
	for range n {
		calls = append(calls, t.callAsync(t.ctx, c, "block"))
	}
	b.waitFor(n)
	t.check(server.Stop(t.patient()), "stopping")
	close(b.release)
	t.check(server.Wait(t.patient()), "waiting for the calls in hand")
	for _, ch := range calls {
		if r := t.await("a call in hand", ch); r.err != nil || r.value != "done" {
			t.errorf("a call that was in hand when its server stopped returned %q, %v", r.value, r.err)
		}
	}
}

func drainDeadline(t *trial) {
	server, b, topic := t.blocked(nil)
	c := t.client(t.open(), topic)
	const n = 3
	for range n {
		t.callAsync(t.ctx, c, "block")
	}
	b.waitFor(n)
	t.check(server.Stop(t.patient()), "stopping")
	start := time.Now()
	err := server.Wait(t.within(moment))
	t.bounds("waiting for handlers that are stuck", start, t.scaled(moment))
	var drain *rpc.DrainError
	if !errors.As(err, &drain) || drain.Running != n {
		t.errorf("waiting for handlers that are stuck: %v, want a *rpc.DrainError of %d", err, n)
	}
	close(b.release)
	t.check(server.Wait(t.patient()), "waiting again, when they were released")
}

func drainReplies(t *trial) {
	front, back := t.name("front"), t.name("back")
	t.service(back, "back")
	tr := t.open()
	toBack := t.client(tr, back)
	ep := t.endpoint("front")
	b := t.block(ep)
	rpc.Handle(ep, "relay", func(ctx context.Context, a echoArgs) (string, error) {
		b.entered <- struct{}{}
		select {
		case <-b.release:
		case <-t.ctx.Done():
		}
		return rpc.CallFor[string](ctx, toBack, "echo", a)
	})
	server := t.serve(tr, messaging.Target{Topic: front, Server: "front"}, nil, ep)
	call := make(chan result, 1)
	c := t.client(t.open(), front)
	t.spawn(func() {
		v, err := rpc.CallFor[string](t.ctx, c, "relay", rpc.Args{"value": "relayed"})
		call <- result{value: v, err: err}
	})
	b.waitFor(1)
	t.check(server.Stop(t.patient()), "stopping")
	close(b.release)
	if r := t.await("the relayed answer", call); r.err != nil || r.value != "relayed" {
		t.errorf("a handler that asks another server while its own drains: the caller got %q, %v", r.value, r.err)
	}
	t.check(server.Wait(t.patient()), "waiting")
}

func drainPrefetched(t *trial) {
	const rounds, rest = 25, 15
	topic := t.name("topic")
	sub := serverOf(messaging.Target{Topic: topic, Server: "s"})
	sub.Prefetch = 2 * (rounds + rest)
	tr, sender := t.open(), t.open()
	s := t.listen(tr, sub)
	ks := keys("m", rounds+rest)
	t.send(sender, anyOf(topic), ks...)
	returned := 0
	for i := range rounds {
		in := t.poll(s, "comes and goes")
		n, err := s.Stop(t.patient())
		t.check(err, "stopping")
		returned += n
		t.settle(in, messaging.Ack)
		t.check(s.Close(t.patient()), "closing")
		if i < rounds-1 {
			s = t.listen(tr, sub)
		}
	}
	last := t.server(topic, "last")
	t.waitKeys(ks...)
	t.fence(sender, topic, last)
	t.prove("%d messages, %d servers that came and went, %d prefetched messages went back", len(ks), rounds, returned)
	t.onlyOnce(ks)
}

func stopDuringReconnect(t *trial) {
	f := t.h.Fault
	t.needs(f.RefuseNew != nil && f.Cut != nil && f.Heal != nil, "Fault.RefuseNew, Fault.Cut and Fault.Heal")
	t.cleanup(func(ctx context.Context) {
		if err := f.Heal(ctx); err != nil {
			t.errorf("healing: %v", err)
		}
	})
	topic := t.name("topic")
	tr := t.open()
	s := t.listen(tr, serverOf(messaging.Target{Topic: topic, Server: "s"}))
	t.send(t.open(), anyOf(topic), "m")
	t.settle(t.poll(s, "s"), messaging.Ack)
	t.check(f.RefuseNew(t.patient()), "refusing new connections")
	t.check(f.Cut(t.patient()), "cutting all connections")
	t.until("the transport to notice", func() bool { return tr.Stats().DialFailures > 0 })

	for _, step := range []struct {
		what string
		end  func(context.Context) error
	}{
		{"stopping a stream", func(ctx context.Context) error { _, err := s.Stop(ctx); return err }},
		{"closing a stream", s.Close},
		{"closing a transport", tr.Close},
	} {
		start := time.Now()
		if err := step.end(t.patient()); err != nil && !errors.Is(err, messaging.ErrConnLost) && !errors.Is(err, messaging.ErrClosed) {
			t.errorf("%s while the peer is down: %v", step.what, err)
		}
		t.bounds(step.what+" while the peer is down", start, 0)
	}
}

func closeWhilePublishing(t *trial) {
	topic := t.name("topic")
	r := t.server(topic, "s")
	tr := t.open()
	const senders = 8
	var done atomic.Int64
	enough := make(chan struct{})
	t.spawn(func() {
		select {
		case <-enough:
		case <-t.ctx.Done():
		}
		t.parting.Store(true)
		t.check(tr.Close(t.patient()), "closing while others send")
	})
	t.each(senders, func(i int) {
		for n := 0; t.ctx.Err() == nil; n++ {
			err := t.attempt(tr, anyOf(topic), fmt.Sprintf("sender%d/%d", i, n), nil)
			if err == nil {
				if done.Add(1) == 10*senders {
					close(enough)
				}
				continue
			}
			if !errors.Is(err, messaging.ErrClosed) && !errors.Is(err, messaging.ErrOutcomeUnknown) {
				t.errorf("sending while the transport closes: %v, want ErrClosed", err)
			}
			return
		}
	})
	t.fence(t.open(), topic, r)
	t.judge("while the transport closed", true)
}

func noLeak(t *trial) {
	const rounds = 3
	for range rounds {
		topic := t.name("topic")
		server, client := t.open(), t.open()
		ep := t.endpoint("s")
		b := t.block(ep)
		s := t.serve(server, messaging.Target{Topic: topic, Server: "s"}, nil, ep)
		c := t.client(client, topic)
		t.echo(c, "hello")
		t.record(c, t.name("cast"))
		t.check(c.Fanout(t.ctx, method, keyArgs{Key: "fanout"}), "fanning out")
		timeout := t.callAsync(t.within(moment), c, "block")
		monitored := t.callAsync(t.within(2*moment), c.Prepare(rpc.WithMonitor(t.scaled(interval))), "block")
		b.waitFor(2)
		t.await("a timeout", timeout)
		close(b.release)
		t.await("a call that is kept alive", monitored)
		t.check(s.Stop(t.patient()), "stopping")
		t.check(s.Wait(t.patient()), "waiting")
		t.check(client.Close(t.patient()), "closing the client")
		t.check(server.Close(t.patient()), "closing the server")
	}
	t.prove("%d rounds of everything", rounds)
}
