package telemetry

import (
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/patchbay-go/patchbay/messaging/rpc"
)

const (
	rpcSystem = "patchbay" // rpc.system.name
	other     = "_OTHER"   // rpc.method of what the server does not have
	maxMethod = 200        // bytes of a method's name, and of a namespace
)

// requestKey is what decides over names and attributes of a request.
type requestKey struct {
	side                               rpc.Side
	pattern                            rpc.Pattern
	exchange, topic, namespace, method string
}

func keyOf(r *rpc.Request) requestKey {
	return requestKey{
		r.Side, r.Pattern, r.Target.Exchange, r.Target.Topic,
		clip(r.Namespace, maxMethod), clip(r.Method, maxMethod),
	}
}

// request is what all requests with the same key have in common.
type request struct {
	series
	span     string
	start    []trace.SpanStartOption
	duration metric.Float64Histogram // nil: measured elsewhere
}

// newRequest makes the names and attributes of k.
func (t *Telemetry) newRequest(k requestKey) *request {
	q := &request{}
	q.attrs = []attribute.KeyValue{
		semconv.RPCSystemNameKey.String(rpcSystem),
		semconv.RPCMethod(methodName(k)),
		semconv.MessagingSystemKey.String(t.system),
		semconv.MessagingDestinationName(destination(k.exchange, k.topic)),
	}
	kind := trace.SpanKindProducer
	switch {
	case k.pattern == rpc.PatternCall:
		kind, q.duration, q.coded = trace.SpanKindClient, t.clientCalls, true
		if k.side == rpc.ServerSide {
			kind, q.duration = trace.SpanKindServer, t.serverCalls
		}
		q.span = methodName(k)
		if q.span == other {
			q.span = rpcSystem
		}
	case k.side == rpc.ServerSide:
		kind, q.duration = trace.SpanKindConsumer, t.processing
		q.operation("process", k.topic, semconv.MessagingOperationTypeProcess)
	default:
		q.operation(k.pattern.String(), k.topic, semconv.MessagingOperationTypeSend)
	}
	q.start = []trace.SpanStartOption{trace.WithSpanKind(kind), trace.WithAttributes(q.attrs...)}
	return q
}

// operation names a messaging operation.
func (q *request) operation(name, topic string, kind attribute.KeyValue) {
	q.span = name + " " + topic
	q.attrs = append(q.attrs, semconv.MessagingOperationName(name), kind)
}

// methodName is the full name of a method: topic and namespace are to it what
// package and service are elsewhere.
func methodName(k requestKey) string {
	switch {
	case k.method == other:
		return other
	case k.namespace == "":
		return k.topic + "/" + k.method
	}
	return k.topic + "." + k.namespace + "/" + k.method
}

// destination names a topic, in its exchange unless that is the driver's own.
func destination(exchange, topic string) string {
	if exchange == "" {
		return topic
	}
	return exchange + ":" + topic
}

// begin returns what is known of k's requests. In a server, k may be a method
// that nobody has: it is not kept before kept is told so.
func (t *Telemetry) begin(k requestKey) *request {
	if q := t.requests.get(k); q != nil {
		return q
	}
	return t.newRequest(k)
}

// kept returns what a request that ended with r is measured under: q, which is
// kept for the next ones, or what all methods have that are unknown, or too
// many.
func (t *Telemetry) kept(k requestKey, q *request, r result) *request {
	if r.knows() {
		if q := t.requests.add(k, q); q != nil {
			return q
		}
	}
	k.namespace, k.method = "", other
	if q := t.others.get(k); q != nil {
		return q
	}
	q = t.newRequest(k)
	t.others.add(k, q)
	return q
}

// clip bounds a text that may come from the network, and makes it valid UTF-8. It may
// be kept: so it is no part of a longer one.
func clip(s string, limit int) string {
	if len(s) > limit {
		s = strings.Clone(s[:limit])
	}
	return strings.ToValidUTF8(s, "\ufffd")
}
