package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/notify"
)

// This file holds what cases of package notify are made of.

// publisher publishes to a topic.
type publisher struct {
	*notify.Notifier
	tr    *messaging.Transport
	topic string
}

// publisherOf returns a publisher for a topic, on a transport of its own.
func (t *trial) publisherOf(topic string) *publisher {
	tr := t.open()
	return &publisher{tr: tr, topic: topic, Notifier: notify.NewNotifier("conformance", []notify.Driver{
		notify.Messaging(tr, &notify.MessagingOptions{Topics: []string{topic}, Timeout: t.scaled(patience)}),
	}, nil)}
}

// heardBy waits until a publisher that was there before a listener reaches it.
func (t *trial) heardBy(n *publisher, p notify.Priority) {
	t.reachable(n.tr, messaging.Address{Kind: messaging.KindNotify, Topic: n.topic + "." + string(p)}, 1)
}

// publish publishes notifications that must be accepted, one after the other; each
// says its key.
func (t *trial) publish(n *publisher, p notify.Priority, keys ...string) {
	for _, key := range keys {
		t.ledger.attempt(key)
		err := t.heard(n.Notify(t.ctx, p, method, payload{Key: key}))
		t.ledger.outcome(key, err)
		t.check(err, "publishing %s", key)
	}
}

// subscriber is a listener with a name of its own.
type subscriber struct {
	t        *trial
	who      string
	tr       *messaging.Transport
	listener *notify.Listener
}

// subscribe listens to a topic, on a transport of its own, from now until the end of
// the case or subscriber.leave. What comes is written down; then handle, which may
// be nil, says what becomes of it.
func (t *trial) subscribe(topic, who string, o notify.ListenerOptions, handle func(key string) error, priorities ...notify.Priority) *subscriber {
	ep := &notify.Endpoint{}
	for _, p := range priorities {
		notify.Handle(ep, p, func(_ context.Context, n *notify.Notification, body payload) error {
			t.notified(who, n, body.Key)
			if handle == nil {
				return nil
			}
			return handle(body.Key)
		})
	}
	return t.subscribeTo(topic, who, o, ep)
}

func (t *trial) subscribeTo(topic, who string, o notify.ListenerOptions, ep *notify.Endpoint) *subscriber {
	o.Logger = slog.New(t.h.said.handler()) // and nobody else's: failures here are on purpose
	s := &subscriber{t: t, who: who, tr: t.open()}
	var err error
	s.listener, err = notify.NewListener(s.tr, []messaging.Target{{Topic: topic}}, []*notify.Endpoint{ep}, &o)
	t.check(err, "making a listener of %s", topic)
	t.check(s.listener.Start(t.patient()), "starting a listener of %s", topic)
	t.cleanup(func(ctx context.Context) {
		if err := s.listener.Wait(ctx); err != nil && !errors.Is(err, messaging.ErrClosed) && !t.failed() {
			t.errorf("ending a listener: %v", err)
		}
	})
	return s
}

// leave drains the listener, when nothing that it received is left to settle.
func (s *subscriber) leave() {
	s.t.until("everything to be settled", func() bool { return s.listener.Stats().Running == 0 })
	s.t.check(s.listener.Wait(s.t.patient()), "draining %s", s.who)
}

// notified writes a receipt down.
func (t *trial) notified(who string, n *notify.Notification, key string) {
	t.ledger.receive(receipt{key: key, who: who, redelivered: n.Redelivered, count: n.Count})
}

// fencePriorities publishes one notification more for each priority, and waits until
// each was received that often.
func (t *trial) fencePriorities(n *publisher, copies int, priorities ...notify.Priority) {
	for _, p := range priorities {
		key := fmt.Sprintf("fence/%s", t.name(string(p)))
		t.publish(n, p, key)
		t.wait("the fences", func(l *ledger) bool { return l.copies[key] >= copies })
	}
}

// sameJSON compares two JSON texts, with every digit of their numbers.
func sameJSON(a, b []byte) bool {
	var values [2]any
	for i, text := range [][]byte{a, b} {
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber()
		if dec.Decode(&values[i]) != nil {
			return false
		}
	}
	return reflect.DeepEqual(values[0], values[1])
}

func checkNotification(t *trial, sent, got *notify.Notification, body string, start time.Time) {
	for _, field := range [...]struct{ what, got, want string }{
		{"priority", string(got.Priority), "warn"},
		{"publisher id", got.PublisherID, "publisher.höst/1"},
		{"event type", got.EventType, "volume.attach.end"},
		{"message id", got.MessageID, sent.MessageID},
		{"timestamp", got.Timestamp, sent.Timestamp},
	} {
		if field.got != field.want {
			t.errorf("the %s is %q, want %q", field.what, field.got, field.want)
		}
	}
	if !sameJSON(got.Payload, []byte(body)) {
		t.errorf("the payload is %s, want %s", got.Payload, body)
	}
	if at, err := got.Time(); err != nil || at.Before(start.Truncate(time.Second)) || at.After(time.Now().Add(time.Second)) {
		t.errorf("the time is %v, %v", at, err)
	}
	var id string
	var roles []string
	if _, err := got.Value("request_id", &id); err != nil || id != "req-1" {
		t.errorf("the request id of the context is %q, %v", id, err)
	}
	if _, err := got.Value("roles", &roles); err != nil || !slices.Equal(roles, []string{"reader", "é"}) {
		t.errorf("the roles of the context are %q, %v", roles, err)
	}
}
