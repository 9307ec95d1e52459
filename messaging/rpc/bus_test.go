package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/patchbay-go/patchbay/drivers/fake"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
	"github.com/patchbay-go/patchbay/messaging/wire"
)

// bus is a broker in memory with what a test opens on it.
type bus struct {
	t      *testing.T
	broker *fake.Broker
	codec  messaging.Codec
	log    *logBuffer
	tap    *tap // nil: none
}

// tap is between the core and the driver of a bus.
type tap struct {
	messaging.Driver
	sent chan messaging.Message          // nil: not wanted
	caps func(c *messaging.Capabilities) // nil: the driver's
	lose *atomic.Int32                   // nil: none; so many messages do not arrive
	kind messaging.Kind                  // of those
	lost error                           // their outcome
	gone func()                          // nil: replies arrive; told of each that finds nobody at its address
}

func (d *tap) Dial(ctx context.Context, ep messaging.Endpoint) (messaging.Conn, error) {
	c, err := d.Driver.Dial(ctx, ep)
	if err != nil {
		return nil, err
	}
	return &tapConn{c, d}, nil
}

type tapConn struct {
	messaging.Conn
	tap *tap
}

func (c *tapConn) Send(ctx context.Context, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
	if c.tap.sent != nil {
		c.tap.sent <- *m
	}
	if c.tap.lose != nil && to.Kind == c.tap.kind && c.tap.lose.Add(-1) >= 0 {
		go done.Complete(c.tap.lost)
		return nil
	}
	if to.Kind == messaging.KindReply && c.tap.gone != nil {
		c.tap.gone()
		done.Complete(messaging.ErrNoRoute)
		return nil
	}
	return c.Conn.Send(ctx, to, m, done)
}

func (c *tapConn) Capabilities() messaging.Capabilities {
	caps := c.Conn.Capabilities()
	if c.tap.caps != nil {
		c.tap.caps(&caps)
	}
	return caps
}

// inBubble runs test with virtual time, on a bus of each wire format.
func inBubble(t *testing.T, test func(t *testing.T, b *bus)) {
	t.Helper()
	for _, codec := range []messaging.Codec{wire.Native(0), wire.Oslo(0)} {
		t.Run(codec.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test(t, &bus{t: t, broker: fake.New(nil), codec: codec, log: &logBuffer{}})
			})
		})
	}
}

// onNative is inBubble for what only the native wire carries.
func onNative(t *testing.T, test func(t *testing.T, b *bus)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, &bus{t: t, broker: fake.New(nil), codec: wire.Native(0), log: &logBuffer{}})
	})
}

func (b *bus) ctx() context.Context { return context.WithoutCancel(b.t.Context()) }

// open returns a transport of its own, as another process would have.
func (b *bus) open() *messaging.Transport {
	b.t.Helper()
	registry := messaging.Registry{"fake": func(_ *messaging.URL, opts *messaging.Options) (messaging.Driver, []messaging.Codec, error) {
		d := b.broker.Driver(opts)
		if b.tap != nil {
			d = &tap{d, b.tap.sent, b.tap.caps, b.tap.lose, b.tap.kind, b.tap.lost, b.tap.gone}
		}
		return d, []messaging.Codec{b.codec}, nil
	}}
	t, err := registry.Open(b.ctx(), "fake://", &messaging.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = t.Close(b.ctx()) })
	return t
}

// server returns a server of topic "volume" that is not started, with a
// transport of its own.
func (b *bus) server(name string, opts *rpc.ServerOptions, eps ...*rpc.Endpoint) *rpc.Server {
	b.t.Helper()
	return b.serverOn(b.open(), name, opts, eps...)
}

func (b *bus) serverOn(transport *messaging.Transport, name string, opts *rpc.ServerOptions, eps ...*rpc.Endpoint) *rpc.Server {
	b.t.Helper()
	var o rpc.ServerOptions
	if opts != nil {
		o = *opts
	}
	o.Logger = slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := rpc.NewServer(transport, messaging.Target{Topic: "volume", Server: name}, eps, &o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = s.Wait(b.ctx()) })
	return s
}

// serve returns a server that serves.
func (b *bus) serve(name string, opts *rpc.ServerOptions, eps ...*rpc.Endpoint) *rpc.Server {
	b.t.Helper()
	s := b.server(name, opts, eps...)
	if err := s.Start(b.ctx()); err != nil {
		b.t.Fatal(err)
	}
	return s
}

// client returns a client of topic "volume" with a transport of its own.
func (b *bus) client(opts *rpc.ClientOptions) *rpc.Client {
	b.t.Helper()
	return rpc.NewClient(b.open(), messaging.Target{Topic: "volume", Version: "1.0"}, opts)
}

// wantIs fails the test unless err matches every one of targets and is an
// OpError.
func wantIs(t *testing.T, err error, targets ...error) {
	t.Helper()
	var op *messaging.OpError
	if !errors.As(err, &op) || op.Addr == "" {
		t.Errorf("%v is no OpError with an address", err)
	}
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Errorf("error %v, want one that is %q", err, target)
		}
	}
}

// remote returns the RemoteError of err.
func remote(t *testing.T, err error) *rpc.RemoteError {
	t.Helper()
	var r *rpc.RemoteError
	if !errors.As(err, &r) {
		t.Fatalf("%v is no RemoteError", err)
	}
	return r
}

type addArgs struct {
	A, B int
}

// demo is an endpoint with a few plain methods.
func demo() *rpc.Endpoint {
	ep := &rpc.Endpoint{Version: "1.2"}
	rpc.Handle(ep, "add", func(_ context.Context, a addArgs) (int, error) { return a.A + a.B, nil })
	rpc.Handle(ep, "echo", func(_ context.Context, a map[string]any) (any, error) { return a["value"], nil })
	rpc.Handle(ep, "nothing", func(context.Context, rpc.None) (rpc.None, error) { return rpc.None{}, nil })
	rpc.Handle(ep, "context", func(ctx context.Context, _ rpc.None) (map[string]any, error) { return rpc.Values(ctx), nil })
	return ep
}

// logBuffer is what was logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
