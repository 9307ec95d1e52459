package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchbay-go/patchbay/bench"
	"github.com/patchbay-go/patchbay/messaging"
)

// benchTimeout bounds the first connection of a measurement.
const benchTimeout = 10 * time.Second

// measurement is the command bench.
type measurement struct {
	app     *app
	url     *connection
	pattern *choice
	spec    bench.Spec
	json    bool
	serve   bool
}

func (a *app) benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench --url URL [--pattern call|cast|fanout]",
		Short: "Measure what an operation costs over a transport",
		Long: `Measure rate, latency, CPU time and heap objects of calls, casts or fanouts,
with servers in a process of their own; over fake:// in one process, whose costs
are all the client's then.

A call ends with its reply, a cast or a fanout when it was accepted, and the
run when all were handled. CPU time repeats best; a rate or a latency counts only
beside others of the same minute. docs/performance.md compares with the plain
client library.

The topic is ` + bench.DefaultTopic + `. Where a driver's queues outlive their users, as
oslo.messaging's do on RabbitMQ, its queues stay; run one bench at a time.`,
		Example: `  patchbay bench --url fake://
  patchbay bench --url rabbit://guest:guest@localhost/ --pattern cast --inflight 256 --json`,
		Args: cobra.NoArgs,
	}
	m := &measurement{app: a, url: a.addURLFlag(cmd)}
	m.pattern = addChoiceFlag(cmd, "pattern", "what to measure", "call", "cast", "fanout")
	f := cmd.Flags()
	f.IntVar(&m.spec.InFlight, "inflight", 64, "keep `N` operations under way")
	f.IntVar(&m.spec.Size, "size", 100, "`bytes` of text in a request, and in the reply to a call")
	f.IntVar(&m.spec.Servers, "servers", 1, "run `N` servers")
	m.spec.Duration = 5 * time.Second
	f.Var(positive{&m.spec.Duration}, "duration", "measure for so long")
	f.BoolVar(&m.json, "json", false, "print the result as a line of JSON")
	f.BoolVar(&m.serve, "serve", false, "be the server process of another bench")
	_ = f.MarkHidden("serve") // fails for an undefined flag only
	cmd.RunE = a.action(func(ctx context.Context, _ []string) error {
		if m.serve {
			return bench.ServeProcess(ctx, m.systems(), a.stdin, a.stdout.w)
		}
		return m.run(ctx)
	})
	return cmd
}

// system is the name of what is measured.
const system = "patchbay"

func (m *measurement) systems() map[string]bench.System {
	return map[string]bench.System{system: bench.Patchbay(m.app.registry, m.app.logger(slog.LevelWarn))}
}

func (m *measurement) run(ctx context.Context) (err error) {
	if m.spec.InFlight < 1 || m.spec.Size < 1 || m.spec.Servers < 1 {
		return usagef("--inflight, --size and --servers: want at least 1")
	}
	m.spec.Pattern = bench.Pattern(m.pattern.value)
	if m.spec.URL, err = m.url.rawURL(); err != nil {
		return err
	}
	if err := m.connect(ctx); err != nil {
		return err
	}
	runner := &bench.Runner{Systems: m.systems(), Process: m.process}
	sample, err := runner.Measure(ctx, system, m.spec)
	if err != nil {
		return err
	}
	if sample.FirstError != nil {
		fmt.Fprintf(m.app.stderr, "%d failed; the first: %v\n", sample.Errors, redact(sample.FirstError.Error()))
	}
	if m.json {
		return m.app.stdout.printValue(sample)
	}
	return m.print(sample)
}

// connect finds out in this process whether the URL is any good: of what fails
// in the other one, only the words are known.
func (m *measurement) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, benchTimeout)
	defer cancel()
	return m.app.withTransport(ctx, m.app.byURL(m.spec.URL), quiet, func(t *messaging.Transport) error { return t.Connect(ctx) })
}

// process returns what starts this program as the server of a measurement.
func (m *measurement) process(ctx context.Context) (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, "bench", "--serve")
	cmd.Stderr = m.app.stderr
	return cmd, nil
}

// print writes a sample for people.
func (m *measurement) print(s *bench.Sample) error {
	both := func(c bench.Cost, unit string) string {
		switch {
		case c.Client == nil:
			return "unknown"
		case c.Server == nil:
			return fmt.Sprintf("%.1f%s in all", *c.Client, unit)
		}
		return fmt.Sprintf("client %.1f%s, server %.1f%s", *c.Client, unit, *c.Server, unit)
	}
	_, err := fmt.Fprintf(m.app.stdout.w, `%v over %s
  rate     %.0f/s (%d in %.1f s, %d failed)
  latency  p50 %.0f µs, p99 %.0f µs
  CPU      %s
  objects  %s
`, m.spec, s.URL, s.Rate, s.Ops, s.Seconds, s.Errors, s.Latency.P50, s.Latency.P99, both(s.CPU, " µs"), both(s.Allocs, ""))
	return err
}
