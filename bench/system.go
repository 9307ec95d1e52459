package bench

import (
	"context"
	"errors"
	"sync/atomic"
)

// Errors.
var (
	// ErrSpec: the Spec cannot be measured.
	ErrSpec = errors.New("invalid measurement")

	// ErrServer: the server process failed or ended.
	ErrServer = errors.New("the server process failed")

	// ErrUnhandled: not everything that was accepted was handled in time.
	ErrUnhandled = errors.New("not everything was handled")
)

// System is something that can be measured.
type System interface {
	// Serve starts the n-th server of a run and returns once requests reach
	// it. The server counts in t what it has handled.
	Serve(ctx context.Context, s *Spec, n int, t *Tally) (Closer, error)

	// Dial connects a client. The servers of the run are there.
	Dial(ctx context.Context, s *Spec) (Client, error)

	// InMemory reports whether client and servers must be in one process.
	InMemory(s *Spec) bool
}

// Client does the operations of a run.
type Client interface {
	// Do does one operation. It is called by Spec.InFlight goroutines at a time.
	Do(ctx context.Context) error
	Closer
}

// Closer ends what a run has started. It waits for goroutines, under ctx.
type Closer interface {
	Close(ctx context.Context) error
}

// CloserFunc is a Closer.
type CloserFunc func(ctx context.Context) error

// Close calls f.
func (f CloserFunc) Close(ctx context.Context) error { return f(ctx) }

// Tally counts what the servers of a process have handled. The zero value is
// ready. It is safe for concurrent use, with one goroutine that awaits.
type Tally struct {
	n      atomic.Int64
	target atomic.Int64 // for which somebody waits; 0: nobody does
	signal atomic.Pointer[chan struct{}]
}

// Add counts one.
func (t *Tally) Add() {
	if n, target := t.n.Add(1), t.target.Load(); target > 0 && n >= target {
		if c := t.signal.Swap(nil); c != nil {
			close(*c)
		}
	}
}

// Load returns the count.
func (t *Tally) Load() int64 { return t.n.Load() }

// await returns when n were counted.
func (t *Tally) await(ctx context.Context, n int64) error {
	reached := make(chan struct{})
	t.signal.Store(&reached)
	t.target.Store(n)
	defer t.target.Store(0)
	if t.n.Load() >= n { // before target was set, when Add tells nobody
		return nil
	}
	select {
	case <-reached:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
