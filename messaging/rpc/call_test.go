package rpc_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func TestCall(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		b.serve("s1", nil, demo())
		c := b.client(nil)

		sum, err := rpc.CallFor[int](t.Context(), c, "add", addArgs{2, 3})
		if err != nil || sum != 5 {
			t.Errorf("add: %d, %v", sum, err)
		}
		sum, err = rpc.CallFor[int](t.Context(), c, "add", rpc.Args{"A": 2}) // B is zero
		if err != nil || sum != 2 {
			t.Errorf("add with one argument: %d, %v", sum, err)
		}
		for _, args := range []any{nil, rpc.None{}, rpc.Args(nil), (*addArgs)(nil), json.RawMessage(`{}`)} {
			reply := any("unset")
			if err := c.Call(t.Context(), "nothing", args, &reply); err != nil || reply != nil {
				t.Errorf("nothing(%T): %v, %v", args, reply, err)
			}
		}
		if err := c.Call(t.Context(), "add", addArgs{1, 1}, nil); err != nil {
			t.Errorf("a call whose result is ignored: %v", err)
		}
		big, err := rpc.CallFor[uint64](t.Context(), c, "echo", rpc.Args{"value": uint64(1<<64 - 1)})
		if err != nil || big != 1<<64-1 {
			t.Errorf("a big integer: %d, %v", big, err)
		}
		text := "héllo 世界 \U0001f600 <\"\\\u0000>"
		same, err := rpc.CallFor[string](t.Context(), c, "echo", rpc.Args{"value": text})
		if err != nil || same != text {
			t.Errorf("a text: %q, %v", same, err)
		}
	})
}

func TestCallFailures(t *testing.T) {
	ep := demo()
	rpc.Handle(ep, "fail", func(context.Context, rpc.None) (int, error) {
		return 0, &rpc.RemoteError{
			Module: "cinder.exception", Class: "VolumeNotFound", Message: "no volume 7",
			Trace: []string{"Traceback (most recent call last):\n", "VolumeNotFound: no volume 7\n"},
			Args:  json.RawMessage(`[7]`), Kwargs: json.RawMessage(`{"code":404}`),
		}
	})
	rpc.Handle(ep, "panic", func(context.Context, rpc.None) (int, error) { panic("at the disco") })
	rpc.Handle(ep, "goexit", func(context.Context, rpc.None) (int, error) { runtime.Goexit(); return 0, nil })
	rpc.Handle(ep, "unencodable", func(context.Context, rpc.None) (any, error) { return make(chan int), nil })
	rpc.HandleRaw(ep, "broken", func(context.Context, *rpc.Request) (json.RawMessage, error) { return json.RawMessage(`{"a"`), nil })
	rpc.Handle(ep, "_private", func(context.Context, rpc.None) (int, error) { return 1, nil })
	rpc.Handle(ep, "late", func(context.Context, rpc.None) (int, error) { return 0, context.DeadlineExceeded })

	const dispatcher = "oslo_messaging.rpc.dispatcher"
	tests := []struct {
		name                   string
		option                 rpc.Option
		method                 string
		args                   any
		module, class, message string
		is                     error
	}{
		{"an unknown method", nil, "nosuch", nil, dispatcher, "NoSuchMethod", "Endpoint does not support RPC method nosuch", rpc.ErrNoSuchMethod},
		{"a private method", nil, "_private", nil, dispatcher, "NoSuchMethod", "Endpoint does not support RPC method _private", rpc.ErrNoSuchMethod},
		{"another major version", rpc.WithVersion("2.0"), "add", nil, dispatcher, "UnsupportedVersion", "Endpoint does not support RPC version 2.0. Attempted method: add", rpc.ErrUnsupportedVersion},
		{"a newer minor version", rpc.WithVersion("1.3"), "add", nil, dispatcher, "UnsupportedVersion", "Endpoint does not support RPC version 1.3. Attempted method: add", rpc.ErrUnsupportedVersion},
		{"an unknown namespace", rpc.WithNamespace("n"), "add", nil, dispatcher, "UnsupportedVersion", "Endpoint does not support RPC version 1.0. Attempted method: add", rpc.ErrUnsupportedVersion},
		{"an unknown argument", nil, "add", rpc.Args{"C": 1}, "builtins", "TypeError", `arguments of add: json: unknown field "C"`, rpc.ErrBadArguments},
		{"an argument of another type", nil, "nothing", rpc.Args{"a": "x"}, "builtins", "TypeError", `arguments of nothing: json: unknown field "a"`, rpc.ErrBadArguments},
		{"a class of its own", nil, "fail", nil, "cinder.exception", "VolumeNotFound", "no volume 7", nil},
		{"a panic", nil, "panic", nil, "patchbay", "Panic", "panic: at the disco", nil},
		{"a handler that ends its goroutine", nil, "goexit", nil, "patchbay", "Error", "the handler ended its goroutine", nil},
		{"a result that cannot be encoded", nil, "unencodable", nil, "patchbay", "Error", "encoding the result: json: unsupported type: chan int", nil},
		{"a raw result that is no JSON", nil, "broken", nil, "patchbay", "Error", "encoding the result: json.RawMessage is not JSON", nil},
		{"a deadline of the remote, which is not the caller's", nil, "late", nil, "builtins", "TimeoutError", "context deadline exceeded", nil},
	}
	inBubble(t, func(t *testing.T, b *bus) {
		b.serve("s1", nil, ep)
		base := b.client(nil)
		for _, tt := range tests {
			c := base
			if tt.option != nil {
				c = c.Prepare(tt.option)
			}
			err := c.Call(t.Context(), tt.method, tt.args, nil)
			r := remote(t, err)
			if got, want := [3]string{r.Module, r.Class, r.Message}, [3]string{tt.module, tt.class, tt.message}; got != want {
				t.Errorf("%s: %q, want %q", tt.name, got, want)
			}
			if tt.is != nil {
				wantIs(t, err, tt.is)
			}
			if errors.Is(err, messaging.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v looks like a timeout of the call", tt.name, err)
			}
		}

		r := remote(t, base.Call(t.Context(), "fail", nil, nil))
		if string(r.Args) != `[7]` || string(r.Kwargs) != `{"code":404}` || len(r.Trace) != 2 {
			t.Errorf("details are lost: %+v", r)
		}
		r = remote(t, base.Call(t.Context(), "panic", nil, nil))
		if trace := strings.Join(r.Trace, ""); !strings.HasPrefix(trace, "Traceback") || !strings.Contains(trace, "rpc_test/call_test.go\", line ") {
			t.Errorf("the trace does not show where the panic was:\n%s", trace)
		}
		if got := b.log.String(); !strings.Contains(got, "a handler panicked") || !strings.Contains(got, "method=panic") {
			t.Errorf("the panic was not logged:\n%s", got)
		}
	})
}

