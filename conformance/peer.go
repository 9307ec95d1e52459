package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// This file holds what cases below package rpc are made of: transports,
// senders that write into the ledger, and receivers that do.

// open opens a transport and closes it at the end of the case.
func (t *trial) open() *messaging.Transport {
	tr, err := t.h.Open(t.patient())
	t.check(err, "opening a transport")
	t.cleanup(func(ctx context.Context) {
		if err := tr.Close(ctx); err != nil && !t.failed() {
			t.errorf("closing a transport: %v", err)
		}
	})
	return tr
}

// method is what all messages of these cases ask for.
const method = "record"

// payload is the arguments of a message: its key in the ledger and ballast.
type payload struct {
	Key  string `json:"key"`
	Text string `json:"text,omitempty"`
}

// message returns an envelope that says key.
func message(key string) *messaging.Envelope {
	return messageWith(payload{Key: key})
}

func messageWith(p payload) *messaging.Envelope {
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings only
	}
	return &messaging.Envelope{Kind: messaging.KindRPC, Method: method, Version: "1.0", Body: body}
}

// keyOf reads the key back.
func keyOf(in *messaging.Incoming) string {
	var p struct {
		payload
		Notification payload `json:"payload"`
	}
	if err := json.Unmarshal(in.Body, &p); err != nil {
		return fmt.Sprintf("unreadable: %v", err)
	}
	if in.Kind == messaging.KindNotify {
		return p.Notification.Key
	}
	return p.Key
}

// attempt sends a message and writes the attempt and its outcome down.
func (t *trial) attempt(tr *messaging.Transport, to messaging.Address, key string, o *messaging.SendOptions) error {
	return t.attemptEnvelope(tr, to, key, message(key), o)
}

func (t *trial) attemptEnvelope(tr *messaging.Transport, to messaging.Address, key string, e *messaging.Envelope, o *messaging.SendOptions) error {
	return t.attemptFor(patience, tr, to, key, e, o)
}

// attemptFor is attemptEnvelope with a time of its own.
func (t *trial) attemptFor(d time.Duration, tr *messaging.Transport, to messaging.Address, key string, e *messaging.Envelope, o *messaging.SendOptions) error {
	ctx, cancel := context.WithTimeout(t.ctx, t.scaled(d))
	defer cancel()
	t.ledger.attempt(key)
	err := t.heard(tr.Send(ctx, to, e, o))
	t.ledger.outcome(key, err)
	if fateOf(err) == wrong {
		t.fatalf("sending %s: the error %q matches not exactly one outcome", key, err)
	}
	return err
}

// send sends messages that must be accepted, one after the other.
func (t *trial) send(tr *messaging.Transport, to messaging.Address, keys ...string) {
	for _, key := range keys {
		t.check(t.attempt(tr, to, key, nil), "sending %s", key)
	}
}

// keys returns n keys that begin with prefix.
func keys(prefix string, n int) []string {
	ks := make([]string, n)
	for i := range ks {
		ks[i] = fmt.Sprintf("%s/%d", prefix, i)
	}
	return ks
}

// listen subscribes.
func (t *trial) listen(tr *messaging.Transport, sub messaging.Subscription) *messaging.Stream {
	s, err := tr.Listen(t.patient(), sub)
	t.check(err, "listening on %v", sub.Sources)
	t.cleanup(func(ctx context.Context) {
		if err := s.Close(ctx); err != nil && !errors.Is(err, messaging.ErrClosed) && !t.failed() {
			t.errorf("closing a stream: %v", err)
		}
	})
	return s
}

// serverOf subscribes as a server does: to the topic, by name, and to fanout.
func serverOf(target messaging.Target) messaging.Subscription {
	return messaging.Subscription{Sources: target.ListenAddresses(), Prefetch: 16}
}

// receiver polls a stream on a goroutine of its own and writes down what comes.
type receiver struct {
	t      *trial
	who    string
	tr     *messaging.Transport
	stream *messaging.Stream
	over   chan struct{}
}

// receive listens on tr, from now until the end of the case or receiver.leave.
// A nil handle acknowledges, before the receipt is written down: whoever waits for
// that may then end the transport.
func (t *trial) receive(tr *messaging.Transport, who string, sub messaging.Subscription, handle func(*messaging.Incoming)) *receiver {
	r := &receiver{t: t, who: who, tr: tr, stream: t.listen(tr, sub), over: make(chan struct{})}
	t.spawn(func() {
		defer close(r.over)
		for {
			in, err := r.stream.Poll(t.ctx)
			if err != nil {
				r.ended(err)
				return
			}
			if handle == nil {
				t.ack(in)
				t.arrived(who, in)
				continue
			}
			t.arrived(who, in)
			handle(in)
		}
	})
	return r
}

// server is receive for all three addresses of a target, on a transport of its own.
func (t *trial) server(topic, name string) *receiver {
	return t.receive(t.open(), name, serverOf(messaging.Target{Topic: topic, Server: name}), nil)
}

