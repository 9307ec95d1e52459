// Command compare measures calls, casts and fanouts over this module beside
// what one would write without it: Go channels in memory, and the plain client
// libraries on brokers. docs/performance.md says how to read what it prints.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/patchbay-go/patchbay/bench"
	"github.com/patchbay-go/patchbay/bench/amqp091"
	"github.com/patchbay-go/patchbay/bench/amqp10"
	"github.com/patchbay-go/patchbay/drivers/all"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// comparison is what the flags say.
type comparison struct {
	url      string
	patterns string
	inFlight string
	size     int
	servers  int
	rounds   int
	duration time.Duration
	only     string
	profile  string
	json     bool
	serve    bool
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	var c comparison
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&c.url, "url", "", "rabbit:// or amqp1:// URL of a broker (default: compare in memory)")
	f.StringVar(&c.patterns, "patterns", "call,cast,fanout", "what to measure")
	f.StringVar(&c.inFlight, "inflight", "64", "operations in flight, several separated by commas")
	f.IntVar(&c.size, "size", 100, "bytes of a message's text")
	f.IntVar(&c.servers, "servers", 1, "servers")
	f.IntVar(&c.rounds, "rounds", 5, "rounds")
	f.DurationVar(&c.duration, "duration", 3*time.Second, "of one run")
	f.StringVar(&c.only, "only", "", "the names of the systems to compare, separated by commas; the first is the anchor (default: all)")
	f.StringVar(&c.profile, "profile", "", "write profiles to files whose names begin so")
	f.BoolVar(&c.json, "json", false, "print each run as a line of JSON, before the tables")
	f.BoolVar(&c.serve, "serve", false, "be the server process of another compare")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if c.serve {
		return bench.ServeProcess(ctx, systems(), stdin, stdout)
	}
	return c.run(ctx, stdout, stderr)
}

func systems() map[string]bench.System {
	return map[string]bench.System{
		"patchbay":      bench.Patchbay(all.Registry(), slog.Default()),
		"channels":      bench.Channels(),
		"amqp091":       amqp091.Naive(),
		"amqp091-alike": amqp091.Alike(),
		"amqp091-best":  amqp091.Tuned(),
		"go-amqp":       amqp10.Settled(),
		"go-amqp-wait":  amqp10.Unsettled(),
		"go-amqp-best":  amqp10.Tuned(),
	}
}

// run makes a table for each case. One that fails does not keep the others from
// being measured.
func (c *comparison) run(ctx context.Context, stdout, stderr io.Writer) error {
	runner := &bench.Runner{Systems: systems(), Process: serverProcess(stderr)}
	if c.url != "" {
		c.meterBroker(ctx, runner, stderr)
	}
	var errs []error
	for pattern := range strings.SplitSeq(c.patterns, ",") {
		for text := range strings.SplitSeq(c.inFlight, ",") {
			n, err := strconv.Atoi(text)
			if err != nil {
				return fmt.Errorf("-inflight: %w", err)
			}
			spec := bench.Spec{URL: c.url, Pattern: bench.Pattern(pattern), InFlight: n, Size: c.size, Servers: c.servers, Duration: c.duration}
			if err := c.one(ctx, runner, spec, stdout, stderr); err != nil {
				fmt.Fprintln(stderr, err)
				errs = append(errs, err)
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return errors.Join(errs...)
}

// one compares one case.
func (c *comparison) one(ctx context.Context, runner *bench.Runner, spec bench.Spec, stdout, stderr io.Writer) error {
	entries, err := c.entries(spec)
	if err != nil {
		return err
	}
	records, err := runner.Compare(ctx, entries, c.rounds, func(r bench.Record) {
		if c.json {
			_ = json.NewEncoder(stdout).Encode(r) // the table fails, too
		}
		fmt.Fprintf(stderr, "%s: %s, round %d of %d: %.0f/s\n", spec, r.Name, r.Round, c.rounds, r.Rate)
		if r.FirstError != nil {
			fmt.Fprintf(stderr, "%d errors, the first: %v\n", r.Errors, r.FirstError)
		}
	})
	if err != nil {
		return err
	}
	if err := bench.WriteTable(stdout, spec.String(), bench.Summarize(records)); err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout)
	return err
}

// entries returns what to compare, the anchor first.
func (c *comparison) entries(spec bench.Spec) ([]bench.Entry, error) {
	var entries []bench.Entry
	add := func(name, system, query string) {
		s := spec
		if query != "" {
			s.URL = withQuery(spec.URL, query)
		}
		if c.profile != "" {
			s.Profile = fmt.Sprintf("%s-%s-%s-%d", c.profile, strings.ReplaceAll(name, " ", "-"), s.Pattern, s.InFlight)
		}
		entries = append(entries, bench.Entry{Name: name, System: system, Spec: s})
	}
	switch {
	case c.url == "":
		spec.URL = "fake://"
		add("channels", "channels", "")
		add("patchbay", "patchbay", "")
	case strings.HasPrefix(c.url, "amqp1"):
		add("go-amqp", "go-amqp", "")
		if spec.Pattern != bench.Call {
			add("go-amqp-wait", "go-amqp-wait", "")
		}
		add("go-amqp-best", "go-amqp-best", "")
		add("patchbay", "patchbay", "")
		if spec.Pattern != bench.Call {
			add("patchbay-settled", "patchbay", "pre_settled=rpc-cast")
		}
	default:
		add("amqp091", "amqp091", "")
		if spec.Pattern == bench.Call {
			add("amqp091-alike", "amqp091-alike", "")
		}
		add("amqp091-best", "amqp091-best", "")
		add("patchbay", "patchbay", "")
		add("patchbay-native", "patchbay", "wire=native")
		if spec.Pattern == bench.Call {
			add("patchbay-shared", "patchbay", "share_connection=true")
			add("patchbay-direct", "patchbay", "share_connection=true&direct_reply_to=true")
			add("patchbay-plain", "patchbay", "wire=native&share_connection=true&direct_reply_to=true")
			entries[len(entries)-1].Spec.Blocking = true
		}
	}
	if c.only == "" {
		return entries, nil
	}
	var chosen []bench.Entry
	for name := range strings.SplitSeq(c.only, ",") {
		n := len(chosen)
		for _, e := range entries {
			if e.Name == name {
				chosen = append(chosen, e)
			}
		}
		if len(chosen) == n {
			return nil, fmt.Errorf("-only: no system is called %q here", name)
		}
	}
	return chosen, nil
}

func withQuery(address, query string) string {
	if strings.Contains(address, "?") {
		return address + "&" + query
	}
	return address + "?" + query
}

// meterBroker lets the runner read the broker's CPU time, where it can be seen.
func (c *comparison) meterBroker(ctx context.Context, runner *bench.Runner, stderr io.Writer) {
	u, err := url.Parse(c.url)
	if err != nil {
		return // the driver says what is wrong with it
	}
	runner.BrokerCPU, err = bench.ContainerCPU(ctx, cmp.Or(u.Port(), "5672"))
	if err != nil {
		runner.BrokerCPU = nil
		fmt.Fprintln(stderr, "the broker's CPU time is unknown:", err)
	}
}

// serverProcess returns what starts this program as a server.
func serverProcess(stderr io.Writer) func(context.Context) (*exec.Cmd, error) {
	return func(ctx context.Context) (*exec.Cmd, error) {
		program, err := os.Executable()
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, program, "-serve")
		cmd.Stderr = stderr
		return cmd, nil
	}
}
