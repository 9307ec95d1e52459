package telemetry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
	"github.com/patchbay-go/patchbay/messaging/telemetry"
)

func wantMetrics(t *testing.T, p *process, prefix string, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, p.metrics(prefix)); diff != "" {
		t.Errorf("metrics %s* (-want +got):\n%s", prefix, diff)
	}
}

// TestLabelsOfEachCall shows that each measurement has the labels of its own
// request, not of the first one.
func TestLabelsOfEachCall(t *testing.T) {
	onBothWires(t, func(t *testing.T, _ *fake.Broker, open func() *process) {
		there, here := open(), open()
		there.serve("s1", nil)
		c := here.client()
		for range 2 {
			if err := c.Call(t.Context(), "add", sum{1, 2}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Call(t.Context(), "note", nil, nil); err != nil {
			t.Fatal(err)
		}
		if err := c.Call(t.Context(), "fail", nil, nil); err == nil {
			t.Fatal("no error")
		}
		absent := c.Prepare(rpc.WithTopic("network"), rpc.WithExchange("nova"), rpc.WithNamespace("admin"), rpc.WithMandatory(true))
		if err := absent.Call(t.Context(), "add", sum{1, 2}, nil); !errors.Is(err, messaging.ErrNoRoute) {
			t.Fatal(err)
		}
		if err := c.Cast(t.Context(), "note", nil); err != nil {
			t.Fatal(err)
		}
		if err := c.Fanout(t.Context(), "plain", nil); err != nil {
			t.Fatal(err)
		}
		const volume = "messaging.destination.name=volume,messaging.system=fake,"
		wantMetrics(t, here, "rpc.", []string{
			"rpc.client.call.duration{error.type=no_route,messaging.destination.name=nova:network,messaging.system=fake,rpc.method=network.admin/add,rpc.response.status_code=no_route,rpc.system.name=patchbay} 1",
			"rpc.client.call.duration{error.type=remote_error," + volume + "rpc.method=volume/fail,rpc.response.status_code=remote_error,rpc.system.name=patchbay} 1",
			"rpc.client.call.duration{" + volume + "rpc.method=volume/add,rpc.response.status_code=ok,rpc.system.name=patchbay} 2",
			"rpc.client.call.duration{" + volume + "rpc.method=volume/note,rpc.response.status_code=ok,rpc.system.name=patchbay} 1",
		})
		wantMetrics(t, there, "rpc.", []string{
			"rpc.server.call.duration{error.type=error," + volume + "rpc.method=volume/fail,rpc.response.status_code=error,rpc.system.name=patchbay} 1",
			"rpc.server.call.duration{" + volume + "rpc.method=volume/add,rpc.response.status_code=ok,rpc.system.name=patchbay} 2",
			"rpc.server.call.duration{" + volume + "rpc.method=volume/note,rpc.response.status_code=ok,rpc.system.name=patchbay} 1",
		})
		const process = "messaging.destination.name=volume,messaging.operation.name=process,messaging.operation.type=process,messaging.system=fake,"
		wantMetrics(t, there, "messaging.process", []string{
			"messaging.process.duration{error.type=error," + process + "rpc.method=volume/plain,rpc.system.name=patchbay} 1",
			"messaging.process.duration{" + process + "rpc.method=volume/note,rpc.system.name=patchbay} 1",
		})
		for _, name := range []string{"messaging.client.sent.messages", "messaging.client.operation.duration"} {
			wantMetrics(t, here, name, []string{
				name + "{error.type=no_route,messaging.destination.name=nova:network,messaging.operation.name=send,messaging.operation.type=send,messaging.system=fake} 1",
				name + "{messaging.destination.name=volume,messaging.operation.name=fanout,messaging.operation.type=send,messaging.system=fake} 1",
				name + "{messaging.destination.name=volume,messaging.operation.name=send,messaging.operation.type=send,messaging.system=fake} 5",
			})
			wantMetrics(t, there, name, []string{
				name + "{messaging.destination.template=reply,messaging.destination.temporary=true,messaging.operation.name=reply,messaging.operation.type=send,messaging.system=fake} 4",
			})
		}
	})
}

func TestObserve(t *testing.T) {
	onBothWires(t, func(t *testing.T, b *fake.Broker, open func() *process) {
		there, here := open(), open()
		s := there.serve("s1", nil)
		for _, p := range []*process{there, here} {
			reg, err := p.tel.Observe(p.transport)
			if err != nil {
				t.Fatal(err)
			}
			defer reg.Unregister()
		}
		regS, err := there.tel.ObserveServer(s, messaging.Target{Topic: "volume", Server: "s1"})
		if err != nil {
			t.Fatal(err)
		}
		c := here.client()
		go func() { _ = c.Call(t.Context(), "wait", nil, nil) }()
		if err := c.Cast(t.Context(), "panic", nil); err != nil {
			t.Fatal(err)
		}
		garbage := messaging.Target{Topic: "volume"}.Address()
		if err := inject(t, b, garbage, messaging.Message{ContentType: "text/plain", Body: []byte("?")}); err != nil {
			t.Fatal(err)
		}

		const labels = "{messaging.system=fake,server.address=h1,server.port=5672}"
		wantMetrics(t, here, "patchbay.calls", []string{"patchbay.calls.in_flight" + labels + " 1"})
		wantMetrics(t, here, "patchbay.connections.open", []string{"patchbay.connections.open" + labels + " 2"})
		wantMetrics(t, here, "patchbay.connections.lost", []string{"patchbay.connections.lost" + labels + " 0"})
		wantMetrics(t, there, "patchbay.messages", []string{
			"patchbay.messages.duplicate" + labels + " 0",
			"patchbay.messages.received" + labels + " 2",
			"patchbay.messages.undecodable" + labels + " 1",
		})
		const server = "{messaging.destination.name=volume,messaging.system=fake,patchbay.server=s1}"
		wantMetrics(t, there, "patchbay.server", []string{
			"patchbay.server.panics" + server + " 1",
			"patchbay.server.replies.lost" + server + " 0",
			"patchbay.server.requests.expired" + server + " 0",
			"patchbay.server.requests.in_flight" + server + " 1",
		})
		if err := regS.Unregister(); err != nil {
			t.Fatal(err)
		}
		wantMetrics(t, there, "patchbay.server", nil)
	})
}

// TestReconnects shows dials with their results, and listeners that came back.
func TestReconnects(t *testing.T) {
	onBothWires(t, func(t *testing.T, b *fake.Broker, open func() *process) {
		p := open()
		p.serve("s1", nil)
		b.RefuseNew(true)
		b.CutAll()
		<-time.After(time.Minute)
		b.RefuseNew(false)
		<-time.After(time.Minute)
		synctest.Wait()
		wantMetrics(t, p, "patchbay.reconnects", []string{
			"patchbay.reconnects{messaging.destination.name=volume,messaging.system=fake} 1",
		})
		dials := p.metrics("patchbay.dial.duration")
		if len(dials) != 2 || dials[1] != "patchbay.dial.duration{messaging.system=fake,server.address=h1,server.port=5672} 2" {
			t.Errorf("dials %q, want two that succeeded, and some that failed", dials)
		}
	})
}

// TestSharedAttributes shows what two transports to the same host give: sums.
func TestSharedAttributes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fake.New(nil)
		p := start(t, b, "fake://h1:5672/")
		other, err := messaging.Registry{"fake": b.Open}.Open(t.Context(), "fake://h1:5672/", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, transport := range []*messaging.Transport{p.transport, other} {
			if err := transport.Connect(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := p.tel.Observe(transport); err != nil {
				t.Fatal(err)
			}
		}
		wantMetrics(t, p, "patchbay.connections.open", []string{
			"patchbay.connections.open{messaging.system=fake,server.address=h1,server.port=5672} 2",
		})
		if err := other.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// What is kept for a method is as short as its label is, not as its name was: other
// middleware may refuse requests before it is known whether there is such a method.
func TestLongNamesAreNotKept(t *testing.T) {
	tel, err := telemetry.New(telemetry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	refuse := tel.Server()(func(context.Context, *rpc.Request) (json.RawMessage, error) { return nil, errors.New("who are you?") })
	heap := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	for i := range 100 {
		long := fmt.Sprint(i, strings.Repeat("x", 1<<20))
		_, _ = refuse(t.Context(), &rpc.Request{Side: rpc.ServerSide, Method: long, Namespace: strings.Clone(long)})
	}
	if after := heap(); after > before+20<<20 {
		t.Errorf("%d MB are kept", (after-before)>>20)
	}
	runtime.KeepAlive(refuse)
}
