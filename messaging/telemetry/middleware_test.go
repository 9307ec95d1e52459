package telemetry_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// wantChild fails the test unless child was begun by a request of parent.
func wantChild(t *testing.T, child, parent tracetest.SpanStub) {
	t.Helper()
	if child.SpanContext.TraceID() != parent.SpanContext.TraceID() {
		t.Errorf("%q is in trace %v, %q in %v", child.Name, child.SpanContext.TraceID(), parent.Name, parent.SpanContext.TraceID())
	}
	if child.Parent.SpanID() != parent.SpanContext.SpanID() || !child.Parent.IsRemote() {
		t.Errorf("the parent of %q is %v (remote %v), want %v of %q",
			child.Name, child.Parent.SpanID(), child.Parent.IsRemote(), parent.SpanContext.SpanID(), parent.Name)
	}
}

func wantSpan(t *testing.T, s tracetest.SpanStub, name string, kind trace.SpanKind, want map[string]string) {
	t.Helper()
	if s.Name != name || s.SpanKind != kind {
		t.Errorf("span %q is a %v, want %q, a %v", s.Name, s.SpanKind, name, kind)
	}
	got := attrs(s.Attributes)
	for _, id := range []string{"messaging.message.id", "messaging.message.conversation_id"} {
		if _, ok := want[id]; ok && len(got[id]) == 32 { // whatever it is
			want[id] = got[id]
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes of %q (-want +got):\n%s", name, diff)
	}
}

func TestCallSpans(t *testing.T) {
	onBothWires(t, func(t *testing.T, _ *fake.Broker, open func() *process) {
		there, here := open(), open()
		there.serve("s1", nil)
		c := here.client().Prepare(rpc.WithServer("s1"))
		if n, err := rpc.CallFor[int](t.Context(), c, "add", sum{2, 3}); n != 5 || err != nil {
			t.Fatal(n, err)
		}
		client, server := here.one(), there.one()
		wantChild(t, server, client)
		wantSpan(t, client, "volume/add", trace.SpanKindClient, map[string]string{
			"rpc.system.name": "patchbay", "rpc.method": "volume/add", "rpc.response.status_code": "ok",
			"messaging.system": "fake", "messaging.destination.name": "volume",
			"patchbay.server": "s1", "patchbay.version": "1.0",
		})
		wantSpan(t, server, "volume/add", trace.SpanKindServer, map[string]string{
			"rpc.system.name": "patchbay", "rpc.method": "volume/add", "rpc.response.status_code": "ok",
			"messaging.system": "fake", "messaging.destination.name": "volume",
			"messaging.message.id": "", "messaging.message.conversation_id": "",
			"patchbay.server": "s1", "patchbay.version": "1.0",
		})
		if client.Status.Code != codes.Unset || server.Status.Code != codes.Unset {
			t.Errorf("status %v and %v, want none", client.Status, server.Status)
		}
	})
}

func TestCastAndFanoutSpans(t *testing.T) {
	tests := []struct {
		name string
		send func(context.Context, *rpc.Client) error
	}{
		{"cast", func(ctx context.Context, c *rpc.Client) error { return c.Cast(ctx, "note", nil) }},
		{"fanout", func(ctx context.Context, c *rpc.Client) error { return c.Fanout(ctx, "note", nil) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onBothWires(t, func(t *testing.T, _ *fake.Broker, open func() *process) {
				there, here := open(), open()
				there.serve("s1", nil)
				if err := tt.send(t.Context(), here.client()); err != nil {
					t.Fatal(err)
				}
				producer, consumer := here.one(), there.one()
				wantChild(t, consumer, producer)
				if len(consumer.Links) != 1 || !consumer.Links[0].SpanContext.Equal(producer.SpanContext.WithRemote(true)) {
					t.Errorf("links %v, want one to %v", consumer.Links, producer.SpanContext)
				}
				wantSpan(t, producer, tt.name+" volume", trace.SpanKindProducer, map[string]string{
					"rpc.system.name": "patchbay", "rpc.method": "volume/note",
					"messaging.system": "fake", "messaging.destination.name": "volume",
					"messaging.operation.name": tt.name, "messaging.operation.type": "send",
					"patchbay.version": "1.0",
				})
				wantSpan(t, consumer, "process volume", trace.SpanKindConsumer, map[string]string{
					"rpc.system.name": "patchbay", "rpc.method": "volume/note",
					"messaging.system": "fake", "messaging.destination.name": "volume",
					"messaging.operation.name": "process", "messaging.operation.type": "process",
					"messaging.message.id": "", "patchbay.server": "s1", "patchbay.version": "1.0",
				})
			})
		})
	}
}

func TestFailureSpans(t *testing.T) {
	tests := []struct {
		method             string
		args               rpc.Args
		here, there        string // results
		name, class, trace string // of the server's span; of the exception there, and how its stack trace begins
	}{
		{"fail", nil, "remote_error", "error", "volume/fail", "builtins.ValueError", ""},
		{"plain", nil, "remote_error", "error", "volume/plain", "*errors.errorString", ""},
		{"panic", nil, "remote_error", "panic", "volume/panic", "patchbay.Panic", "Traceback"},
		{"nonsense", nil, "remote_error", "no_such_method", "patchbay", "oslo_messaging.rpc.dispatcher.NoSuchMethod", ""},
		{"add", rpc.Args{"A": "x"}, "remote_error", "bad_arguments", "volume/add", "builtins.TypeError", ""},
	}
	onBothWires(t, func(t *testing.T, _ *fake.Broker, open func() *process) {
		there, here := open(), open()
		there.serve("s1", nil)
		for _, tt := range tests {
			here.spans.Reset()
			there.spans.Reset()
			if err := here.client().Call(t.Context(), tt.method, tt.args, nil); err == nil {
				t.Fatalf("%s: no error", tt.method)
			}
			client, server := here.one(), there.one()
			wantChild(t, server, client)
			if server.Name != tt.name {
				t.Errorf("%s: the server's span is %q, want %q", tt.method, server.Name, tt.name)
			}
			for _, s := range []struct {
				side string
				span tracetest.SpanStub
				want string
			}{{"client", client, tt.here}, {"server", server, tt.there}} {
				got := attrs(s.span.Attributes)
				if got["error.type"] != s.want || got["rpc.response.status_code"] != s.want || s.span.Status.Code != codes.Error {
					t.Errorf("%s, %s: error.type %q, status_code %q, status %v; want %q", tt.method, s.side,
						got["error.type"], got["rpc.response.status_code"], s.span.Status, s.want)
				}
			}
			if len(server.Events) != 1 {
				t.Fatalf("%s: events %v, want one", tt.method, server.Events)
			}
			e := attrs(server.Events[0].Attributes)
			if server.Events[0].Name != "exception" || e["exception.type"] != tt.class || !strings.HasPrefix(e["exception.stacktrace"], tt.trace) {
				t.Errorf("%s: event %q %v, want an exception of %q with %q", tt.method, server.Events[0].Name, e, tt.class, tt.trace)
			}
		}
	})
}

// TestUnknownMethods shows that names which peers make up do not become labels.
func TestUnknownMethods(t *testing.T) {
	onBothWires(t, func(t *testing.T, _ *fake.Broker, open func() *process) {
		there, here := open(), open()
		there.serve("s1", nil)
		plain := rpc.NewClient(here.transport, messaging.Target{Topic: "volume"}, nil)
		for _, method := range []string{"m1", "m2", strings.Repeat("m", 5000)} {
			if err := plain.Call(t.Context(), method, nil, nil); !errors.Is(err, rpc.ErrNoSuchMethod) {
				t.Fatal(err)
			}
		}
		if err := plain.Prepare(rpc.WithVersion("9.0")).Call(t.Context(), "m4", nil, nil); !errors.Is(err, rpc.ErrUnsupportedVersion) {
			t.Fatal(err)
		}
		want := []string{
			"rpc.server.call.duration{error.type=no_such_method,messaging.destination.name=volume,messaging.system=fake,rpc.method=_OTHER,rpc.response.status_code=no_such_method,rpc.system.name=patchbay} 3",
			"rpc.server.call.duration{error.type=unsupported_version,messaging.destination.name=volume,messaging.system=fake,rpc.method=_OTHER,rpc.response.status_code=unsupported_version,rpc.system.name=patchbay} 1",
		}
		if diff := cmp.Diff(want, there.metrics("rpc.")); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		for i, s := range there.ended() {
			got := attrs(s.Attributes)
			original := []string{"m1", "m2", strings.Repeat("m", 200), "m4"}[i]
			if got["rpc.method"] != "_OTHER" || got["rpc.method_original"] != original {
				t.Errorf("rpc.method %q, original %.20q", got["rpc.method"], got["rpc.method_original"])
			}
		}
	})
}

func TestClientResults(t *testing.T) {
	onBothWires(t, func(t *testing.T, b *fake.Broker, open func() *process) {
		there, here := open(), open()
		there.serve("s1", nil)
		c := here.client()
		begun := time.Now()
		if err := c.Prepare(rpc.WithTimeout(time.Hour)).Call(t.Context(), "wait", nil, nil); !errors.Is(err, messaging.ErrTimeout) {
			t.Fatal(err)
		}
		if s := here.one(); s.EndTime.Sub(s.StartTime) != time.Since(begun) {
			t.Errorf("the span took %v, the call %v", s.EndTime.Sub(s.StartTime), time.Since(begun))
		}
		mandatory := c.Prepare(rpc.WithServer("nobody"), rpc.WithMandatory(true))
		if err := mandatory.Call(t.Context(), "add", nil, nil); !errors.Is(err, messaging.ErrNoRoute) {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { synctest.Wait(); cancel() }()
		if err := c.Call(ctx, "wait", nil, nil); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		b.RefuseNew(true)
		defer b.RefuseNew(false)
		b.CutAll()
		synctest.Wait()
		if err := c.Prepare(rpc.WithRetry(-1)).Call(t.Context(), "add", nil, nil); !errors.Is(err, messaging.ErrNotSent) {
			t.Fatal(err)
		}
		var got []string
		for _, s := range here.ended() {
			got = append(got, attrs(s.Attributes)["rpc.response.status_code"])
		}
		if diff := cmp.Diff([]string{"timeout", "no_route", "canceled", "not_sent"}, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}
