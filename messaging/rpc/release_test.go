package rpc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// aliasing is an Encoding whose raw texts are those of the message.
type aliasing struct{ rpc.JSON }

func (a *aliasing) Unmarshal(data []byte, v any) error {
	if raw, ok := v.(*json.RawMessage); ok {
		*raw = data
		return nil
	}
	return a.JSON.Unmarshal(data, v)
}

// Messages are used again, but nothing that a handler or a caller has.
func TestWhatIsKeptStays(t *testing.T) {
	for name, enc := range map[string]rpc.Encoding{"default": nil, "aliasing": &aliasing{}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bus) {
				type arguments struct {
					N    int
					Text string
					Raw  json.RawMessage
					Any  any
				}
				var args []arguments
				var raws []json.RawMessage
				var contexts []context.Context
				ep := &rpc.Endpoint{}
				rpc.Handle(ep, "typed", func(ctx context.Context, a arguments) (arguments, error) {
					args, contexts = append(args, a), append(contexts, ctx)
					return a, nil
				})
				rpc.Handle(ep, "raw", func(_ context.Context, a json.RawMessage) (json.RawMessage, error) {
					raws = append(raws, a)
					return a, nil
				})
				b.serve("s1", &rpc.ServerOptions{Encoding: enc, Executor: rpc.Workers(1)}, ep)
				c := b.client(&rpc.ClientOptions{Encoding: enc})
				var got []arguments
				var results []json.RawMessage
				const calls = 8
				for n := range calls {
					a := arguments{N: n, Text: fmt.Sprint("text ", n), Raw: fmt.Append(nil, n), Any: fmt.Sprint("any ", n)}
					ctx := rpc.NewContext(t.Context(), "n", n)
					typed, err := rpc.CallFor[arguments](ctx, c, "typed", a)
					if err != nil {
						t.Fatal(err)
					}
					raw, err := rpc.CallFor[json.RawMessage](t.Context(), c, "raw", rpc.Args{"n": n})
					if err != nil {
						t.Fatal(err)
					}
					got, results = append(got, typed), append(results, raw)
				}
				if len(args) != calls || len(raws) != calls {
					t.Fatalf("%d and %d calls", len(args), len(raws))
				}
				for n := range calls {
					for _, a := range []arguments{args[n], got[n]} {
						if a.N != n || a.Text != fmt.Sprint("text ", n) || string(a.Raw) != fmt.Sprint(n) || a.Any != fmt.Sprint("any ", n) {
							t.Errorf("call %d: %+v", n, a)
						}
					}
					var value int
					if found, err := rpc.Value(contexts[n], "n", &value); !found || err != nil || value != n {
						t.Errorf("call %d: the context has %v (%v, %v)", n, value, found, err)
					}
					for _, raw := range []json.RawMessage{raws[n], results[n]} {
						if want := fmt.Sprintf(`{"n":%d}`, n); string(raw) != want && string(raw) != fmt.Sprintf(`{"n": %d}`, n) {
							t.Errorf("call %d: %s, want %s", n, raw, want)
						}
					}
				}
			})
		})
	}
}

// So is what middleware has, on either side.
func TestWhatMiddlewareKeepsStays(t *testing.T) {
	var kept []*rpc.Request
	var results []json.RawMessage
	keep := func(next rpc.Invoker) rpc.Invoker {
		return func(ctx context.Context, r *rpc.Request) (json.RawMessage, error) {
			result, err := next(ctx, r)
			kept, results = append(kept, r), append(results, result)
			return result, err
		}
	}
	onNative(t, func(t *testing.T, b *bus) {
		kept, results = nil, nil
		b.serve("s1", &rpc.ServerOptions{Middleware: []rpc.Middleware{keep}}, demo())
		c := b.client(&rpc.ClientOptions{Middleware: []rpc.Middleware{keep}})
		const calls = 4
		for n := range calls {
			if _, err := rpc.CallFor[int](t.Context(), c, "add", addArgs{n, n}); err != nil {
				t.Fatal(err)
			}
		}
		for i, r := range kept {
			n := i / 2
			if want := fmt.Sprintf(`{"A":%d,"B":%d}`, n, n); r.Side == rpc.ServerSide && string(r.Args) != want {
				t.Errorf("request %d: %s, want %s", n, r.Args, want)
			}
			if string(results[i]) != fmt.Sprint(2*n) {
				t.Errorf("result %d: %s", n, results[i])
			}
		}
		if len(kept) != 2*calls {
			t.Errorf("%d requests", len(kept))
		}
	})
}
