package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchbay-go/patchbay/messaging"
	"github.com/patchbay-go/patchbay/messaging/rpc"
)

// server is the command serve.
type server struct {
	app     *app
	conn    *connection
	target  messaging.Target
	handler *choice
	exec    string
	workers int
	ack     *choice
	timeout time.Duration
	log     *slog.Logger
}

func (a *app) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve --url URL --topic TOPIC [--endpoint demo | --exec CMD]",
		Short: "Serve a topic with demo methods or with any program",
		Long: `Serve a topic until SIGTERM or SIGINT, then let the requests in hand finish.

It prints {"event":"ready",…} once requests reach it, a line for every request,
and {"event":"stopped"} at the end. While the broker is away it waits for it.

The demo endpoint has these methods:
  echo(value | any)  returns value, or all its arguments
  add(a, b)          returns the sum, exact for whole numbers of any size
  fail(message)      raises a ValueError
  sleep(seconds)     returns after that time
  whoami()           returns the name of the server
  record(any)        returns null; so does none()
  ctxt()             returns the request's context

With --exec, every method is answered by a program of yours: CMD runs with
"sh -c", once for each request. It gets the arguments as a JSON object on stdin,
and what it prints must be the result as JSON; nothing means null. An exit code
other than 0 makes the call fail with what it wrote to stderr. The method's name
is in PATCHBAY_METHOD; PATCHBAY_EVENT (call, cast or fanout), PATCHBAY_TOPIC,
PATCHBAY_SERVER, PATCHBAY_NAMESPACE, PATCHBAY_VERSION and PATCHBAY_CONTEXT (JSON)
say the rest. They come from the network: quote them in a shell.`,
		Example: `  patchbay serve --url rabbit://guest:guest@localhost/ --topic calculator --server one
  {"event":"ready","topic":"calculator","server":"one"}
  {"event":"call","method":"add","args":{"a":2,"b":3},"context":{},"namespace":null,"version":"1.0"}

  patchbay serve --topic shout --exec 'jq ".text | ascii_upcase"'`,
		Args: cobra.NoArgs,
	}
	s := &server{app: a, conn: a.addConnectionFlags(cmd)}
	addTargetFlags(cmd, &s.target)
	cmd.Flags().Lookup("server").Usage = "`name` of this server (default: host name and process id)"
	addEndpointFlags(cmd, &s.target, "1.0")
	s.handler = addChoiceFlag(cmd, "endpoint", "built-in methods to serve", "demo")
	cmd.Flags().StringVar(&s.exec, "exec", "", "answer every method with a program: `CMD` runs with \"sh -c\"")
	cmd.MarkFlagsMutuallyExclusive("endpoint", "exec")
	cmd.Flags().IntVar(&s.workers, "workers", 64, "handle `N` requests at once")
	s.ack = addChoiceFlag(cmd, "ack", "acknowledge before a request is handled (at most once) or after (at least once)", "early", "late")
	addTimeoutFlag(cmd, &s.timeout, 0, "give up when it is not listening after this long (default: never)")
	cmd.RunE = a.action(func(ctx context.Context, _ []string) error { return s.run(ctx) })
	return cmd
}

// run serves until ctx ends.
func (s *server) run(ctx context.Context) error {
	open, err := s.conn.resolve(false)
	if err != nil {
		return err
	}
	if s.workers < 1 {
		return usagef("--workers %d: want at least 1", s.workers)
	}
	if s.target.Server == "" {
		if s.target.Server, err = defaultServer(); err != nil {
			return err
		}
	}
	s.log = s.app.logger(slog.LevelInfo)
	return s.app.withTransport(ctx, open, slog.LevelInfo, func(t *messaging.Transport) error {
		if strings.HasPrefix(t.URL().Scheme, "fake") {
			s.log.Warn("the fake driver works inside one process: no other process can reach this server")
		}
		ep, opts := s.handling()
		srv, err := rpc.NewServer(t, s.target, []*rpc.Endpoint{ep}, opts)
		if err != nil {
			return err
		}
		return s.serve(ctx, srv)
	})
}

// handling returns what handles requests, and the options that go with it.
func (s *server) handling() (*rpc.Endpoint, *rpc.ServerOptions) {
	o := &rpc.ServerOptions{
		Executor:   rpc.Workers(s.workers),
		Ping:       true,
		Logger:     s.log,
		Middleware: []rpc.Middleware{s.announce},
	}
	if s.ack.value == "late" {
		o.Ack = rpc.AckLate
	}
	if s.exec == "" {
		return demoEndpoint(s.target), o
	}
	p := &program{command: s.exec, target: s.target}
	o.Middleware = append(o.Middleware, p.anyMethod)
	return p.endpoint(), o
}

// serve starts srv, says so, and drains it when ctx ends.
func (s *server) serve(ctx context.Context, srv *rpc.Server) error {
	if err := s.start(ctx, srv); err != nil && ctx.Err() == nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		s.log.Info("stopping: requests in hand may finish", "within", rpc.DefaultDrainTimeout)
	})
	defer stop()
	err := srv.Serve(ctx) // started already: it waits for ctx and drains
	if errors.Is(err, context.Canceled) {
		err = wait(ctx, srv, rpc.DefaultDrainTimeout) // ctx had ended before
	}
	if err == nil {
		return s.app.stdout.print(field{"event", "stopped"})
	}
	_ = wait(ctx, srv, closeTimeout) // the handlers' contexts are cancelled: most end now, and the first error is the news
	return err
}

func (s *server) start(ctx context.Context, srv *rpc.Server) error {
	if s.timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		ctx = limited
	}
	if err := srv.Start(ctx); err != nil {
		return err
	}
	return s.app.stdout.print(field{"event", "ready"}, field{"topic", s.target.Topic}, field{"server", s.target.Server})
}

// wait is Wait for so long at most, although ctx has ended.
func wait(ctx context.Context, srv *rpc.Server, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d)
	defer cancel()
	return srv.Wait(ctx)
}

// announce prints a line for each request before it is handled.
func (s *server) announce(next rpc.Invoker) rpc.Invoker {
	return func(ctx context.Context, r *rpc.Request) (json.RawMessage, error) {
		values, err := contextObject(r.Context)
		if err == nil {
			err = s.app.stdout.print(
				field{"event", r.Pattern.String()},
				field{"method", r.Method},
				field{"args", r.Args},
				field{"context", values},
				field{"namespace", orNull(r.Namespace)},
				field{"version", orNull(r.Version)},
			)
		}
		if err != nil {
			s.log.Error("announcing a request", "error", err)
		}
		return next(ctx, r)
	}
}

// contextObject returns a context as a JSON object.
func contextObject(entries []messaging.ContextValue) (json.RawMessage, error) {
	fields := make([]field, len(entries))
	for i, v := range entries {
		fields[i] = field{v.Key, json.RawMessage(v.Value)}
	}
	return object(fields...)
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// defaultServer names a server that has no other name: host and process.
func defaultServer() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("naming the server: %w (give --server)", err)
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid()), nil
}
