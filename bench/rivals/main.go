// Command rivals measures the zmq driver beside what else carries a message
// between two processes of one machine: zmq4's own sockets, libzmq in C, gRPC, a
// plain TCP connection and, given its URL, RabbitMQ through this module. It is a
// module of its own so that nobody who uses this one has gRPC in theirs.
// docs/performance.md says how to read what it prints.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/patchbay-go/patchbay/bench"
	"github.com/patchbay-go/patchbay/drivers/rabbit"
	"github.com/patchbay-go/patchbay/drivers/zmq"
	"github.com/patchbay-go/patchbay/messaging"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop)
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "rivals:", err)
		os.Exit(1)
	}
}

func systems() map[string]bench.System {
	return map[string]bench.System{
		"patchbay": bench.Patchbay(messaging.Registry{"zmq": zmq.Open, "rabbit": rabbit.Open}, slog.Default()),
		"driver":   driver{},
		"sockets":  sockets{},
		"tcp":      rawTCP{},
		"grpc":     unary{},
	}
}

// options are the flags.
type options struct {
	rounds   int
	duration time.Duration
	size     int
	rabbit   string
	only     *regexp.Regexp // of the names of cases and rows, "call, 64 in flight: zmq driver"
	profile  string
	json     bool
}

func run(ctx context.Context) error {
	var o options
	serve := flag.Bool("serve", false, "be the server process of another")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds")
	flag.DurationVar(&o.duration, "duration", 2*time.Second, "of one run")
	flag.IntVar(&o.size, "size", 100, "bytes of a message")
	flag.StringVar(&o.rabbit, "rabbit", "", "rabbit:// URL, to measure RabbitMQ as well")
	only := flag.String("only", "", "measure what matches this `regexp` alone, such as 'one way.*(zmq4|driver)'")
	flag.StringVar(&o.profile, "profile", "", "write profiles to files whose names begin so; of the last round")
	flag.BoolVar(&o.json, "json", false, "print each run as a line of JSON, before the tables")
	flag.Parse()
	if *serve {
		return bench.ServeProcess(ctx, systems(), os.Stdin, os.Stdout)
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	dir, err := os.MkdirTemp("", "rivals")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := buildLibzmq(ctx, dir)
	if err != nil {
		return err
	}
	r := &bench.Runner{Systems: systems(), Process: func(ctx context.Context) (*exec.Cmd, error) {
		program, err := os.Executable()
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, program, "-serve")
		cmd.Stderr = os.Stderr
		return cmd, nil
	}}
	var errs []error
	for _, s := range []bench.Spec{
		{Pattern: bench.Call, InFlight: 64},
		{Pattern: bench.Call, InFlight: 1},
		{Pattern: bench.Cast, InFlight: 1},
	} {
		s.Size, s.Duration = o.size, o.duration
		errs = append(errs, o.compare(ctx, r, c, s))
	}
	return errors.Join(errs...)
}

// compare measures one case, all systems once in each round.
func (o *options) compare(ctx context.Context, r *bench.Runner, c *libzmq, s bench.Spec) error {
	entries := []string{"zmq4 sockets=sockets", "libzmq (C)=libzmq", "tcp, coalesced=tcp"}
	if s.Pattern == bench.Call {
		entries = append(entries, "grpc unary=grpc", "zmq driver=driver", "patchbay zmq=patchbay")
		if o.rabbit != "" {
			entries = append(entries, "patchbay rabbit=rabbit")
		}
	} else {
		entries = append(entries, "zmq driver=driver")
	}
	title := s.String()
	if s.Pattern == bench.Cast {
		title = fmt.Sprintf("one way, one sender, %d B", s.Size)
	}
	entries = slices.DeleteFunc(entries, func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return !o.only.MatchString(title + ": " + name)
	})
	if len(entries) == 0 {
		return nil
	}
	var records []bench.Record
	for round := 1; round <= o.rounds; round++ {
		for _, e := range entries {
			name, system, _ := strings.Cut(e, "=")
			if o.profile != "" {
				s.Profile = fmt.Sprintf("%s-%s-%s-%d", o.profile, system, s.Pattern, s.InFlight)
			}
			sample, err := o.measure(ctx, r, c, system, s)
			if err != nil {
				return fmt.Errorf("measuring %s, round %d: %w", name, round, err)
			}
			rec := bench.Record{Name: name, Round: round, Sample: *sample}
			records = append(records, rec)
			if o.json {
				_ = json.NewEncoder(os.Stdout).Encode(rec) // the table fails, too
			}
			fmt.Fprintf(os.Stderr, "%s: %s, round %d of %d: %.0f/s\n", title, name, round, o.rounds, sample.Rate)
		}
	}
	if err := bench.WriteTable(os.Stdout, title, bench.Summarize(records)); err != nil {
		return err
	}
	fmt.Println()
	return nil
}

func (o *options) measure(ctx context.Context, r *bench.Runner, c *libzmq, system string, s bench.Spec) (*bench.Sample, error) {
	switch system {
	case "libzmq":
		return c.measure(ctx, s)
	case "rabbit":
		s.URL = o.rabbit
		return r.Measure(ctx, "patchbay", s)
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s.URL = "zmq://" + address + "/"
	return r.Measure(ctx, system, s)
}

// freeAddress returns an address of this machine where nobody listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
