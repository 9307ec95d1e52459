package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/patchbay-go/patchbay/messaging"
)

func (a *app) urlCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "url URL",
		Short: "Show how a transport URL is understood",
		Long: `Parse a transport URL and print its parts as JSON, percent escapes decoded and
passwords as "***". What is absent is null. Any scheme is parsed and no option is
checked: whether there is a driver for it, the other commands tell.

The grammar is oslo.messaging's: several hosts, each with its own credentials.`,
		Example: `  patchbay url 'rabbit://ann:pa55@host1:5672,bob:pa55@host2/my%20vhost?amqp_durable_queues=true'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("want one URL, quoted for the shell")
			}
			return nil
		},
	}
	cmd.RunE = a.action(func(_ context.Context, args []string) error {
		u, err := messaging.ParseURL(args[0])
		if err != nil {
			return err
		}
		return a.stdout.printValue(u)
	})
	return cmd
}
