package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// Options choose what Check runs. The zero value runs everything.
type Options struct {
	Run    string  // a regular expression on case ids; default: all
	Levels []Level // default: all
	Seed   uint64  // of all random choices; default: a new one, which the Report tells
	Volume float64 // multiplies the number of messages of the heavy cases; default: 1

	// Log gets a line about each case as it ends, and everything about a
	// failure. Default: nothing is written.
	Log io.Writer
	// Progress is told each result as it comes. Default: nobody is.
	Progress func(Result)
}

// SeedVariable is the environment variable whose value Run uses as the seed, to
// replay a failure.
const SeedVariable = "CONFORMANCE_SEED"

// Run runs all cases, each as a subtest, and returns the report, which has only
// the cases that the flag -run of go test let through. Nothing else should run
// in the process at the same time: what others leave behind looks like a leak.
// Inside a testing/synctest bubble, where there are no subtests, use Check.
func Run(t *testing.T, h Harness) *Report {
	t.Helper()
	return RunWith(t, h, Options{})
}

// RunWith is Run with options. Options.Seed is taken from SeedVariable if that is set.
func RunWith(t *testing.T, h Harness, o Options) *Report {
	t.Helper()
	if v := os.Getenv(SeedVariable); v != "" {
		seed, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("reading %s: %v", SeedVariable, err)
		}
		o.Seed = seed
	}
	s, err := newSuite(t.Context(), h, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range s.cases {
		t.Run(c.ID, func(t *testing.T) {
			r := s.run(c)
			for _, line := range strings.Split(strings.TrimSpace(r.describe(s.report.Seed)), "\n") {
				t.Log(line)
			}
			if r.Outcome == Fail {
				t.Fail()
			}
		})
	}
	t.Logf("%s", s.report.Summary())
	return s.report
}

// Check runs cases and returns the Report, in which there may be failures. The
// error says only why the suite could not run, or not to its end: a bad option, a
// peer that cannot be reached, the end of ctx. A case that ctx cuts short is a Skip.
func Check(ctx context.Context, h Harness, o Options) (*Report, error) {
	s, err := newSuite(ctx, h, o)
	if err != nil {
		return nil, err
	}
	for _, c := range s.cases {
		s.run(c)
		if ctx.Err() != nil {
			return s.report, fmt.Errorf("running the suite, after %d of %d cases: %w", len(s.report.Cases), len(s.cases), context.Cause(ctx))
		}
	}
	return s.report, nil
}

// suite is one run.
type suite struct {
	ctx    context.Context //nolint:containedctx // the run is what it bounds
	h      Harness
	o      Options
	cases  []Case
	caps   messaging.Capabilities
	nonce  string
	report *Report
	before *resources // what was there before the case that runs
	leaks  []string   // found after any case; judged by the case leakCase
}

func newSuite(ctx context.Context, h Harness, o Options) (*suite, error) {
	h, err := h.check()
	if err != nil {
		return nil, err
	}
	if o.Volume <= 0 {
		o.Volume = 1
	}
	for o.Seed == 0 {
		o.Seed = uint64(rand.Uint32()) // short, so that people can type it
	}
	if len(o.Levels) == 0 {
		o.Levels = Levels()
	}
	s := &suite{ctx: ctx, h: h, o: o}
	if s.cases, err = choose(o); err != nil {
		return nil, err
	}
	if s.caps, err = capabilitiesOf(ctx, &h); err != nil {
		return nil, err
	}
	f := fnv.New32a()
	fmt.Fprint(f, o.Seed, time.Now().UnixNano())
	s.nonce = fmt.Sprintf("%08x", f.Sum32())
	s.report = &Report{Schema: Schema, Driver: h.Driver, Broker: h.Broker, Seed: o.Seed, Capabilities: s.caps, Cases: []Result{}}
	return s, nil
}

// choose returns the cases that the options ask for.
func choose(o Options) ([]Case, error) {
	re, err := regexp.Compile(o.Run)
	if err != nil {
		return nil, fmt.Errorf("reading Options.Run: %w", err)
	}
	for _, l := range o.Levels {
		if !slices.Contains(Levels(), l) {
			return nil, fmt.Errorf("reading Options.Levels: %q is no level; there are %v", l, Levels())
		}
	}
	cases := slices.DeleteFunc(List(), func(c Case) bool {
		return !slices.Contains(o.Levels, c.Level) || !re.MatchString(c.ID)
	})
	if len(cases) == 0 {
		return nil, fmt.Errorf("choosing cases: none of levels %v matches %q", o.Levels, o.Run)
	}
	return cases, nil
}

