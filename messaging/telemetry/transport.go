package telemetry

import (
	"context"
	"net"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/patchbay-go/patchbay/messaging"
)

// Trace returns what to set as messaging.Options.Trace: it counts and times
// each send by destination and outcome, replies included, and each dial, and
// counts the listeners that came back after a lost connection.
//
// The Trace is the caller's: who wants more of it may set its other fields, and
// wrap those set here.
func (t *Telemetry) Trace() *messaging.Trace {
	return &messaging.Trace{Sent: t.sendEnded, Dialed: t.dialEnded, Listening: t.listens}
}

// background is the context of what belongs to no request: the outcome of a
// send is told by the driver, which knows none.
func background() context.Context {
	return context.Background() //nolint:forbidigo // see above; instruments read values from it, nothing waits
}

// addressKey is what sends are told apart by. Reply addresses are without
// number: all are one destination.
type addressKey struct {
	kind            messaging.Kind
	exchange, topic string
	fanout          bool
}

func (t *Telemetry) sendEnded(to messaging.Address, took time.Duration, err error) {
	k := addressKey{to.Kind, to.Exchange, to.Topic, to.Fanout}
	s := t.addresses.get(k)
	if s == nil {
		s = t.newSending(k)
		t.addresses.add(k, s)
	}
	o := s.of(sendResult(err))
	t.sent.Add(background(), 1, o.add...)
	t.sending.Record(background(), took.Seconds(), o.record...)
}

func (t *Telemetry) newSending(k addressKey) *series {
	name := "send"
	to := []attribute.KeyValue{semconv.MessagingDestinationName(destination(k.exchange, k.topic))}
	switch {
	case k.kind == messaging.KindReply:
		name = "reply"
		to = []attribute.KeyValue{semconv.MessagingDestinationTemplate("reply"), semconv.MessagingDestinationTemporary(true)}
	case k.kind == messaging.KindNotify:
		name = "notify"
	case k.fanout:
		name = "fanout"
	}
	return &series{attrs: append(to,
		semconv.MessagingSystemKey.String(t.system),
		semconv.MessagingOperationName(name),
		semconv.MessagingOperationTypeSend)}
}

func (t *Telemetry) dialEnded(host string, _ int, took time.Duration, err error) {
	attrs := append(peer(host), semconv.MessagingSystemKey.String(t.system))
	if err != nil {
		attrs = append(attrs, semconv.ErrorTypeKey.String(dialResult(err)))
	}
	t.dialling.Record(background(), took.Seconds(), metric.WithAttributes(attrs...))
}

// peer returns the attributes of what the core calls a host.
func peer(host string) []attribute.KeyValue {
	name, number, err := net.SplitHostPort(host)
	if err != nil {
		return []attribute.KeyValue{semconv.ServerAddress(host)} // several hosts, or none
	}
	attrs := []attribute.KeyValue{semconv.ServerAddress(name)}
	if port, err := strconv.Atoi(number); err == nil && port > 0 {
		attrs = append(attrs, semconv.ServerPort(port))
	}
	return attrs
}

func (t *Telemetry) listens(sub messaging.Subscription, generation int) {
	if generation == 1 {
		return
	}
	to := semconv.MessagingDestinationTemplate("reply")
	if len(sub.Sources) > 0 {
		to = semconv.MessagingDestinationName(destination(sub.Sources[0].Exchange, sub.Sources[0].Topic))
	}
	t.relistened.Add(background(), 1, metric.WithAttributes(semconv.MessagingSystemKey.String(t.system), to))
}
