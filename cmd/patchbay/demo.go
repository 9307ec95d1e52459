package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchbay-go/patchbay/internal/freeport"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// What the demo is played with.
const (
	demoTopic   = "patchbay-demo"
	demoAbsent  = "delta"          // a server that is not there
	demoTimeout = 10 * time.Second // of each step; longer than any needs
)

func demoServers() []string { return []string{"alpha", "bravo", "charlie"} }

func (a *app) demoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo [--url URL]",
		Short: "Show call, cast and fanout between three servers and a client",
		Long: `Start three servers and a client in this process and tell, in plain words, what
happens to requests sent to a topic, to one server by name, and to all of them.

Without --url they talk over ZeroMQ, through sockets of this machine, and nothing
need be installed. With a broker's URL the same program runs over that broker, and
with fake:// in memory.`,
		Example: `  patchbay demo
  patchbay demo --url fake://
  patchbay demo --url rabbit://guest:guest@localhost/`,
		Args: cobra.NoArgs,
	}
	url := cmd.Flags().String("url", "", "transport `URL` (default zmq:// on free ports of this machine)")
	cmd.RunE = a.action(func(ctx context.Context, _ []string) error {
		if *url == "" {
			here, release, err := zmqHere(ctx, len(demoServers()))
			if err != nil {
				return err
			}
			defer release()
			*url = here
		}
		return a.withTransport(ctx, a.byURL(*url), quiet, func(t *messaging.Transport) error {
			d := &demo{app: a, out: a.stdout.w, url: *url, caller: t, tally: newTally()}
			d.client = rpc.NewClient(t, messaging.Target{Topic: demoTopic}, &rpc.ClientOptions{Timeout: demoTimeout})
			return d.withServers(ctx, demoServers(), func() error { return d.play(ctx) })
		})
	})
	return cmd
}

// zmqHere returns a URL of n endpoints of this machine where nobody listens, and a
// function that gives them up.
func zmqHere(ctx context.Context, n int) (string, func(), error) {
	hosts, release, err := freeport.Reserve(ctx, n)
	if err != nil {
		return "", nil, err
	}
	return "zmq://" + strings.Join(hosts, ",") + "/", release, nil
}

// demo is one performance. Each step checks what it claims.
type demo struct {
	app    *app
	out    io.Writer
	url    string
	caller *messaging.Transport
	client *rpc.Client
	tally  *tally
}

// withServers runs servers, each over a transport of its own as if it were a
// process of its own, and fn while all of them listen.
func (d *demo) withServers(ctx context.Context, names []string, fn func() error) error {
	if len(names) == 0 {
		return fn()
	}
	return d.app.withTransport(ctx, d.app.byURL(d.url), quiet, func(t *messaging.Transport) error {
		target := messaging.Target{Topic: demoTopic, Server: names[0]}
		srv, err := rpc.NewServer(t, target, []*rpc.Endpoint{d.endpoint(names[0])}, nil)
		if err != nil {
			return err
		}
		starting, cancel := context.WithTimeout(ctx, demoTimeout)
		defer cancel()
		if err := srv.Start(starting); err != nil {
			return err
		}
		err = d.withServers(ctx, names[1:], fn)
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		return errors.Join(err, srv.Stop(ending), srv.Wait(ending))
	})
}

func (d *demo) endpoint(server string) *rpc.Endpoint {
	ep := &rpc.Endpoint{}
	rpc.Handle(ep, "whoami", func(context.Context, rpc.None) (string, error) { return server, nil })
	rpc.Handle(ep, "reload", func(context.Context, rpc.None) (rpc.None, error) {
		d.tally.add(server)
		return rpc.None{}, nil
	})
	rpc.Handle(ep, "divide", func(_ context.Context, a struct{ A, B int }) (int, error) {
		if a.B == 0 {
			return 0, rpc.NewError("builtins", "ZeroDivisionError", "division by zero")
		}
		return a.A / a.B, nil
	})
	return ep
}