// capabilitiesOf asks the peer, and so also finds out whether there is one.
func capabilitiesOf(ctx context.Context, h *Harness) (caps messaging.Capabilities, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(float64(patience)*h.Scale))
	defer cancel()
	tr, err := h.Open(ctx)
	if err != nil {
		return caps, fmt.Errorf("opening a transport for the suite: %w", err)
	}
	caps, err = tr.Capabilities(ctx)
	if err != nil {
		err = fmt.Errorf("asking for the peer's capabilities: %w", err)
	}
	if cerr := tr.Close(ctx); err == nil && cerr != nil {
		err = fmt.Errorf("closing the first transport: %w", cerr)
	}
	return caps, err
}

// declared looks a capability up by its JSON name.
func declared(caps messaging.Capabilities, name string) bool {
	return capabilityMap(caps)[name]
}

// capabilityMap returns the capabilities that are yes or no, by JSON name.
func capabilityMap(caps messaging.Capabilities) map[string]bool {
	text, err := json.Marshal(caps)
	if err != nil {
		panic(err) // a struct of plain values
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		panic(err)
	}
	m := map[string]bool{}
	for name, v := range fields {
		if on, ok := v.(bool); ok {
			m[name] = on
		}
	}
	return m
}

// run runs one case and adds its result to the report.
func (s *suite) run(c Case) Result {
	t := s.newTrial(c)
	if s.before == nil {
		s.before = takeStock()
	}
	start := time.Now()
	stacks := s.watch(t)
	took := time.Since(start)
	s.lookForLeaks(t)
	r := t.result(took, context.Cause(s.ctx))
	r.Stacks = stacks
	s.report.add(r)
	if s.o.Log != nil {
		_, _ = io.WriteString(s.o.Log, r.describe(s.o.Seed))
	}
	if s.o.Progress != nil {
		s.o.Progress(r)
	}
	return r
}

func (s *suite) newTrial(c Case) *trial {
	f := fnv.New64a()
	_, _ = io.WriteString(f, c.ID)
	ctx, cancel := context.WithCancelCause(s.ctx)
	return &trial{
		ctx: ctx, cancel: cancel, h: &s.h, o: &s.o, c: c, caps: s.caps,
		prefix: fmt.Sprintf("cf%s-%d", s.nonce, len(s.report.Cases)),
		rng:    rand.New(rand.NewPCG(s.o.Seed, f.Sum64())), //nolint:gosec // replayable is the point
		ledger: newLedger(),
	}
}

// watch runs the case and ends it when it hangs; then it returns all stacks.
func (s *suite) watch(t *trial) (stacks []string) {
	defer t.cancel(errOver)
	limit := t.c.limit
	if limit == 0 {
		limit = caseLimit
	}
	done := make(chan struct{})
	go t.main(done)
	watchdog := time.NewTimer(t.scaled(limit))
	defer watchdog.Stop()
	select {
	case <-done:
		return nil
	case <-watchdog.C:
	}
	stacks = allStacks()
	t.errorf("hung: the watchdog ended it after %v", t.scaled(limit))
	t.cancel(errOver)
	go t.cleanUp() // what hangs may end with its transport
	watchdog.Reset(3 * t.scaled(cleanupLimit))
	select {
	case <-done:
	case <-watchdog.C:
		t.errorf("it did not end even then")
	}
	return stacks
}

// lookForLeaks compares what is there with what was there before the case. All
// leaks are judged by one case, so that a leak is one failure; where that case
// does not run, by the case that leaked.
func (s *suite) lookForLeaks(t *trial) {
	left, after := s.before.settle(t.scaled(slack))
	s.before = after
	for _, leak := range left {
		s.leaks = append(s.leaks, t.c.ID+" left "+leak)
	}
	judged := slices.ContainsFunc(s.cases, func(c Case) bool { return c.ID == leakCase })
	if judged && t.c.ID != leakCase {
		return
	}
	for _, leak := range s.leaks {
		t.errorf("%s", leak)
	}
	s.leaks = nil
}
