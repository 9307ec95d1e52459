package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/patchbay-go/patchbay/messaging/rpc"
)

func (a *app) pingCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ping --url URL --topic TOPIC [--server SERVER]",
		Short: "Ask whether a server answers",
		Long: `Call oslo_rpc_server_ping, which servers of Patchbay and of oslo.messaging answer
when they are told to, and print {"result":"pong"}. It goes the whole way: through
the broker to a server's worker and back. That makes it a liveness probe.

The exit code is 0 when a server answered, 3 when none did in time.`,
		Example: `  patchbay ping --url rabbit://guest:guest@localhost/ --topic calculator
  {"result":"pong"}

  patchbay ping --topic compute --exchange nova --server host1 --timeout 10s`,
		Args: cobra.NoArgs,
	}
	r := a.newRequest(cmd)
	addTimeoutFlag(cmd, &r.timeout, defaultTimeout, "give up after this long, connecting included")
	cmd.RunE = a.action(func(ctx context.Context, _ []string) error {
		return r.do(ctx, func(ctx context.Context, c *rpc.Client) error {
			if err := c.Ping(ctx); err != nil {
				return err
			}
			return a.stdout.print(field{"result", "pong"})
		})
	})
	return cmd
}