func TestCallErrorsOfTheApplication(t *testing.T) {
	errNotFound := errors.New("not found")
	ep := &rpc.Endpoint{}
	rpc.Handle(ep, "get", func(context.Context, rpc.None) (int, error) {
		return 0, rpc.NewError("cinder.exception", "VolumeNotFound", "no volume 7")
	})
	inBubble(t, func(t *testing.T, b *bus) {
		b.serve("s1", nil, ep)
		c := b.client(&rpc.ClientOptions{Errors: rpc.ErrorMap{"cinder.exception.VolumeNotFound": errNotFound}.Lookup})
		err := c.Call(t.Context(), "get", nil, nil)
		wantIs(t, err, errNotFound)
		if want := `calling "get" on topic "volume": VolumeNotFound: no volume 7`; err.Error() != want {
			t.Errorf("text %q, want %q", err, want)
		}
		wantIs(t, c.Call(t.Context(), "set", nil, nil), rpc.ErrNoSuchMethod) // still known
	})
}

func TestCallChecksBeforeItSends(t *testing.T) {
	tests := []struct {
		name   string
		client *rpc.Client
		method string
		args   any
		want   error
	}{
		{"no topic", rpc.NewClient(nil, messaging.Target{}, nil), "m", nil, messaging.ErrInvalidTarget},
		{"a fanout", rpc.NewClient(nil, messaging.Target{Topic: "t", Fanout: true}, nil), "m", nil, messaging.ErrInvalidTarget},
		{"a name that is too long", capped("", "").Prepare(rpc.WithServer(strings.Repeat("x", 300))), "m", nil, messaging.ErrInvalidTarget},
		{"no method", capped("", ""), "", nil, rpc.ErrNoSuchMethod},
		{"above the cap", capped("1.4", "1.5"), "m", nil, rpc.ErrVersionCap},
		{"no version under a cap", capped("1.4", ""), "m", nil, rpc.ErrVersionCap},
		{"arguments that are no object", capped("", ""), "m", []int{1}, rpc.ErrBadArguments},
		{"arguments that cannot be encoded", capped("", ""), "m", rpc.Args{"c": make(chan int)}, rpc.ErrBadArguments},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.client.Call(t.Context(), tt.method, tt.args, nil)
			if !errors.Is(err, tt.want) {
				t.Errorf("Call: %v, want %v", err, tt.want)
			}
			if tt.client.Target().Fanout {
				return
			}
			if err := tt.client.Cast(t.Context(), tt.method, tt.args); !errors.Is(err, tt.want) {
				t.Errorf("Cast: %v, want %v", err, tt.want)
			}
			if _, err := tt.client.StartCast(t.Context(), tt.method, tt.args); !errors.Is(err, tt.want) {
				t.Errorf("StartCast: %v, want %v", err, tt.want)
			}
		})
	}
}