// play goes through the acts.
func (d *demo) play(ctx context.Context) error {
	u, err := messaging.ParseURL(d.url)
	if err != nil {
		return err
	}
	d.say(`Patchbay over %s

Three servers, %s, listen on the topic %q.
Each of them could be a process on another machine. A client sends them requests.`,
		u, strings.Join(demoServers(), ", "), demoTopic)
	if err := d.await(ctx); err != nil {
		return fmt.Errorf("playing the demo: %w", err)
	}

	for _, act := range []func(context.Context) error{d.toTopic, d.toServer, d.toAll, d.whenItFails} {
		ctx, cancel := context.WithTimeout(ctx, demoTimeout)
		err := act(ctx)
		cancel()
		if err != nil {
			return fmt.Errorf("playing the demo: %w", err)
		}
	}
	d.say(`
That is all there is: call, cast and fanout, to a topic, a server or everybody.
The same in two terminals:

  patchbay serve --url URL --topic calculator
  patchbay call  --url URL --topic calculator add a:=2 b:=3

where URL is zmq://127.0.0.1:9501/ or, with a broker, rabbit://guest:guest@localhost/`)
	return nil
}

// await waits until the client reaches all servers: without a broker it is the one
// that links to them.
func (d *demo) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	return d.caller.Await(ctx, messaging.Target{Topic: demoTopic}.Address(), len(demoServers()))
}

// toTopic is case 1: exactly one of the servers handles each request.
func (d *demo) toTopic(ctx context.Context) error {
	d.say(`
1. To the topic: exactly one of the servers handles each request

   client.Call(ctx, "whoami", nil, &name), 9 times. Who answered?
`)
	answers := newTally()
	for range 9 {
		name, err := rpc.CallFor[string](ctx, d.client, "whoami", rpc.None{})
		if err != nil {
			return err
		}
		answers.add(name)
	}
	d.chart(answers)
	d.say(`
   client.Cast(ctx, "reload", nil), 6 times: sent, and not waited for. Who did it?
`)
	for range 6 {
		if err := d.client.Cast(ctx, "reload", rpc.None{}); err != nil {
			return err
		}
	}
	if err := d.tally.wait(ctx, 6); err != nil {
		return err
	}
	d.chart(d.tally)
	return errors.Join(answers.expect(9), d.tally.expect(6))
}

// toServer is case 2: that server and no other.
func (d *demo) toServer(ctx context.Context) error {
	const chosen = "bravo"
	d.say(`
2. To a server by name: that one and no other

   toBravo := client.Prepare(rpc.WithServer(%q)); toBravo.Call(…"whoami"…), 3 times:
`, chosen)
	named := d.client.Prepare(rpc.WithServer(chosen))
	answers := newTally()
	for range 3 {
		name, err := rpc.CallFor[string](ctx, named, "whoami", rpc.None{})
		if err != nil {
			return err
		}
		answers.add(name)
	}
	d.chart(answers)
	if answers.of(chosen) != 3 {
		return fmt.Errorf("%d of 3 calls to %s were answered by %s", answers.of(chosen), chosen, chosen)
	}

	absent := d.client.Prepare(rpc.WithServer(demoAbsent), rpc.WithMandatory(true))
	_, err := rpc.CallFor[string](ctx, absent, "whoami", rpc.None{})
	if !errors.Is(err, messaging.ErrNoRoute) {
		return fmt.Errorf("a call to a server that is not there gave %w", orUnexpected(err))
	}
	d.say(`
   A server that is not there is an error at once, when the request is mandatory:

     %v`, err)
	return nil
}

// toAll is case 3: every server handles its own copy.
func (d *demo) toAll(ctx context.Context) error {
	d.say(`
3. Fanout: every server handles its own copy

   client.Fanout(ctx, "reload", nil), once:
`)
	d.tally.reset()
	if err := d.client.Fanout(ctx, "reload", rpc.None{}); err != nil {
		return err
	}
	if err := d.tally.wait(ctx, len(demoServers())); err != nil {
		return err
	}
	d.chart(d.tally)
	for _, name := range demoServers() {
		if n := d.tally.of(name); n != 1 {
			return fmt.Errorf("%s handled a fanout %d times", name, n)
		}
	}
	return nil
}

// whenItFails shows that a handler's error travels.
func (d *demo) whenItFails(ctx context.Context) error {
	_, err := rpc.CallFor[int](ctx, d.client, "divide", rpc.Args{"a": 1, "b": 0})
	remote, ok := errors.AsType[*rpc.RemoteError](err)
	if !ok {
		return fmt.Errorf("a call whose handler fails gave %w", orUnexpected(err))
	}
	d.say(`
And when a handler fails, its caller is told: client.Call(…"divide", a=1, b=0…) returned

     %v`, remote)
	return nil
}

func orUnexpected(err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return err
}

// say writes a paragraph.
func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// chart draws how many requests each server had.
func (d *demo) chart(t *tally) {
	for _, name := range demoServers() {
		n := t.of(name)
		d.say("     %-8s %-9s %d", name, strings.Repeat("#", n), n)
	}
}
