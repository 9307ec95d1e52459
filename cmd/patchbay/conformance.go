package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchbay-go/patchbay/conformance"
)

// proof is the command conformance.
type proof struct {
	app      *app
	url      string
	run      string
	levels   []string
	list     bool
	json     string
	markdown string
}

func (a *app) conformanceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "conformance [--url URL]",
		Short: "Prove what a transport does",
		Long: `Run the conformance suite against a URL: what every driver must do, and each
capability that it declares. Names are unique to the run, so that a broker in use
may serve; yet a test broker is the better place.

Every case is a line on stderr, and a failure says why it matters and what was
seen. The sum is printed on stdout. The exit code is 1 when a case failed.

Levels are must (every driver owes it), cap (declared capabilities) and fault (links
that break). The faults are made by a proxy that the program puts before each host,
without privileges, or by the in-memory driver itself; what needs a broker's
console (a restart, a memory alarm) is skipped, and says so. fake:// tests a broker
of its own. For zmq:// and zmq+tls:// the program is all the nodes: the URL names
endpoints of this machine, 12 at least, or none.`,
		Example: `  patchbay conformance
  patchbay conformance --url zmq://
  patchbay conformance --url 'zmq+tls://?ssl_ca_file=ca.pem&ssl_cert_file=node.pem&ssl_client_ca_file=ca.pem'
  patchbay conformance --url rabbit://guest:guest@localhost/ --level must --json report.json
  patchbay conformance --run '^call_' --list`,
		Args: cobra.NoArgs,
	}
	p := &proof{app: a}
	f := cmd.Flags()
	f.StringVar(&p.url, "url", "fake://", "transport `URL`")
	f.StringVar(&p.run, "run", "", "only the cases whose id matches this `REGEXP`")
	f.StringSliceVar(&p.levels, "level", levelNames(), "only these `levels`, separated by commas")
	f.BoolVar(&p.list, "list", false, "print the cases that would run, and run none")
	f.StringVar(&p.json, "json", "", "write the report to this `FILE`")
	f.StringVar(&p.markdown, "markdown", "", "write a table of the results to this `FILE`")
	completeWith(cmd, "level", levelNames())
	cmd.RunE = a.action(func(ctx context.Context, _ []string) error {
		if err := p.check(); err != nil {
			return err
		}
		if p.list {
			return p.printList()
		}
		return p.prove(ctx)
	})
	return cmd
}

func levelNames() []string {
	var names []string
	for _, l := range conformance.Levels() {
		names = append(names, string(l))
	}
	return names
}

// check finds mistakes in the flags, which are usage errors here.
func (p *proof) check() error {
	if _, err := regexp.Compile(p.run); err != nil {
		return usagef("--run: %w", err)
	}
	for _, l := range p.levels {
		if !slices.Contains(levelNames(), l) {
			return usagef("--level %s: want %s", l, strings.Join(levelNames(), ", "))
		}
	}
	if len(p.cases()) == 0 {
		return usagef("no case of level %s matches %q; --list shows all", strings.Join(p.levels, ","), p.run)
	}
	return nil
}

// cases returns those which the flags choose.
func (p *proof) cases() []conformance.Case {
	match := regexp.MustCompile(p.run)
	return slices.DeleteFunc(conformance.List(), func(c conformance.Case) bool {
		return !slices.Contains(p.levels, string(c.Level)) || !match.MatchString(c.ID)
	})
}

func (p *proof) printList() error {
	for _, c := range p.cases() {
		fields := []field{{"id", c.ID}, {"level", c.Level}}
		if c.Cap != "" {
			fields = append(fields, field{"capability", c.Cap})
		}
		if err := p.app.stdout.print(append(fields, field{"rule", c.Why})...); err != nil {
			return err
		}
	}
	return nil
}

// prove runs the cases and reports.
func (p *proof) prove(ctx context.Context) error {
	for _, name := range []string{p.json, p.markdown} {
		if err := writable(name); err != nil {
			return err
		}
	}
	harness, closeHarness, err := p.app.harness(ctx, p.url)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := closeHarness(); cerr != nil {
			fmt.Fprintln(p.app.stderr, cerr)
		}
	}()
	options := conformance.Options{Run: p.run, Log: p.app.stderr}
	for _, l := range p.levels {
		options.Levels = append(options.Levels, conformance.Level(l))
	}
	report, err := conformance.Check(ctx, harness, options)
	if err != nil {
		return err
	}
	if err := p.write(report); err != nil {
		return err
	}
	failed := len(report.Failed())
	err = p.app.stdout.print(field{"summary", report.Summary()}, field{"failed", failed})
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d of %d cases failed", failed, len(report.Cases))
	}
	return err
}

// write puts the report where the flags say.
func (p *proof) write(report *conformance.Report) error {
	fmt.Fprintln(p.app.stderr, report.Summary())
	if err := writeFile(p.json, report.WriteJSON); err != nil {
		return err
	}
	return writeFile(p.markdown, func(w io.Writer) error { return conformance.WriteMatrix(w, report) })
}

// writable finds out, before a run that takes long, whether its report can be
// written in the end.
func writable(name string) error {
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o666) //nolint:gosec // the user's, as os.Create makes it
	if err != nil {
		return err
	}
	return f.Close()
}

// writeFile creates a file and lets fn write it; "" is no file.
func writeFile(name string, fn func(io.Writer) error) error {
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := fn(f); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