// A JSON object is one with blanks around it, too, as in a file.
func TestCallWithRawArguments(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		b.serve("s1", nil, demo())
		for args, want := range map[string]int{"{\"A\": 1, \"B\": 2}": 3, "\n  {\"A\": 1, \"B\": 2}\n": 3, " null\n": 0, "": 0} {
			if n, err := rpc.CallFor[int](t.Context(), b.client(nil), "add", json.RawMessage(args)); err != nil || n != want {
				t.Errorf("%q: got %d, error %v", args, n, err)
			}
		}
	})
}

func TestCallResultOfAnotherType(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bus) {
		b.serve("s1", nil, demo())
		_, err := rpc.CallFor[string](t.Context(), b.client(nil), "add", addArgs{1, 2})
		wantIs(t, err, messaging.ErrUndecodable)
	})
}

func TestCallTimeouts(t *testing.T) {
	tests := []struct {
		name   string
		option rpc.Option
		ctx    time.Duration // 0: no deadline
		want   time.Duration
	}{
		{"default", nil, 0, rpc.DefaultTimeout},
		{"of the client", rpc.WithTimeout(5 * time.Second), 0, 5 * time.Second},
		{"of ctx", rpc.WithTimeout(5 * time.Second), 2 * time.Second, 2 * time.Second},
		{"of the client, earlier than ctx", rpc.WithTimeout(5 * time.Second), time.Hour, 5 * time.Second},
		{"zero is the default", rpc.WithTimeout(0), 0, rpc.DefaultTimeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onNative(t, func(t *testing.T, b *bus) {
				c := b.client(nil)
				if tt.option != nil {
					c = c.Prepare(tt.option)
				}
				ctx := t.Context()
				if tt.ctx > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.ctx)
					defer cancel()
				}
				start := time.Now()
				err := c.Call(ctx, "add", nil, nil)
				wantIs(t, err, messaging.ErrTimeout, context.DeadlineExceeded)
				if took := time.Since(start); took != tt.want {
					t.Errorf("took %v, want %v", took, tt.want)
				}
			})
		})
	}
}

func TestCallEndsEarly(t *testing.T) {
	t.Run("nobody listens, mandatory", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bus) {
			start := time.Now()
			c := b.client(&rpc.ClientOptions{Mandatory: true})
			wantIs(t, c.Call(t.Context(), "add", nil, nil), messaging.ErrNoRoute)
			wantIs(t, c.Cast(t.Context(), "add", nil), messaging.ErrNoRoute)
			if took := time.Since(start); took != 0 {
				t.Errorf("took %v", took)
			}
		})
	})
	t.Run("cancelled", func(t *testing.T) {
		onNative(t, func(t *testing.T, b *bus) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			wantIs(t, b.client(nil).Call(ctx, "add", nil, nil), context.Canceled)
		})
	})
	t.Run("the transport closes", func(t *testing.T) {
		onNative(t, func(t *testing.T, b *bus) {
			transport := b.open()
			c := rpc.NewClient(transport, messaging.Target{Topic: "volume"}, nil)
			closed := make(chan error, 1)
			time.AfterFunc(time.Second, func() { closed <- transport.Close(b.ctx()) })
			wantIs(t, c.Call(t.Context(), "add", nil, nil), messaging.ErrClosed)
			if err := <-closed; err != nil {
				t.Error(err)
			}
			wantIs(t, c.Call(t.Context(), "add", nil, nil), messaging.ErrClosed)
			wantIs(t, c.Cast(t.Context(), "add", nil), messaging.ErrClosed)
		})
	})
	t.Run("no connection, no retry", func(t *testing.T) {
		onNative(t, func(t *testing.T, b *bus) {
			b.broker.RefuseNew(true)
			start := time.Now()
			wantIs(t, b.client(&rpc.ClientOptions{Retry: -1}).Cast(t.Context(), "add", nil), messaging.ErrNotSent)
			if took := time.Since(start); took > time.Second {
				t.Errorf("took %v", took)
			}
			start = time.Now()
			wantIs(t, b.client(nil).Cast(t.Context(), "add", nil), messaging.ErrNotSent, context.DeadlineExceeded)
			if took := time.Since(start); took != rpc.DefaultTimeout {
				t.Errorf("took %v", took)
			}
		})
	})
}
