package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// This file holds what cases of package rpc are made of.

// echoArgs are the arguments of "echo".
type echoArgs struct {
	Value json.RawMessage `json:"value"`
}

// keyArgs are the arguments of "record".
type keyArgs struct {
	Key string `json:"key"`
}

// endpoint returns an endpoint with "echo", which returns its value, and
// "record", which writes a receipt for who.
func (t *trial) endpoint(who string) *rpc.Endpoint {
	ep := &rpc.Endpoint{}
	rpc.Handle(ep, "echo", func(_ context.Context, a echoArgs) (json.RawMessage, error) { return a.Value, nil })
	rpc.Handle(ep, method, func(_ context.Context, a keyArgs) (rpc.None, error) {
		t.ledger.receive(receipt{key: a.Key, who: who, count: -1})
		return rpc.None{}, nil
	})
	return ep
}

// serve starts a server and stops it at the end of the case.
func (t *trial) serve(tr *messaging.Transport, target messaging.Target, o *rpc.ServerOptions, eps ...*rpc.Endpoint) *rpc.Server {
	if o == nil {
		o = &rpc.ServerOptions{}
	}
	o.Logger = slog.New(t.h.said.handler()) // and nobody else's: failures here are on purpose
	s, err := rpc.NewServer(tr, target, eps, o)
	t.check(err, "making a server of %+v", target)
	t.check(s.Start(t.patient()), "starting a server of %+v", target)
	t.cleanup(func(ctx context.Context) {
		err := s.Stop(ctx)
		if err == nil {
			err = s.Wait(ctx)
		}
		if err != nil && !errors.Is(err, messaging.ErrClosed) && !t.failed() {
			t.errorf("ending a server: %v", err)
		}
	})
	return s
}

// service starts a server with t.endpoint on a transport of its own.
func (t *trial) service(topic, server string) *rpc.Server {
	return t.serve(t.open(), messaging.Target{Topic: topic, Server: server}, nil, t.endpoint(server))
}

// client returns a client of a topic.
func (t *trial) client(tr *messaging.Transport, topic string) *rpc.Client {
	return rpc.NewClient(tr, messaging.Target{Topic: topic}, &rpc.ClientOptions{Timeout: t.scaled(patience)})
}

// echo calls "echo" and checks that the value came back.
func (t *trial) echo(c *rpc.Client, value string) {
	got, err := rpc.CallFor[string](t.ctx, c, "echo", rpc.Args{"value": value})
	t.check(err, "calling echo(%q)", value)
	if got != value {
		t.fatalf("echo(%q) returned %q", value, got)
	}
}

// record casts "record" and notes attempt and outcome.
func (t *trial) record(c *rpc.Client, key string) {
	t.ledger.attempt(key)
	err := c.Cast(t.ctx, method, keyArgs{Key: key})
	t.ledger.outcome(key, err)
	t.check(err, "casting %s", key)
}

// blocker is a method that waits for its release.
type blocker struct {
	t       *trial
	entered chan struct{} // one element for each call that got in
	release chan struct{} // closed to let all go
}

// block adds a method "block" that returns "done" when it is released, or an
// error when the case ends first. It ignores its own ctx.
func (t *trial) block(ep *rpc.Endpoint) *blocker {
	b := &blocker{t: t, entered: make(chan struct{}, 64), release: make(chan struct{})}
	rpc.Handle(ep, "block", func(context.Context, rpc.None) (string, error) {
		b.entered <- struct{}{}
		select {
		case <-b.release:
			return "done", nil
		case <-t.ctx.Done():
			return "", t.ctx.Err()
		}
	})
	return b
}

// waitFor waits until n calls are in the method.
func (b *blocker) waitFor(n int) {
	ctx := b.t.patient()
	for range n {
		select {
		case <-b.entered:
		case <-ctx.Done():
			b.t.fatalf("waiting for a call to reach its handler: %v", context.Cause(ctx))
		}
	}
}

// result is the end of a call that was made on another goroutine.
type result struct {
	value string
	err   error
	took  time.Duration
}

// callAsync makes a call without arguments and delivers its result.
func (t *trial) callAsync(ctx context.Context, c *rpc.Client, name string) <-chan result {
	ch := make(chan result, 1)
	t.spawn(func() {
		start := time.Now()
		v, err := rpc.CallFor[string](ctx, c, name, rpc.None{})
		ch <- result{v, t.heard(err), time.Since(start)}
	})
	return ch
}

// await takes a result, which must come.
func (t *trial) await(what string, ch <-chan result) result {
	ctx := t.patient()
	select {
	case r := <-ch:
		return r
	case <-ctx.Done():
		t.fatalf("waiting for %s: %v", what, context.Cause(ctx))
	}
	return result{}
}
