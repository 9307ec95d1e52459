package telemetry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/trace"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// remoteParent is a context with a span of another program, with a trace state.
func remoteParent(ctx context.Context, t *testing.T) (context.Context, trace.SpanContext) {
	t.Helper()
	state, err := trace.ParseTraceState("vendor=x:y")
	if err != nil {
		t.Fatal(err)
	}
	sc := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state, Remote: true,
	})
	return trace.ContextWithRemoteSpanContext(ctx, sc), sc
}

// TestWireForm holds what travels: the keys and the form of oslo.messaging,
// beside the application's own entries, which handlers see as they do there.
func TestWireForm(t *testing.T) {
	onBothWires(t, func(t *testing.T, _ *fake.Broker, open func() *process) {
		there, here := open(), open()
		there.serve("s1", nil)
		ctx, parent := remoteParent(rpc.NewContext(t.Context(), "user", "u1"), t)
		got, err := rpc.CallFor[map[string]any](ctx, here.client(), "values", nil)
		if err != nil {
			t.Fatal(err)
		}
		client := here.one()
		if client.Parent.SpanID() != parent.SpanID() {
			t.Errorf("the client's parent is %v, want %v", client.Parent.SpanID(), parent.SpanID())
		}
		want := map[string]any{
			"user":        "u1",
			"traceparent": fmt.Sprintf("00-%v-%v-01", parent.TraceID(), client.SpanContext.SpanID()),
			"tracestate":  parent.TraceState().String(),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("request context (-want +got):\n%s", diff)
		}
		if s := there.one().SpanContext.TraceState().String(); s != parent.TraceState().String() {
			t.Errorf("trace state %q at the server, want %q", s, parent.TraceState())
		}
	})
}

// TestNestedCalls shows one trace over three services: the second has
// telemetry and puts its own span in the place of the one that came; the third
// has none, and passes on what came.
func TestNestedCalls(t *testing.T) {
	for _, instrumented := range []bool{true, false} {
		t.Run(fmt.Sprint("instrumented=", instrumented), func(t *testing.T) {
			onBothWires(t, func(t *testing.T, _ *fake.Broker, open func() *process) {
				last, middle, first := open(), open(), open()
				last.serve("s1", nil)
				var client, server []rpc.Middleware
				if instrumented {
					client, server = []rpc.Middleware{middle.tel.Client()}, []rpc.Middleware{middle.tel.Server()}
				}
				nested := rpc.NewClient(middle.transport, messaging.Target{Topic: "volume"}, &rpc.ClientOptions{Middleware: client})
				ep := &rpc.Endpoint{}
				rpc.Handle(ep, "forward", func(ctx context.Context, _ rpc.None) (map[string]any, error) {
					return rpc.CallFor[map[string]any](ctx, nested, "values", nil)
				})
				s, err := rpc.NewServer(middle.transport, messaging.Target{Topic: "front", Server: "f1"}, []*rpc.Endpoint{ep},
					&rpc.ServerOptions{Middleware: server})
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				defer s.Wait(context.WithoutCancel(t.Context()))

				values, err := rpc.CallFor[map[string]any](t.Context(), first.client().Prepare(rpc.WithTopic("front"), rpc.WithVersion("")), "forward", nil)
				if err != nil || len(values) != 1 {
					t.Fatalf("%v, %v, want traceparent once", values, err)
				}
				if !instrumented {
					wantChild(t, last.one(), first.one())
					return
				}
				spans := middle.ended() // the nested call ends first
				wantChild(t, last.one(), spans[0])
				if spans[0].Parent.SpanID() != spans[1].SpanContext.SpanID() {
					t.Errorf("the nested call's parent is %v, want the handler's span", spans[0].Parent.SpanID())
				}
				wantChild(t, spans[1], first.one())
			})
		})
	}
}

// TestHostileFields shows that what a peer writes into the propagator's keys
// does no harm: the span begins a trace of its own.
// A request without a trace begins one, though the server was started under a span.
func TestRequestIsNoChildOfTheStart(t *testing.T) {
	onBothWires(t, func(t *testing.T, _ *fake.Broker, open func() *process) {
		there, here := open(), open()
		ctx, _ := remoteParent(t.Context(), t)
		s, err := rpc.NewServer(there.transport, messaging.Target{Topic: "volume", Server: "s1"}, []*rpc.Endpoint{demo()},
			&rpc.ServerOptions{Middleware: []rpc.Middleware{there.tel.Server()}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(ctx); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Wait(t.Context()) }()
		c := rpc.NewClient(here.transport, messaging.Target{Topic: "volume"}, nil)
		if err := c.Call(t.Context(), "note", nil, nil); err != nil {
			t.Fatal(err)
		}
		if span := there.one(); span.Parent.IsValid() || len(span.Links) > 0 {
			t.Errorf("parent %v, %d links", span.Parent.SpanID(), len(span.Links))
		}
		there.spans.Reset()
		if err := here.client().Call(t.Context(), "note", nil, nil); err != nil {
			t.Fatal(err)
		}
		wantChild(t, there.one(), here.one())
	})
}

func TestHostileFields(t *testing.T) {
	good := `"00-0100000000000000000000000000000a-020000000000000b-01"`
	tests := []struct {
		name, parent string
		child        bool
	}{
		{"good", good, true},
		{"escaped", strings.Replace(good, "0", `\u0030`, 1), true},
		{"null", "null", false},
		{"a number", "12", false},
		{"empty", `""`, false},
		{"too short", `"00-01"`, false},
		{"no trace", strings.ReplaceAll(strings.ReplaceAll(good, "1", "0"), "a", "0"), false},
		{"endless", `"` + strings.Repeat("0", 1<<20) + `"`, false},
		{"an object", `{"traceparent":` + good + `}`, false},
	}
	onBothWires(t, func(t *testing.T, _ *fake.Broker, open func() *process) {
		there, here := open(), open()
		there.serve("s1", nil)
		c := rpc.NewClient(here.transport, messaging.Target{Topic: "volume"}, nil)
		for _, tt := range tests {
			there.spans.Reset()
			ctx := rpc.NewContext(t.Context(), "traceparent", json.RawMessage(tt.parent))
			if err := c.Cast(ctx, "note", nil); err != nil {
				t.Fatal(err)
			}
			s := there.one()
			if s.Parent.IsValid() != tt.child || (len(s.Links) == 1) != tt.child || !s.SpanContext.IsValid() {
				t.Errorf("%s: parent %v, %d links; want one: %v", tt.name, s.Parent.SpanID(), len(s.Links), tt.child)
			}
		}
	})
}
