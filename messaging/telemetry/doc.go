// Package telemetry shows what package rpc and a Transport do to OpenTelemetry:
// spans that are linked across the wire, and metrics.
//
//	tel, err := telemetry.New(telemetry.Options{System: "rabbitmq"})
//	t, err := all.Open(ctx, url, &messaging.Options{Trace: tel.Trace()})
//	reg, err := tel.Observe(t)
//	defer reg.Unregister()
//	client := rpc.NewClient(t, target, &rpc.ClientOptions{Middleware: []rpc.Middleware{tel.Client()}})
//	server, err := rpc.NewServer(t, target, eps, &rpc.ServerOptions{Middleware: []rpc.Middleware{tel.Server()}})
//
// Its parts are independent: middleware makes the spans and measures calls and
// handlers, Trace measures each send and each dial, Observe reads the numbers
// that the transport keeps anyway. The core and package rpc do not know this
// package, and who does not import it has no OpenTelemetry in the binary.
//
// # Spans
//
//	a call    CLIENT    "volume/create"    and at the server  SERVER    "volume/create"
//	a cast    PRODUCER  "cast volume"      and at the server  CONSUMER  "process volume"
//	a fanout  PRODUCER  "fanout volume"    and at each server CONSUMER  "process volume"
//
// A server's span is a child of the client's; that of a cast or fanout has a
// link to it too. What ties them travels in the request context, under the keys
// of the propagator: "traceparent" and "tracestate". That is what oslo.messaging
// does, so a trace goes through Go and Python services alike, in each wire
// format. Handlers find the keys among rpc.Values, as they do in Python, and
// a service without telemetry hands them on in its nested calls.
//
// Names, kinds and attributes are those of the semantic conventions v1.43.0 for
// RPC and messaging. docs/observability.md lists them, and the metrics.
package telemetry
