// Command prometheus serves RPC with its metrics at http://localhost:9464/metrics,
// and calls itself once a second, so that there is something to see:
//
//	go run ./examples/prometheus                                   # in memory
//	go run ./examples/prometheus rabbit://guest:guest@localhost/   # over a broker
//
// It uses OpenTelemetry's own exporter: it is part of the OpenTelemetry
// repository and released with it, maps names and units to Prometheus' rules,
// and hands everything to the Prometheus client library.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/patchbay-go/patchbay/drivers/all"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
	"github.com/patchbay-go/patchbay/messaging/telemetry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	url := "fake://"
	if len(os.Args) > 1 {
		url = os.Args[1]
	}
	if err := run(ctx, url, "localhost:9464"); err != nil {
		slog.Error("ended", "error", err)
		os.Exit(1)
	}
}

// run serves, calls and shows metrics until ctx ends.
func run(ctx context.Context, url, address string) error {
	s, err := open(ctx, url)
	if err != nil {
		return err
	}
	defer s.close(context.WithoutCancel(ctx))
	web := &http.Server{Addr: address, Handler: s.metrics, ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = web.Close() })()
	go s.work(ctx, time.Second)
	if err := web.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving metrics: %w", err)
	}
	return nil
}

// service is what the program has: a transport, a server and a client on it,
// and a handler that shows their metrics.
type service struct {
	transport *messaging.Transport
	server    *rpc.Server
	client    *rpc.Client
	metrics   http.Handler
	readers   *metric.MeterProvider
}

func open(ctx context.Context, url string) (*service, error) {
	registry := prometheus.NewRegistry()
	exporter, err := otelprom.New(otelprom.WithRegisterer(registry))
	if err != nil {
		return nil, fmt.Errorf("making the exporter: %w", err)
	}
	s := &service{
		metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		readers: metric.NewMeterProvider(metric.WithReader(exporter)),
	}
	tel, err := telemetry.New(telemetry.Options{MeterProvider: s.readers})
	if err != nil {
		return nil, err
	}
	s.transport, err = all.Open(ctx, url, &messaging.Options{Trace: tel.Trace()})
	if err != nil {
		return nil, err
	}
	target := messaging.Target{Topic: "calculator", Server: "c1"}
	if err := s.serve(ctx, tel, target); err != nil {
		s.close(ctx)
		return nil, err
	}
	s.client = rpc.NewClient(s.transport, messaging.Target{Topic: target.Topic},
		&rpc.ClientOptions{Timeout: 5 * time.Second, Middleware: []rpc.Middleware{tel.Client()}})
	return s, nil
}

// serve starts the server, and shows the numbers of transport and server.
func (s *service) serve(ctx context.Context, tel *telemetry.Telemetry, target messaging.Target) error {
	ep := &rpc.Endpoint{}
	rpc.Handle(ep, "add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil })
	var err error
	s.server, err = rpc.NewServer(s.transport, target, []*rpc.Endpoint{ep},
		&rpc.ServerOptions{Middleware: []rpc.Middleware{tel.Server()}})
	if err != nil {
		return err
	}
	if err := s.server.Start(ctx); err != nil {
		return err
	}
	if _, err := tel.Observe(s.transport); err != nil { // for as long as the program lives
		return err
	}
	_, err = tel.ObserveServer(s.server, target)
	return err
}

// work calls again and again until ctx ends.
func (s *service) work(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := s.client.Call(ctx, "add", rpc.Args{"A": 2, "B": 3}, nil); err != nil && ctx.Err() == nil {
			slog.Warn("a call failed", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *service) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if s.server != nil {
		_ = s.server.Wait(ctx)
	}
	_ = s.transport.Close(ctx)
	_ = s.readers.Shutdown(ctx)
}
