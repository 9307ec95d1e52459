package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchbay-go/patchbay/messaging"
)

// closeTimeout bounds what a command still waits for after its work is done:
// the goodbye to the broker.
const closeTimeout = 2 * time.Second

// backoffMax bounds the waits between attempts to connect: a command, and the
// person or script behind it, notices within seconds that a broker is back.
const backoffMax = 3 * time.Second

// app is one run of the program: what it reads, writes and opens transports with.
type app struct {
	registry messaging.Registry
	stdin    io.Reader
	stdout   *lines
	stderr   io.Writer
	verbose  bool
	started  bool // a command began its work: errors before that are about usage
}

// run is main without the process: it runs one command and returns the exit
// code. When ctx ends, the command stops; serve drains first.
func run(ctx context.Context, registry messaging.Registry, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{registry: registry, stdin: stdin, stdout: &lines{w: stdout}, stderr: stderr}
	root := a.root()
	root.SetArgs(append([]string{}, args...)) // cobra reads os.Args for a nil slice
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)

	suggestions := strings.NewReplacer("\n\nDid you mean this?\n\t", "; did you mean ", "\n\t", " or ", "\n", "")
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if !a.started {
		err = usagef("%s", suggestions.Replace(err.Error()))
	}
	return printError(stderr, err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "patchbay",
		Short: "Call, cast and fanout between services, over many transports",
		Long: `Patchbay carries requests between services: a call is answered, a cast is not,
a fanout reaches every server; and notifications, of what happened, to whoever
wants to know. A transport URL says over what, for example
rabbit://user:password@host/ or, inside one process, fake://.

See it work, with nothing to install:

  patchbay demo

Then try it with a broker of yours, a server in one terminal and a client in another:

  patchbay serve --url rabbit://guest:guest@localhost/ --topic calculator
  patchbay call  --url rabbit://guest:guest@localhost/ --topic calculator add a:=2 b:=3

Results are JSON on stdout, one object a line; progress and errors go to stderr.
The exit code is 0, or 2 for wrong usage or a bad URL, 3 timeout, 4 no route,
5 remote error, 6 cannot connect, 7 not supported by the driver, 1 anything else.`,
		Version:       version().String(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("patchbay {{.Version}}\n")
	root.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false, "log what the transport does, on stderr")
	root.SetFlagErrorFunc(suggestFlag)
	root.AddCommand(
		a.demoCommand(), a.serveCommand(), a.callCommand(), a.castCommand(), a.pingCommand(),
		a.notifyCommand(), a.listenCommand(), a.tapCommand(),
		a.conformanceCommand(), a.benchCommand(), a.urlCommand(), a.versionCommand(),
	)
	return root
}

// action marks the point from which errors are no longer about usage.
func (a *app) action(fn func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.started = true
		return fn(cmd.Context(), args)
	}
}

// logger writes to stderr from level on, or from the lowest with --verbose.
func (a *app) logger(level slog.Level) *slog.Logger {
	if a.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level}))
}

// quiet is a log level above all: commands that end with an error say that
// once, as JSON, and a script that reads stderr finds nothing else there.
const quiet = slog.Level(100)

// logDial tells the first failure of a series, so that who watches a server
// knows what it waits for, and the others to who asked for everything.
func logDial(log *slog.Logger) func(host string, attempt int, took time.Duration, err error) {
	return func(_ string, attempt int, _ time.Duration, err error) {
		switch {
		case err == nil:
		case attempt == 1 && !errors.Is(err, messaging.ErrNoRoute): // that nobody is there yet is usual without a broker
			log.Warn("waiting for a connection", "error", err)
		default:
			log.Debug("waiting for a connection", "attempt", attempt, "error", err)
		}
	}
}
