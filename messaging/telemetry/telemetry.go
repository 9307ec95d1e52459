package telemetry

import (
	"cmp"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/messagingconv"
	"go.opentelemetry.io/otel/semconv/v1.43.0/rpcconv"
	"go.opentelemetry.io/otel/trace"
)

// scope is the name of the instrumentation scope.
const scope = "github.com/patchbay-go/patchbay/messaging/telemetry"

// DefaultSystem is what messaging.system says when Options do not.
const DefaultSystem = "patchbay"

// Options are the options of New. The zero value means all defaults.
type Options struct {
	// TracerProvider makes the tracer. Default: otel's global one.
	TracerProvider trace.TracerProvider

	// MeterProvider makes the meter. Default: otel's global one.
	MeterProvider metric.MeterProvider

	// Propagator writes the span of a request into its context and reads it
	// there. Default: otel's global one if one was set before New, else W3C
	// Trace Context: otel's own default would tie nothing together.
	Propagator propagation.TextMapPropagator

	// System is the messaging.system of all spans and metrics; the conventions
	// say "rabbitmq" for RabbitMQ. A program with transports of two kinds makes
	// a Telemetry for each. Default: DefaultSystem.
	System string
}

// Telemetry makes spans and metrics. Make one with New; it is safe for
// concurrent use, by any number of clients, servers and transports.
type Telemetry struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	fields     []string // the keys that the propagator writes
	system     string

	requests  cache[requestKey, request]
	others    cache[requestKey, request] // of methods that a server does not have
	addresses cache[addressKey, series]

	clientCalls metric.Float64Histogram
	serverCalls metric.Float64Histogram
	processing  metric.Float64Histogram
	sent        metric.Int64Counter
	sending     metric.Float64Histogram
	dialling    metric.Float64Histogram
	relistened  metric.Int64Counter
	transports  observed[transportStats]
	servers     observed[serverStats]
}

// New returns a Telemetry. An error means that the MeterProvider refused an
// instrument.
func New(o Options) (*Telemetry, error) {
	if o.TracerProvider == nil {
		o.TracerProvider = otel.GetTracerProvider()
	}
	if o.MeterProvider == nil {
		o.MeterProvider = otel.GetMeterProvider()
	}
	if o.Propagator == nil {
		o.Propagator = otel.GetTextMapPropagator()
		if len(o.Propagator.Fields()) == 0 {
			o.Propagator = propagation.TraceContext{}
		}
	}
	t := &Telemetry{
		tracer:     o.TracerProvider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		propagator: o.Propagator,
		fields:     o.Propagator.Fields(),
		system:     cmp.Or(o.System, DefaultSystem),
	}
	if err := t.instruments(o.MeterProvider.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))); err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	return t, nil
}

// instruments makes what is measured. Names that begin with "patchbay." are
// ours; the others are those of the semantic conventions, with their buckets.
func (t *Telemetry) instruments(m metric.Meter) error {
	clientCalls, err1 := rpcconv.NewClientCallDuration(m)
	serverCalls, err2 := rpcconv.NewServerCallDuration(m)
	processing, err3 := messagingconv.NewProcessDuration(m)
	sent, err4 := messagingconv.NewClientSentMessages(m)
	sending, err5 := messagingconv.NewClientOperationDuration(m)
	t.clientCalls, t.serverCalls, t.processing = clientCalls.Inst(), serverCalls.Inst(), processing.Inst()
	t.sent, t.sending = sent.Inst(), sending.Inst()
	var err6, err7, err8, err9 error
	t.dialling, err6 = m.Float64Histogram("patchbay.dial.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of attempts to connect to one host."),
		metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10))
	t.relistened, err7 = m.Int64Counter("patchbay.reconnects", metric.WithUnit("{reconnect}"),
		metric.WithDescription("Listeners that receive again after a lost connection."))
	t.transports, err8 = observe(m, transportNumbers())
	t.servers, err9 = observe(m, serverNumbers())
	return cmp.Or(err1, err2, err3, err4, err5, err6, err7, err8, err9)
}
