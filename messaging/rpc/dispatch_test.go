package rpc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// says is an endpoint whose methods answer a word.
func says(word, namespace, version string, legacy []string, methods ...string) *rpc.Endpoint {
	ep := &rpc.Endpoint{Namespace: namespace, LegacyNamespaces: legacy, Version: version}
	for _, m := range methods {
		rpc.Handle(ep, m, func(context.Context, rpc.None) (string, error) { return word, nil })
	}
	return ep
}

func TestDispatch(t *testing.T) {
	eps := []*rpc.Endpoint{
		says("old", "", "1.1", nil, "get"),
		says("new", "", "1.5", nil, "get", "put"),
		says("next", "", "2.0", nil, "get"),
		says("admin", "admin", "", []string{"root"}, "get"),
		says("moved", "now", "1.0", []string{"", "then"}, "move"),
	}
	tests := []struct {
		name, namespace, version, method, want string
		err                                    error
	}{
		{"the first that can serve", "", "1.0", "get", "old", nil},
		{"a newer version goes to the endpoint that has it", "", "1.3", "get", "new", nil},
		{"the first that has the method", "", "1.0", "put", "new", nil},
		{"another major", "", "2.0", "get", "next", nil},
		{"no version is 1.0", "", "", "get", "old", nil},
		{"a namespace", "admin", "1.0", "get", "admin", nil},
		{"a legacy namespace", "root", "1.0", "get", "admin", nil},
		{"the null namespace as a legacy one", "", "1.0", "move", "moved", nil},
		{"no method of that name", "", "1.0", "del", "", rpc.ErrNoSuchMethod},
		{"a method of another namespace", "admin", "1.0", "put", "", rpc.ErrNoSuchMethod},
		{"no such version", "", "1.6", "get", "", rpc.ErrUnsupportedVersion},
		{"no such namespace", "nobody", "1.0", "get", "", rpc.ErrUnsupportedVersion},
		{"major 2 has less", "", "2.0", "put", "", rpc.ErrNoSuchMethod},
	}
	inBubble(t, func(t *testing.T, b *bus) {
		b.serve("s1", nil, eps...)
		c := rpc.NewClient(b.open(), messaging.Target{Topic: "volume"}, nil)
		for _, tt := range tests {
			p := c.Prepare(rpc.WithNamespace(tt.namespace), rpc.WithVersion(tt.version))
			got, err := rpc.CallFor[string](t.Context(), p, tt.method, nil)
			if got != tt.want {
				t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
			}
			if tt.err != nil {
				wantIs(t, err, tt.err)
			}
		}
	})
}

func TestAccess(t *testing.T) {
	tests := []struct {
		name   string
		access rpc.AccessPolicy
		want   map[string]bool
	}{
		{"default", nil, map[string]bool{"get": true, "put": true, "_get": false}},
		{"legacy", rpc.LegacyAccess, map[string]bool{"get": true, "put": true, "_get": true}},
		{"explicit", rpc.ExplicitAccess("put", "_get"), map[string]bool{"get": false, "put": true, "_get": true}},
		{"own", func(ep *rpc.Endpoint, m string) bool { return ep.Version == "1.0" && m == "get" }, map[string]bool{"get": true, "put": false, "_get": false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onNative(t, func(t *testing.T, b *bus) {
				b.serve("s1", &rpc.ServerOptions{Access: tt.access}, says("yes", "", "1.0", nil, "get", "put", "_get"))
				c := b.client(nil)
				for method, want := range tt.want {
					err := c.Call(t.Context(), method, nil, nil)
					if (err == nil) != want {
						t.Errorf("%s: %v, want access %v", method, err, want)
					}
					if err != nil {
						wantIs(t, err, rpc.ErrNoSuchMethod)
					}
				}
			})
		})
	}
}

func TestRawHandlerSeesTheTextAsItCame(t *testing.T) {
	ep := &rpc.Endpoint{}
	rpc.HandleRaw(ep, "echo", func(_ context.Context, r *rpc.Request) (json.RawMessage, error) { return r.Args, nil })
	inBubble(t, func(t *testing.T, b *bus) {
		b.serve("s1", nil, ep)
		c := b.client(nil)
		text := json.RawMessage(`{"n": 1180591620717411303424, "f": [NaN, Infinity, 1.0]}`)
		var back json.RawMessage
		if err := c.Call(t.Context(), "echo", text, &back); err != nil || string(back) != string(text) {
			t.Errorf("%s, %v", back, err)
		}
		var typed struct {
			F []rpc.Float `json:"f"`
		}
		if err := c.Call(t.Context(), "echo", text, &typed); err != nil || len(typed.F) != 3 || typed.F[2] != 1 {
			t.Errorf("%v, %v", typed, err)
		}
	})
}

// A handler is not to keep its Request, but one that does never sees another's.
func TestRawHandlersRequestIsItsOwn(t *testing.T) {
	var kept []*rpc.Request
	ep := &rpc.Endpoint{}
	rpc.HandleRaw(ep, "keep", func(_ context.Context, r *rpc.Request) (json.RawMessage, error) {
		kept = append(kept, r)
		return nil, nil
	})
	inBubble(t, func(t *testing.T, b *bus) {
		kept = nil
		b.serve("s1", nil, ep)
		c := b.client(nil)
		for n := range 3 {
			if err := c.Call(t.Context(), "keep", rpc.Args{"n": n}, nil); err != nil {
				t.Fatal(err)
			}
		}
		for n, r := range kept {
			if want := fmt.Sprintf(`{"n":%d}`, n); string(r.Args) != want || r.Method != "keep" {
				t.Errorf("request %d is now %q with %s, want %s", n, r.Method, r.Args, want)
			}
		}
	})
}

func TestServerIgnoresLaterRegistrations(t *testing.T) {
	onNative(t, func(t *testing.T, b *bus) {
		ep := says("yes", "", "1.0", nil, "get")
		b.serve("s1", nil, ep)
		rpc.Handle(ep, "put", func(context.Context, rpc.None) (string, error) { return "no", nil })
		wantIs(t, b.client(nil).Call(t.Context(), "put", nil, nil), rpc.ErrNoSuchMethod)
	})
}

func TestHandlePanicsOnMistakes(t *testing.T) {
	for name, method := range map[string]string{"no name": "", "twice": "get"} {
		t.Run(name, func(t *testing.T) {
			ep := says("yes", "", "", nil, "get")
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			rpc.HandleRaw(ep, method, func(context.Context, *rpc.Request) (json.RawMessage, error) { return nil, nil })
		})
	}
}

func TestNewServerErrors(t *testing.T) {
	tests := []struct {
		name   string
		target messaging.Target
		eps    []*rpc.Endpoint
		want   error
	}{
		{"no topic", messaging.Target{Server: "s"}, nil, messaging.ErrInvalidTarget},
		{"no server", messaging.Target{Topic: "t"}, nil, messaging.ErrInvalidTarget},
		{"an endpoint's version", messaging.Target{Topic: "t", Server: "s"}, []*rpc.Endpoint{{Version: "1"}}, rpc.ErrInvalidVersion},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := rpc.NewServer(nil, tt.target, tt.eps, nil)
			wantIs(t, err, tt.want)
		})
	}
	if _, err := rpc.NewServer(nil, messaging.Target{Topic: "t", Server: "s"}, []*rpc.Endpoint{nil}, nil); err == nil {
		t.Error("a nil endpoint was accepted")
	}
}
