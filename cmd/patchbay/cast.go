package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func (a *app) castCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cast --url URL --topic TOPIC METHOD [name=string | name:=json]...",
		Short: "Send a request that nobody answers, to one server or to all",
		Long: `Send a request without waiting for it to be handled: to one of the servers of a
topic, with --server to that one, with --fanout to every server of the topic.

It prints {"accepted":N} once the broker has accepted the requests. With --count
the same request is sent that often, many of them under way at a time; those
that fail do not stop the others, unless nothing can be sent any more.`,
		Example: `  patchbay cast --url rabbit://guest:guest@localhost/ --topic calculator record x=1
  {"accepted":1}

  patchbay cast --topic calculator --fanout reload
  patchbay cast --topic calculator --count 1000 record`,
		Args: wantMethod,
	}
	r := a.newRequest(cmd)
	r.addRequestFlags(cmd)
	addTimeoutFlag(cmd, &r.timeout, defaultTimeout, "how long each request may wait to be accepted")
	count := cmd.Flags().Int("count", 1, "send it `N` times")
	cmd.Flags().BoolVar(&r.target.Fanout, "fanout", false, "to every server of the topic")
	cmd.MarkFlagsMutuallyExclusive("fanout", "server")
	cmd.RunE = a.action(func(ctx context.Context, args []string) error {
		if *count < 1 {
			return usagef("--count %d: want at least 1", *count)
		}
		method, body, err := parseMethod(args)
		if err != nil {
			return err
		}
		return r.do(ctx, func(ctx context.Context, c *rpc.Client) error {
			all := casts{what: "casts", left: *count, send: func(ctx context.Context) error { return c.Cast(ctx, method, body) }}
			if r.target.Fanout {
				all.send = func(ctx context.Context) error { return c.Fanout(ctx, method, body) }
			}
			err := all.run(ctx)
			return errors.Join(a.stdout.print(field{"accepted", all.accepted}), err)
		})
	})
	return cmd
}

// castWindow is how many casts are under way at most.
const castWindow = 64

// casts sends one message many times and counts what became of it.
type casts struct {
	what string // they are, in the plural
	send func(context.Context) error

	mu       sync.Mutex
	left     int // guarded by mu, like all below
	accepted int
	failed   int
	first    error // of the failures
}

// run sends left times and returns when every outcome is known, or has been
// waited for long enough.
func (c *casts) run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range min(c.left, castWindow) {
		wg.Go(func() {
			for c.take() {
				c.done(c.send(ctx))
			}
		})
	}
	wg.Wait()
	if c.failed > 0 && c.accepted+c.failed > 1 {
		return fmt.Errorf("%d %s failed; the first: %w", c.failed, c.what, c.first)
	}
	return c.first
}

func (c *casts) take() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left--
	return c.left >= 0
}

// done counts an outcome. After a failure to send at all there is no point in
// trying the rest.
func (c *casts) done(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.accepted++
		return
	}
	c.failed++
	if c.first == nil {
		c.first = err
	}
	if !errors.Is(err, messaging.ErrOutcomeUnknown) && !errors.Is(err, messaging.ErrNoRoute) && !errors.Is(err, messaging.ErrRejected) {
		c.left = 0
	}
}
