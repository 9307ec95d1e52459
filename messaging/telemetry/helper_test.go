package telemetry_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
	"github.com/patchbay-go/patchbay/messaging/telemetry"
)

// process is a program with telemetry of its own: what crosses from one to
// another went over the wire.
type process struct {
	t         *testing.T
	transport *messaging.Transport
	tel       *telemetry.Telemetry
	spans     *tracetest.InMemoryExporter
	reader    *metric.ManualReader
}

// onBothWires runs test with virtual time, once for each wire format. open
// starts a process.
func onBothWires(t *testing.T, test func(t *testing.T, b *fake.Broker, open func() *process)) {
	t.Helper()
	for _, wire := range []string{"native", "oslo"} {
		t.Run(wire, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fake.New(nil)
				test(t, b, func() *process { return start(t, b, "fake://h1:5672/?wire="+wire) })
			})
		})
	}
}

func start(t *testing.T, b *fake.Broker, url string) *process {
	t.Helper()
	p := &process{t: t, spans: tracetest.NewInMemoryExporter(), reader: metric.NewManualReader()}
	tel, err := telemetry.New(telemetry.Options{
		TracerProvider: trace.NewTracerProvider(trace.WithSyncer(p.spans)),
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(p.reader)),
		System:         "fake",
	})
	if err != nil {
		t.Fatal(err)
	}
	p.tel = tel
	p.transport, err = messaging.Registry{"fake": b.Open}.Open(t.Context(), url, &messaging.Options{
		Trace: tel.Trace(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.transport.Close(context.WithoutCancel(t.Context())) })
	return p
}

func (p *process) client() *rpc.Client {
	return rpc.NewClient(p.transport, messaging.Target{Topic: "volume", Version: "1.0"},
		&rpc.ClientOptions{Middleware: []rpc.Middleware{p.tel.Client()}})
}

func (p *process) serve(name string, opts *rpc.ServerOptions) *rpc.Server {
	p.t.Helper()
	var o rpc.ServerOptions
	if opts != nil {
		o = *opts
	}
	o.Logger = slog.New(slog.DiscardHandler)
	o.Middleware = append([]rpc.Middleware{p.tel.Server()}, o.Middleware...)
	s, err := rpc.NewServer(p.transport, messaging.Target{Topic: "volume", Server: name}, []*rpc.Endpoint{demo()}, &o)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := s.Start(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(p.t.Context()), time.Second)
		defer cancel()
		if s.Wait(ctx) != nil { // what hangs was told to end now
			_ = s.Wait(context.WithoutCancel(ctx))
		}
	})
	return s
}

type sum struct{ A, B int }

func demo() *rpc.Endpoint {
	ep := &rpc.Endpoint{Version: "1.2"}
	rpc.Handle(ep, "add", func(_ context.Context, s sum) (int, error) { return s.A + s.B, nil })
	rpc.Handle(ep, "note", func(context.Context, rpc.None) (rpc.None, error) { return rpc.None{}, nil })
	rpc.Handle(ep, "values", func(ctx context.Context, _ rpc.None) (map[string]any, error) { return rpc.Values(ctx), nil })
	rpc.Handle(ep, "fail", func(context.Context, rpc.None) (rpc.None, error) {
		return rpc.None{}, rpc.NewError("builtins", "ValueError", "no such size")
	})
	rpc.Handle(ep, "panic", func(context.Context, rpc.None) (rpc.None, error) { panic("at the disco") })
	rpc.Handle(ep, "plain", func(context.Context, rpc.None) (rpc.None, error) { return rpc.None{}, errors.New("plain") })
	rpc.Handle(ep, "wait", func(ctx context.Context, _ rpc.None) (rpc.None, error) { <-ctx.Done(); return rpc.None{}, ctx.Err() })
	return ep
}

// ended returns the spans that ended, in the order of their ends. It waits
// until everything is quiet.
func (p *process) ended() tracetest.SpanStubs {
	synctest.Wait()
	return p.spans.GetSpans()
}

// one returns the only span that ended.
func (p *process) one() tracetest.SpanStub {
	p.t.Helper()
	spans := p.ended()
	if len(spans) != 1 {
		p.t.Fatalf("%d spans ended, want 1: %v", len(spans), spans)
	}
	return spans[0]
}

// attrs returns attributes as text.
func attrs(set []attribute.KeyValue) map[string]string {
	m := make(map[string]string, len(set))
	for _, kv := range set {
		m[string(kv.Key)] = kv.Value.String()
	}
	return m
}

// metrics returns what was measured, one line a series: name{labels} number.
// For a histogram the number is how many were measured.
func (p *process) metrics(prefixes ...string) []string {
	p.t.Helper()
	synctest.Wait()
	var all metricdata.ResourceMetrics
	if err := p.reader.Collect(p.t.Context(), &all); err != nil {
		p.t.Fatal(err)
	}
	var lines []string
	add := func(name string, set attribute.Set, n int64) {
		var labels []string
		for _, kv := range set.ToSlice() {
			labels = append(labels, fmt.Sprintf("%s=%s", kv.Key, kv.Value.String()))
		}
		slices.Sort(labels)
		lines = append(lines, fmt.Sprintf("%s{%s} %d", name, strings.Join(labels, ","), n))
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(m.Name, p) }) {
				continue
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, point := range data.DataPoints {
					add(m.Name, point.Attributes, point.Value)
				}
			case metricdata.Histogram[float64]:
				for _, point := range data.DataPoints {
					add(m.Name, point.Attributes, int64(point.Count))
				}
			default:
				p.t.Fatalf("metric %s is a %T", m.Name, data)
			}
		}
	}
	slices.SortFunc(lines, cmp.Compare)
	return lines
}

// inject sends a message that no codec made.
func inject(t *testing.T, b *fake.Broker, to messaging.Address, m messaging.Message) error {
	t.Helper()
	conn, err := b.Driver((*messaging.Options)(nil).WithDefaults()).Dial(t.Context(), messaging.Endpoint{
		Credentials: func(context.Context) (messaging.Credentials, error) { return messaging.Credentials{}, nil },
	})
	if err != nil {
		return err
	}
	defer conn.Close(t.Context())
	done := make(outcome, 1)
	if err := conn.Send(t.Context(), to, &m, done); err != nil {
		return err
	}
	return <-done
}

// outcome is the Completion of a send.
type outcome chan error

func (o outcome) Complete(err error) { o <- err }
