package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/patchbay-go/patchbay/messaging"
)

func (a *app) urlCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "url URL | --config FILE",
		Short: "Show how a transport URL is understood",
		Long: `Parse a transport URL and print its parts as JSON, percent escapes decoded and
passwords as "***". What is absent is null. Any scheme is parsed and no option is
checked: whether there is a driver for it, the other commands tell.

The grammar is oslo.messaging's: several hosts, each with its own credentials.

With --config the URL is that of an oslo.config file, with the options that stand
beside it there.`,
		Example: `  patchbay url 'rabbit://ann:pa55@host1:5672,bob:pa55@host2/my%20vhost?amqp_durable_queues=true'`,
	}
	c := &connection{app: a}
	c.addConfigFlag(cmd)
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) != 1 && len(c.files) == 0 || len(args) > 0 && len(c.files) > 0 {
			return usagef("want one URL, quoted for the shell, or --config FILE")
		}
		return nil
	}
	cmd.RunE = a.action(func(_ context.Context, args []string) error {
		if len(args) == 0 {
			if _, err := c.resolve(false); err != nil {
				return err
			}
			return a.stdout.printValue(c.conf.URL)
		}
		u, err := messaging.ParseURL(args[0])
		if err != nil {
			return err
		}
		return a.stdout.printValue(u)
	})
	return cmd
}
