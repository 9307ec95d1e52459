// Command volume is a service as OpenStack has them, whose clients and servers may be of
// different versions, and that tells everybody what it does:
//
//	go run ./examples/volume                                          # all of it, in memory
//	go run ./examples/volume -url rabbit://guest:guest@localhost/ serve host1
//	go run ./examples/volume -url rabbit://guest:guest@localhost/ watch
//	go run ./examples/volume -url rabbit://guest:guest@localhost/ create host1 v-1 10 ssd
//	go run ./examples/volume -url rabbit://guest:guest@localhost/ -version 1.0 create host1 v-2 10
//
// Its client is in api.go, its server in manager.go. Either may be in Python: see
// docs/openstack.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/patchbay-go/patchbay/drivers/all"
	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/notify"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "volume:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("want one of: serve HOST, watch, create HOST ID SIZE [TYPE], get HOST ID, extend HOST ID SIZE, delete HOST ID, capabilities")

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("volume", flag.ContinueOnError)
	url := f.String("url", "fake://", "transport URL")
	version := f.String("version", "", "of the oldest server")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	t, err := all.Open(ctx, *url, nil)
	if err != nil {
		return err
	}
	defer func() { _ = t.Close(context.WithoutCancel(ctx)) }() // everything was drained before
	p := &program{t: t, out: out}
	if f.NArg() == 0 {
		return p.demo(ctx)
	}
	return p.do(ctx, NewAPI(t, *version), f.Args())
}

type program struct {
	t   *messaging.Transport
	out io.Writer
}

// do does one command.
func (p *program) do(ctx context.Context, api *API, args []string) error {
	command, args := args[0], args[1:]
	size := 0
	if (command == "create" || command == "extend") && len(args) > 2 {
		var err error
		if size, err = strconv.Atoi(args[2]); err != nil {
			return err
		}
	}
	switch n := len(args); {
	case command == "serve" && n == 1:
		return p.serve(ctx, args[0])
	case command == "watch" && n == 0:
		return p.watch(ctx)
	case command == "create" && n == 3:
		return api.Create(ctx, args[0], Volume{ID: args[1], Size: size})
	case command == "create" && n == 4:
		return api.Create(ctx, args[0], Volume{ID: args[1], Size: size, Type: args[3]})
	case command == "get" && n == 2:
		return p.show(api.Get(ctx, args[0], args[1]))
	case command == "extend" && n == 3:
		return p.show(api.Extend(ctx, args[0], args[1], size))
	case command == "delete" && n == 2:
		return api.Delete(ctx, args[0], args[1])
	case command == "capabilities" && n == 0:
		c, err := api.Capabilities(ctx)
		if err == nil {
			_, err = fmt.Fprintf(p.out, "%s has the types %q\n", c.Host, c.Types)
		}
		return err
	}
	return errUsage
}

func (p *program) show(v Volume, err error) error {
	if err == nil {
		_, err = fmt.Fprintf(p.out, "volume %s of %d GiB, type %q, is %s\n", v.ID, v.Size, v.Type, v.Status)
	}
	return err
}

// serve is the service of a host, until ctx ends; then it finishes what it has in hand.
func (p *program) serve(ctx context.Context, host string) error {
	srv, err := NewManager(p.t, host).Server(p.t)
	if err != nil {
		return err
	}
	if err := srv.Start(ctx); err != nil {
		return err
	}
	fmt.Fprintln(p.out, host, "serves volumes")
	<-ctx.Done()
	return srv.Wait(context.WithoutCancel(ctx))
}

// watch shows what the services tell, until ctx ends.
func (p *program) watch(ctx context.Context) error {
	l, err := p.watcher(func(line string) { fmt.Fprintln(p.out, line) })
	if err != nil {
		return err
	}
	if err := l.Start(ctx); err != nil {
		return err
	}
	fmt.Fprintln(p.out, "watching")
	return l.Serve(ctx)
}

// watcher returns a listener that shows what happened, one after the other. It takes
// nothing from others: its pool has a copy of everything.
func (p *program) watcher(show func(line string)) (*notify.Listener, error) {
	ep := &notify.Endpoint{Filter: notify.Filter{EventType: `volume\.`}}
	for _, priority := range []notify.Priority{notify.Info, notify.Error} {
		notify.Handle(ep, priority, func(_ context.Context, n *notify.Notification, e event) error {
			show(strings.TrimSpace(fmt.Sprintln(n.PublisherID, n.EventType, e.VolumeID, e.Reason)))
			return nil
		})
	}
	return notify.NewListener(p.t, []messaging.Target{{Topic: notify.DefaultTopic}}, []*notify.Endpoint{ep},
		&notify.ListenerOptions{Pool: topic + "-watch", Executor: rpc.Workers(1)})
}
