package bench

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// Patchbay returns this module's RPC as a System, over the drivers of a
// registry. Its handlers are typed, and run on the default executor.
func Patchbay(r messaging.Registry, log *slog.Logger) System { return &patchbay{r, log} }

type patchbay struct {
	registry messaging.Registry
	log      *slog.Logger
}

// text is the arguments of both methods.
type text struct {
	Text string `json:"text"`
}

const (
	echoMethod = "echo" // of calls
	takeMethod = "take" // of casts and fanouts

	// giveUp bounds one operation: long for a broker that lives.
	giveUp = 15 * time.Second
)

// InMemory implements System.
func (*patchbay) InMemory(s *Spec) bool {
	u, err := messaging.ParseURL(s.URL)
	return err == nil && u.Scheme == "fake"
}

func (p *patchbay) open(ctx context.Context, s *Spec) (*messaging.Transport, error) {
	return p.registry.Open(ctx, s.URL, &messaging.Options{Logger: p.log})
}

// Serve implements System.
func (p *patchbay) Serve(ctx context.Context, s *Spec, n int, t *Tally) (Closer, error) {
	transport, err := p.open(ctx, s)
	if err != nil {
		return nil, err
	}
	ep := &rpc.Endpoint{Version: "1.0"}
	rpc.Handle(ep, echoMethod, func(_ context.Context, a text) (string, error) {
		t.Add()
		return a.Text, nil
	})
	rpc.Handle(ep, takeMethod, func(context.Context, text) (rpc.None, error) {
		t.Add()
		return rpc.None{}, nil
	})
	o := &rpc.ServerOptions{Executor: rpc.Workers(max(rpc.DefaultWorkers, s.workers())), Logger: p.log}
	if s.Blocking {
		o.Executor, o.Prefetch = rpc.Blocking(), max(256, s.workers())
	}
	srv, err := rpc.NewServer(transport, messaging.Target{Topic: s.Topic, Server: strconv.Itoa(n)}, []*rpc.Endpoint{ep}, o)
	if err == nil {
		err = srv.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, transport.Close(ctx))
	}
	return CloserFunc(func(ctx context.Context) error { return errors.Join(srv.Wait(ctx), transport.Close(ctx)) }), nil
}

// Dial implements System.
func (p *patchbay) Dial(ctx context.Context, s *Spec) (Client, error) {
	transport, err := p.open(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := transport.Connect(ctx); err != nil {
		return nil, errors.Join(err, transport.Close(ctx))
	}
	return &caller{
		Client:    rpc.NewClient(transport, messaging.Target{Topic: s.Topic, Version: "1.0"}, &rpc.ClientOptions{Timeout: giveUp}),
		transport: transport,
		pattern:   s.Pattern,
		args:      text{strings.Repeat("x", s.Size)},
	}, nil
}

// caller is the client.
type caller struct {
	*rpc.Client
	transport *messaging.Transport
	pattern   Pattern
	args      text
}

// Do implements Client.
func (c *caller) Do(ctx context.Context) error {
	switch c.pattern {
	case Cast:
		return c.Cast(ctx, takeMethod, &c.args)
	case Fanout:
		return c.Fanout(ctx, takeMethod, &c.args)
	default:
		_, err := rpc.CallFor[string](ctx, c.Client, echoMethod, &c.args)
		return err
	}
}

// Close implements Client.
func (c *caller) Close(ctx context.Context) error { return c.transport.Close(ctx) }
