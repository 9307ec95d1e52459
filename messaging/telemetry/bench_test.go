package telemetry_test

import (
	"context"
	"log/slog"
	"testing"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
	"github.com/patchbay-go/patchbay/messaging/telemetry"
)

// BenchmarkCall shows what telemetry adds to a typed call in memory, client
// and server together.
func BenchmarkCall(b *testing.B) {
	noop := telemetry.Options{TracerProvider: tracenoop.NewTracerProvider(), MeterProvider: metricnoop.NewMeterProvider()}
	metrics := noop
	metrics.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	unsampled := metrics
	unsampled.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
	traced := metrics
	traced.TracerProvider = sdktrace.NewTracerProvider() // spans are made, and not exported
	for _, bb := range []struct {
		name string
		opts *telemetry.Options
	}{{"without", nil}, {"noop", &noop}, {"metrics", &metrics}, {"unsampled", &unsampled}, {"traced", &traced}} {
		b.Run(bb.name, func(b *testing.B) {
			c := benchClient(b, bb.opts)
			b.ReportAllocs()
			for b.Loop() {
				if n, err := rpc.CallFor[int](b.Context(), c, "add", sum{2, 3}); n != 5 || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func benchClient(b *testing.B, opts *telemetry.Options) *rpc.Client {
	b.Helper()
	ctx := context.WithoutCancel(b.Context())
	co, so, to := &rpc.ClientOptions{}, &rpc.ServerOptions{}, &messaging.Options{Logger: slog.New(slog.DiscardHandler)}
	if opts != nil {
		tel, err := telemetry.New(*opts)
		if err != nil {
			b.Fatal(err)
		}
		co.Middleware, so.Middleware, to.Trace = []rpc.Middleware{tel.Client()}, []rpc.Middleware{tel.Server()}, tel.Trace()
	}
	t, err := messaging.Registry{"fake": fake.New(nil).Open}.Open(ctx, "fake://", to)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = t.Close(ctx) })
	s, err := rpc.NewServer(t, messaging.Target{Topic: "volume", Server: "s1"}, []*rpc.Endpoint{demo()}, so)
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Start(ctx); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Wait(ctx) })
	return rpc.NewClient(t, messaging.Target{Topic: "volume", Version: "1.0"}, co)
}