// ended judges why a stream ended: it was closed, or the case is over.
func (r *receiver) ended(err error) {
	if r.t.ctx.Err() == nil && !errors.Is(err, messaging.ErrClosed) {
		r.t.errorf("%s polling: %v", r.who, err)
	}
}

// leave stops and closes the stream and waits until its goroutine ended, so
// that everything it received is written down. It returns how many messages
// were on their way to it and went back.
func (r *receiver) leave() (returned int) {
	ctx := r.t.patient()
	returned, err := r.stream.Stop(ctx)
	r.t.check(err, "stopping %s", r.who)
	select {
	case <-r.over:
	case <-ctx.Done():
		r.t.fatalf("%s goes on polling after Stop", r.who)
	}
	r.t.check(r.stream.Close(ctx), "closing %s", r.who)
	return returned
}

// arrived writes a receipt down.
func (t *trial) arrived(who string, in *messaging.Incoming) {
	t.ledger.receive(receipt{
		key: keyOf(in), who: who, source: in.Source, redelivered: in.Redelivered, count: in.Count,
	})
}

func (t *trial) ack(in *messaging.Incoming) { t.settle(in, messaging.Ack) }

// settle settles a message of a live connection: where connections are cut on
// purpose, or senders leave, the settlement may be lost with one.
func (t *trial) settle(in *messaging.Incoming, o messaging.Outcome) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), t.scaled(patience))
	defer cancel()
	err := t.heard(in.Settle(ctx, o))
	lost := (t.c.Level == LevelFault || t.parting.Load()) && errors.Is(err, messaging.ErrConnLost)
	if err != nil && !lost && t.ctx.Err() == nil {
		t.errorf("settling %s as %v: %v", keyOf(in), o, err)
	}
}

// poll takes the next message, which must come, and writes it down.
func (t *trial) poll(s *messaging.Stream, who string) *messaging.Incoming {
	ctx, cancel := context.WithTimeout(t.ctx, t.scaled(patience))
	defer cancel()
	in, err := s.Poll(ctx)
	if err != nil {
		t.fatalf("polling as %s: %v", who, err)
	}
	t.arrived(who, in)
	return in
}

// any, named and fanout are the three addresses of RPC.
func anyOf(topic string) messaging.Address { return messaging.Target{Topic: topic}.Address() }

func named(topic, server string) messaging.Address {
	return messaging.Target{Topic: topic, Server: server}.Address()
}

func fanoutOf(topic string) messaging.Address {
	return messaging.Target{Topic: topic, Fanout: true}.Address()
}

// reachable waits until a transport that was there before n servers of an address
// reaches them. With a broker that is at once.
func (t *trial) reachable(tr *messaging.Transport, to messaging.Address, n int) {
	t.check(tr.Await(t.patient(), to, n), "awaiting %d servers of %v", n, to)
}

// fence sends one message more to each server by name, over the same
// transport, and waits until all came. What was sent before and has not come by
// then was not on its way.
func (t *trial) fence(tr *messaging.Transport, topic string, servers ...*receiver) {
	for _, s := range servers {
		t.reachable(tr, named(topic, s.who), 1)
		t.send(tr, named(topic, s.who), "fence/"+t.name(s.who))
	}
	t.wait("the fences", func(l *ledger) bool {
		for key := range l.sent {
			if isFence(key) && l.copies[key] == 0 {
				return false
			}
		}
		return true
	})
}

func isFence(key string) bool { return len(key) > 6 && key[:6] == "fence/" }

// onlyOnce checks that each of keys was received by one receiver, once.
func (t *trial) onlyOnce(keys []string) {
	t.copies(keys, 1)
}

// copies checks how often each of keys was received, by whomever.
func (t *trial) copies(keys []string, want int) {
	for _, key := range keys {
		if n := t.ledger.received(key); n != want {
			t.errorf("%s was received %d times, want %d: %v", key, n, want, t.ledger.receipts(key))
			return // one example is enough
		}
	}
}

// got checks that a receiver got exactly these keys, fences aside, in any order.
func (t *trial) got(who string, want []string) {
	missing := map[string]int{}
	for _, key := range want {
		missing[key]++
	}
	for _, key := range t.ledger.keysOf(who) {
		if isFence(key) {
			continue
		}
		if missing[key]--; missing[key] < 0 {
			t.errorf("%s received %s, which is a duplicate or not for it", who, key)
			return
		}
	}
	for key, n := range missing {
		if n > 0 {
			t.errorf("%s did not receive %s", who, key)
			return
		}
	}
}

// noDuplicates checks that the peer delivered nothing twice: the core drops
// duplicates, so they never reach the ledger. No link was lost, so there is no
// excuse.
func (t *trial) noDuplicates(trs ...*messaging.Transport) {
	for _, tr := range trs {
		if n := tr.Stats().Duplicates; n > 0 {
			t.errorf("the peer delivered %d messages twice although no link was lost", n)
		}
	}
}
