package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// errAborted is the error of a request whose Invoker did not return.
var errAborted = errors.New("the goroutine ended or panicked")

// Attributes of spans for which there is no convention.
const (
	serverKey      = attribute.Key("patchbay.server")      // of a target: one server of the topic
	versionKey     = attribute.Key("patchbay.version")     // that the caller asks for
	redeliveredKey = attribute.Key("patchbay.redelivered") // the broker says that it was delivered before
)

// Client returns middleware for rpc.ClientOptions: a CLIENT span and a duration
// for each call, a PRODUCER span for each cast and fanout, and the span's
// context in the request. Put it first, so that it measures the other
// middleware too. A span of Client.StartCast ends when the request is handed
// over: the outcome is not known then.
func (t *Telemetry) Client() rpc.Middleware {
	return func(next rpc.Invoker) rpc.Invoker {
		return func(ctx context.Context, r *rpc.Request) (result json.RawMessage, err error) {
			a := t.start(ctx, r, nil)
			if a.span.SpanContext().IsValid() {
				t.inject(a.ctx, r)
			} else {
				a.ctx = ctx // it says nothing: spare those inside the look through it
			}
			err = errAborted
			defer func() { a.end(clientResult(err), err) }()
			return next(a.ctx, r)
		}
	}
}

// Server returns middleware for rpc.ServerOptions: a SERVER span and a duration
// for each call, a CONSUMER span and a duration for each cast and fanout, as
// children of the client's span if it sent one. Put it first, so that it
// measures the other middleware too. Requests that had expired do not reach
// middleware: see ObserveServer.
func (t *Telemetry) Server() rpc.Middleware {
	return func(next rpc.Invoker) rpc.Invoker {
		return func(ctx context.Context, r *rpc.Request) (result json.RawMessage, err error) {
			if trace.SpanContextFromContext(ctx).IsValid() { // that under which the server was started
				ctx = trace.ContextWithSpanContext(ctx, trace.SpanContext{})
			}
			parent := t.propagator.Extract(ctx, &carrier{r.Context})
			var links []trace.SpanStartOption
			if r.Pattern != rpc.PatternCall {
				if sent := trace.SpanContextFromContext(parent); sent.IsRemote() {
					links = append(links, trace.WithLinks(trace.Link{SpanContext: sent}))
				}
			}
			a := t.start(parent, r, links)
			err = errAborted
			defer func() { a.end(serverResult(err), err) }()
			return next(a.ctx, r)
		}
	}
}

// activity is one request under way.
type activity struct {
	t     *Telemetry
	key   requestKey
	req   *request
	span  trace.Span
	ctx   context.Context //nolint:containedctx // what the request is handled with
	began time.Time
}

// start begins the span of r.
func (t *Telemetry) start(ctx context.Context, r *rpc.Request, links []trace.SpanStartOption) activity {
	a := activity{t: t, key: keyOf(r), began: time.Now()}
	a.req = t.begin(a.key)
	opts := a.req.start
	if len(links) > 0 {
		opts = append(links, opts...)
	}
	a.ctx, a.span = t.tracer.Start(ctx, a.req.span, opts...)
	if a.span.IsRecording() {
		describe(a.span, r)
	}
	return a
}

// describe sets what belongs to one request alone.
func describe(span trace.Span, r *rpc.Request) {
	attrs := make([]attribute.KeyValue, 0, 5)
	add := func(k attribute.Key, v string) {
		if v != "" {
			attrs = append(attrs, k.String(clip(v, maxMethod)))
		}
	}
	add(serverKey, r.Target.Server)
	add(versionKey, r.Version)
	add(semconv.MessagingMessageIDKey, r.ID)
	add(semconv.MessagingMessageConversationIDKey, r.CallID)
	if r.Redelivered {
		attrs = append(attrs, redeliveredKey.Bool(true))
	}
	span.SetAttributes(attrs...)
}

// end ends the span and measures the request.
func (a *activity) end(r result, err error) {
	took := time.Since(a.began)
	req := a.t.kept(a.key, a.req, r)
	if req.duration != nil {
		req.duration.Record(a.ctx, took.Seconds(), req.of(r).record...)
	}
	if a.span.IsRecording() {
		if !r.knows() {
			a.span.SetName(req.span)
			a.span.SetAttributes(semconv.RPCMethod(other), semconv.RPCMethodOriginal(a.key.method))
		}
		if req.coded {
			a.span.SetAttributes(semconv.RPCResponseStatusCode(r.String()))
		}
		if err != nil {
			fail(a.span, r, err)
		}
	}
	a.span.End()
}

// Bounds of the texts of an error, in bytes: a remote one may be of any size.
const (
	maxMessage = 1 << 10
	maxTrace   = 8 << 10
)

// fail records an error: its kind as error.type, and what was said as an event
// and as the status, which some tools show alone.
func fail(span trace.Span, r result, err error) {
	message := clip(err.Error(), maxMessage)
	class, lines := fmt.Sprintf("%T", err), []string(nil)
	var classed rpc.Classed
	if errors.As(err, &classed) {
		module, name := classed.RemoteClass()
		class = module + "." + name
	}
	switch e := classed.(type) {
	case *rpc.PanicError:
		lines = e.Trace
	case *rpc.RemoteError:
		lines = e.Trace
	}
	attrs := []attribute.KeyValue{semconv.ExceptionType(clip(class, maxMethod)), semconv.ExceptionMessage(message)}
	if len(lines) > 0 {
		attrs = append(attrs, semconv.ExceptionStacktrace(clip(strings.Join(lines, ""), maxTrace)))
	}
	span.AddEvent(semconv.ExceptionEventName, trace.WithAttributes(attrs...))
	span.SetAttributes(semconv.ErrorTypeKey.String(r.String()))
	span.SetStatus(codes.Error, message)
}
