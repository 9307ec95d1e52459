package fake_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func TestOpen(t *testing.T) {
	tests := []struct {
		url    string
		codecs []string // nil: an error
	}{
		{"fake://", []string{"native", "oslo"}},
		{"fake://u:p@a,b:7/?wire=native", []string{"native", "oslo"}},
		{"fake:///?wire=oslo", []string{"oslo", "native"}},
		{"fake:///?wire=xml", nil},
		{"fake:///?colour=red", nil},
		{"fake:///vhost", nil},
		{"fake+tls://", nil},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			u, err := messaging.ParseURL(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			d, codecs, err := fake.New(nil).Open(u, (*messaging.Options)(nil).WithDefaults())
			if tt.codecs == nil {
				wantErr(t, err, messaging.ErrInvalidURL)
				return
			}
			if err != nil || d.SingleConn() {
				t.Fatalf("error %v, or SingleConn", err)
			}
			var names []string
			for _, c := range codecs {
				names = append(names, c.Name())
			}
			if diff := cmp.Diff(tt.codecs, names); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestCallInVirtualTime shows what the driver is for: an hour's call with lost
// connections, in no time.
func TestCallInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := fake.New(nil)
		registry := messaging.Registry{"fake": broker.Open}
		open := func() *messaging.Transport {
			tr, err := registry.Open(t.Context(), "fake://a,b", nil)
			if err != nil {
				t.Fatal(err)
			}
			return tr
		}
		ep := &rpc.Endpoint{Version: "1.0"}
		rpc.Handle(ep, "sleep", func(_ context.Context, a struct{ Minutes int }) (string, error) {
			<-time.After(time.Duration(a.Minutes) * time.Minute) // virtual
			return "good morning", nil
		})
		st, ct := open(), open()
		server, err := rpc.NewServer(st, messaging.Target{Topic: "bed", Server: "s1"}, []*rpc.Endpoint{ep}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(30*time.Minute, func() {
			broker.Cut(func(i fake.ConnInfo) bool { return i.Listeners > 0 })
		})
		begin := time.Now()
		client := rpc.NewClient(ct, messaging.Target{Topic: "bed"}, &rpc.ClientOptions{Timeout: 2 * time.Hour})
		got, err := rpc.CallFor[string](t.Context(), client, "sleep", rpc.Args{"Minutes": 60})
		if got != "good morning" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if took := time.Since(begin); took < time.Hour || took > time.Hour+time.Minute {
			t.Errorf("took %v, want an hour", took)
		}

		// Nothing may be left: no connection, and no goroutine, for else the
		// bubble would not end.
		for _, closing := range []func(context.Context) error{server.Stop, server.Wait, ct.Close, st.Close} {
			if err := closing(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if n := broker.Conns(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

func Example() {
	broker := fake.New(nil)
	registry := messaging.Registry{"fake": broker.Open}

	ctx := context.Background()
	transport, err := registry.Open(ctx, "fake://", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer transport.Close(ctx)
	stream, err := transport.Listen(ctx, messaging.Subscription{Sources: []messaging.Address{topic}})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := transport.Send(ctx, topic, &messaging.Envelope{Method: "hello", Body: []byte("{}")}, nil); err != nil {
		fmt.Println(err)
		return
	}
	broker.CutAll() // the stream finds a new connection, and the message is still there
	in, err := stream.Poll(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(in.Method, in.Redelivered)
	// Output: hello true
}
