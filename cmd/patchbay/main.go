// Command patchbay sends, serves and tests messages over every transport that
// Patchbay has a driver for. It is made of the public packages only, so each
// command is also an example of how to use them. docs/cli.md is its contract.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/patchbay-go/patchbay/drivers/all"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal drains, the second kills
	os.Exit(run(ctx, all.Registry(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
