package bench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

const (
	// setupTime bounds the start of servers and client, and their end.
	setupTime = 15 * time.Second

	// drainTime bounds the wait for what was accepted and is not yet handled.
	drainTime = 30 * time.Second

	warmMax = time.Second // of the part before the measured one
)

// Runner measures systems.
type Runner struct {
	Systems map[string]System // by name

	// Process returns a command, not yet started, that runs this program and
	// makes it call ServeProcess on its stdin and stdout. It is not called for
	// systems in memory.
	Process func(ctx context.Context) (*exec.Cmd, error)

	// BrokerCPU returns the CPU time that the broker has used since it began.
	// Nil: it is unknown.
	BrokerCPU func(ctx context.Context) (time.Duration, error)
}

// Sample is what one run has measured. As JSON it is the line of `patchbay bench`.
type Sample struct {
	URL      string  `json:"url"` // without its passwords
	Pattern  Pattern `json:"pattern"`
	InFlight int     `json:"inflight"`
	Size     int     `json:"size"`
	Servers  int     `json:"servers"`
	Ops      int64   `json:"ops"` // that succeeded
	Errors   int64   `json:"errors"`
	Seconds  float64 `json:"seconds"` // until the last one was handled
	Rate     float64 `json:"rate"`    // Ops by Seconds
	Latency  Latency `json:"latency_us"`
	CPU      Cost    `json:"cpu_us_per_op"` // user and system
	Allocs   Cost    `json:"allocs_per_op"` // heap objects

	FirstError error    `json:"-"` // of Errors
	BrokerCPU  *float64 `json:"-"` // microseconds for each operation; nil: unknown
}

// Latency holds percentiles, in microseconds: of a call until its reply, of
// others until they were accepted.
type Latency struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// Cost is what an operation costs on either side. Nil is unknown: systems in
// memory have one process, and all is the client's.
type Cost struct {
	Client *float64 `json:"client"`
	Server *float64 `json:"server"`
}

// Measure runs one system once: servers and client are started, warmed up,
// measured and ended. An error means that there is no Sample; operations that
// failed among others that did not are counted in it.
func (r *Runner) Measure(ctx context.Context, system string, s Spec) (_ *Sample, err error) {
	s, err = s.withDefaults()
	if err != nil {
		return nil, err
	}
	sys := r.Systems[system]
	if sys == nil {
		return nil, fmt.Errorf("%w: no system is called %q", ErrSpec, system)
	}
	servers, err := r.serve(ctx, system, sys, &s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeWithin(ctx, servers)) }()
	client, err := dialWithin(ctx, sys, &s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeWithin(ctx, client)) }()
	m := &meter{runner: r, spec: &s, servers: servers, client: client, shared: sys.InMemory(&s)}
	return m.measure(ctx)
}

// serve starts the servers, in a process of their own where that can be.
func (r *Runner) serve(ctx context.Context, name string, sys System, s *Spec) (servers, error) {
	if sys.InMemory(s) {
		return serveHere(ctx, sys, s)
	}
	return r.startProcess(ctx, name, s)
}

func dialWithin(ctx context.Context, sys System, s *Spec) (Client, error) {
	ctx, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	return sys.Dial(ctx, s)
}

// closeWithin ends something, even when ctx has ended.
func closeWithin(ctx context.Context, c Closer) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), setupTime)
	defer cancel()
	return c.Close(ctx)
}

// meter measures one run.
type meter struct {
	runner  *Runner
	spec    *Spec
	servers servers
	client  Client
	shared  bool // servers and client are one process
}

// reading is what all had used at a moment.
type reading struct {
	at             time.Time
	client, server usage
	broker         time.Duration // negative: unknown
}

func (m *meter) measure(ctx context.Context) (_ *Sample, err error) {
	defer func() {
		if err != nil && ctx.Err() != nil { // which is what the operations failed of
			err = fmt.Errorf("measuring %v: %w", m.spec, context.Cause(ctx))
		}
	}()
	warm := load(ctx, m.client, m.spec.InFlight, min(m.spec.Duration/5, warmMax))
	before, err := m.read(ctx, warm.total)
	if err != nil {
		return nil, errors.Join(err, warm.first)
	}
	stop, err := profile(m.spec.Profile, "client")
	if err != nil {
		return nil, err
	}
	run := load(ctx, m.client, m.spec.InFlight, m.spec.Duration)
	after, err := m.read(ctx, warm.total+run.total)
	if err = errors.Join(err, stop()); err != nil {
		return nil, errors.Join(err, run.first)
	}
	if run.total == 0 {
		return nil, fmt.Errorf("no operation succeeded, %d failed: %w", run.errors, run.first)
	}
	return m.sample(run, before, after), nil
}

// read waits until the servers have handled ops operations, and reads what all
// have used.
func (m *meter) read(ctx context.Context, ops int64) (r reading, err error) {
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	if r.server, err = m.servers.mark(ctx, ops*m.spec.copies()); err != nil {
		return r, err
	}
	r.at, r.client, r.broker = time.Now(), used(), -1
	if f := m.runner.BrokerCPU; f != nil && !m.shared {
		if r.broker, err = f(ctx); err != nil {
			return r, fmt.Errorf("reading the broker's CPU time: %w", err)
		}
	}
	return r, nil
}

func (m *meter) sample(run *outcome, before, after reading) *Sample {
	s := &Sample{
		Pattern: m.spec.Pattern, InFlight: m.spec.InFlight, Size: m.spec.Size, Servers: m.spec.Servers,
		Ops: run.total, Errors: run.errors, FirstError: run.first,
		Seconds: after.at.Sub(before.at).Seconds(),
		Latency: Latency{P50: micros(run.percentile(50)), P99: micros(run.percentile(99))},
	}
	if u, err := messaging.ParseURL(m.spec.URL); err == nil {
		s.URL = u.String()
	}
	s.Rate = float64(s.Ops) / s.Seconds
	s.CPU.Client, s.Allocs.Client = after.client.perOp(before.client, s.Ops)
	if !m.shared {
		s.CPU.Server, s.Allocs.Server = after.server.perOp(before.server, s.Ops)
	}
	if before.broker >= 0 && after.broker >= 0 {
		s.BrokerCPU = new(micros(after.broker-before.broker) / float64(s.Ops))
	}
	return s
}

// outcome is what became of many operations.
type outcome struct {
	latencies       // of those that succeeded
	errors    int64 // how many did not
	first     error // of them
}

// load keeps that many operations in flight for that long, and returns when
// all have ended.
func load(ctx context.Context, c Client, inFlight int, d time.Duration) *outcome {
	end := time.Now().Add(d)
	workers := make([]outcome, inFlight)
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() { workers[i].work(ctx, c, end) })
	}
	wg.Wait()
	sum := &workers[0]
	for i := range workers[1:] {
		w := &workers[1+i]
		sum.merge(&w.latencies)
		sum.errors += w.errors
		if sum.first == nil {
			sum.first = w.first
		}
	}
	return sum
}

// work does operations one after the other until end.
func (o *outcome) work(ctx context.Context, c Client, end time.Time) {
	begin := time.Now()
	for begin.Before(end) && ctx.Err() == nil {
		err := c.Do(ctx)
		now := time.Now()
		if err == nil {
			o.add(now.Sub(begin))
		} else {
			o.errors++
			if o.first == nil {
				o.first = err
			}
		}
		begin = now
	}
}
