package interop_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// service is a Go server with the methods of python/peer.py.
type service struct {
	server string
	calls  chan event // of the methods that tell, as the Python server's events
}

// startService starts a Go server, which serves until the test ends.
func startService(t *testing.T, url, topic, server string) *service {
	t.Helper()
	return startServiceOn(t, open(t, url), topic, server)
}

func startServiceOn(t *testing.T, transport *messaging.Transport, topic, server string) *service {
	t.Helper()
	s, srv, err := newService(transport, topic, server)
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := srv.Wait(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newService(transport *messaging.Transport, topic, server string) (*service, *rpc.Server, error) {
	s := &service{server: server, calls: make(chan event, 1000)}
	srv, err := rpc.NewServer(transport, messaging.Target{Topic: topic, Server: server},
		[]*rpc.Endpoint{s.endpoint(), namespaced()}, &rpc.ServerOptions{Ping: true, Logger: slog.New(slog.DiscardHandler)})
	return s, srv, err
}

// serveURL is the environment variable that makes the test program a Go server
// which a test can kill; it tells what peer.py tells.
const serveURL = "PATCHBAY_INTEROP_SERVE"

func TestMain(m *testing.M) {
	url := os.Getenv(serveURL)
	if url == "" {
		flag.Parse()
		// The tests wait for peers and their clocks, not for processors.
		if err := flag.Set("test.parallel", "8"); err != nil {
			panic(err)
		}
		code := m.Run()
		_ = os.RemoveAll(programs.dir) // "" when nothing built it
		if err := errors.Join(shared.end(), legacyPeer.end(), routablePeer.end()); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, "a shared Python peer:", err)
			code = 1
		}
		os.Exit(code)
	}
	if err := serve(context.Background(), url); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve is the other program: a server that ends with its standard input.
func serve(ctx context.Context, url string) error {
	transport, err := dial(ctx, url)
	if err != nil {
		return err
	}
	s, srv, err := newService(transport, goTopic, host)
	if err != nil {
		return err
	}
	if err := srv.Start(ctx); err != nil {
		return err
	}
	s.calls <- event{Event: "ready"}
	go func() {
		out := json.NewEncoder(os.Stdout)
		for e := range s.calls {
			_ = out.Encode(e) // who reads it is gone when it fails
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := srv.Wait(ctx); err != nil {
		return err
	}
	return transport.Close(ctx)
}

// startServiceProcess starts a Go server in a process of its own.
func startServiceProcess(t *testing.T, url string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveURL+"="+url)
	return start(t, cmd)
}

type (
	messageArgs struct{ Message string }
	customArgs  struct {
		Message string
		Code    int
	}
	sleepArgs struct{ Seconds float64 }
	addArgs   struct{ A, B json.Number }
)

func (s *service) endpoint() *rpc.Endpoint {
	ep := &rpc.Endpoint{Version: "1.5"}
	rpc.HandleRaw(ep, "echo", func(_ context.Context, r *rpc.Request) (json.RawMessage, error) { return r.Args, nil })
	rpc.HandleRaw(ep, "record", func(ctx context.Context, r *rpc.Request) (json.RawMessage, error) {
		s.called(ctx, r.Method, string(r.Args))
		return nil, nil
	})
	rpc.Handle(ep, "describe", func(_ context.Context, a struct{ Value any }) (string, error) {
		return fmt.Sprintf("%T %v", a.Value, a.Value), nil
	})
	rpc.Handle(ep, "add", func(_ context.Context, a addArgs) (int64, error) {
		x, _ := a.A.Int64()
		y, _ := a.B.Int64()
		return x + y, nil
	})
	rpc.Handle(ep, "nothing", func(context.Context, rpc.None) (rpc.None, error) { return rpc.None{}, nil })
	rpc.Handle(ep, "context", func(ctx context.Context, _ rpc.None) (map[string]any, error) { return rpc.Values(ctx), nil })
	rpc.Handle(ep, "whoami", func(ctx context.Context, _ rpc.None) (string, error) {
		s.called(ctx, "whoami", "{}")
		return s.server, nil
	})
	rpc.Handle(ep, "sleep", s.sleep)
	rpc.Handle(ep, "fail", func(ctx context.Context, a messageArgs) (rpc.None, error) {
		s.called(ctx, "fail", "{}")
		return rpc.None{}, rpc.NewError("builtins", "ValueError", a.Message)
	})
	rpc.Handle(ep, "fail_expected", func(_ context.Context, a struct{ Key string }) (rpc.None, error) {
		return rpc.None{}, keyError(a.Key)
	})
	rpc.Handle(ep, "fail_custom", func(_ context.Context, a customArgs) (rpc.None, error) {
		return rpc.None{}, customError(a)
	})
	rpc.Handle(ep, "fail_plain", func(context.Context, rpc.None) (rpc.None, error) { return rpc.None{}, errPlain })
	rpc.Handle(ep, "_private", func(context.Context, rpc.None) (string, error) { return "private", nil })
	return ep
}

func namespaced() *rpc.Endpoint {
	ep := &rpc.Endpoint{Namespace: "ns1", Version: "2.3", LegacyNamespaces: []string{"oldns"}}
	rpc.Handle(ep, "where", func(context.Context, rpc.None) (string, error) { return "ns1", nil })
	return ep
}

func (s *service) called(ctx context.Context, method, args string) {
	values, _ := json.Marshal(rpc.Values(ctx)) // what was JSON is again
	s.calls <- event{Event: "called", Server: s.server, Method: method, Args: text(args), Context: text(values)}
}

func (s *service) sleep(ctx context.Context, a sleepArgs) (float64, error) {
	s.called(ctx, "sleep", "{}")
	timer := time.NewTimer(time.Duration(a.Seconds * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return a.Seconds, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

var errPlain = errors.New("disk full")

// customError travels as the exception of python/interop_errors.py, with a
// keyword argument.
type customError customArgs

func (e customError) Error() string                     { return e.Message }
func (customError) RemoteClass() (module, class string) { return "interop_errors", "CustomError" }
func (e customError) RemoteArgs() ([]any, map[string]any) {
	return []any{e.Message}, map[string]any{"code": e.Code, "hint": "x"}
}

// keyError travels as Python's, whose text is the key as Python writes it.
type keyError string

func (e keyError) Error() string                       { return "'" + string(e) + "'" }
func (keyError) RemoteClass() (module, class string)   { return "builtins", "KeyError" }
func (e keyError) RemoteArgs() ([]any, map[string]any) { return []any{string(e)}, nil }
