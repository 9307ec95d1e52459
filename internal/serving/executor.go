package serving

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/patchbay-go/patchbay/messaging"
)

// Executor decides on which goroutine a job is done. It belongs to one
// receiver, which closes it.
type Executor interface {
	// Execute runs task, now or later, here or elsewhere. It waits for room
	// under ctx and returns ctx's error if there was none: task then never
	// runs. Other errors mean the same.
	Execute(ctx context.Context, task func()) error
	// Concurrency is how many tasks may run at once.
	Concurrency() int
	// Close waits until all tasks ended or ctx does. Execute is not called any
	// more.
	Close(ctx context.Context) error
}

// Blocking runs tasks one by one on the goroutine that brings them.
type Blocking struct{}

// Execute implements Executor.
func (Blocking) Execute(_ context.Context, task func()) error { task(); return nil }

// Concurrency implements Executor.
func (Blocking) Concurrency() int { return 1 }

// Close implements Executor.
func (Blocking) Close(context.Context) error { return nil }

// Workers runs tasks on goroutines that are started when they are needed and
// used again.
type Workers struct {
	size  int
	tasks chan func()   // unbuffered: a send is a worker's receive
	slots chan struct{} // one element for each worker alive
	alive tracker       // the workers, and one until Close

	mu   sync.Mutex // guards closing quit, so that no worker starts after it
	quit chan struct{}
}

// NewWorkers returns an executor of n tasks at once.
func NewWorkers(n int) *Workers {
	w := &Workers{
		size:  n,
		tasks: make(chan func()),
		slots: make(chan struct{}, n),
		quit:  make(chan struct{}),
	}
	w.alive.init()
	return w
}

// Concurrency implements Executor.
func (w *Workers) Concurrency() int { return w.size }

// Execute hands task to an idle worker; if there is none it starts one, and if
// there are enough it waits.
func (w *Workers) Execute(ctx context.Context, task func()) error {
	select {
	case w.tasks <- task:
		return nil
	default:
	}
	select {
	case w.tasks <- task:
		return nil
	case w.slots <- struct{}{}:
		return w.start(task)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.quit:
		return messaging.ErrClosed
	}
}

func (w *Workers) start(task func()) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.quit:
		<-w.slots
		return messaging.ErrClosed
	default:
	}
	w.alive.enter()
	go w.work(task)
	return nil
}

// work runs tasks until Close. A task that ends its goroutine ends the worker;
// the next Execute starts another.
func (w *Workers) work(task func()) {
	defer w.alive.exit()
	defer func() { <-w.slots }()
	for {
		task()
		select {
		case task = <-w.tasks:
		case <-w.quit:
			return
		}
	}
}

// Close may be called again, and concurrently.
func (w *Workers) Close(ctx context.Context) error {
	w.mu.Lock()
	select {
	case <-w.quit:
	default:
		close(w.quit)
		w.alive.exit()
	}
	w.mu.Unlock()
	return w.alive.wait(ctx)
}

// tracker counts what is alive, beginning with its owner, and tells when
// nothing is.
type tracker struct {
	n    atomic.Int64
	idle chan struct{}
}

func (t *tracker) init() {
	t.n.Store(1)
	t.idle = make(chan struct{})
}

// enter is called only by who is counted itself.
func (t *tracker) enter() { t.n.Add(1) }

func (t *tracker) exit() {
	if t.n.Add(-1) == 0 {
		close(t.idle)
	}
}

// wait waits until nothing is alive.
func (t *tracker) wait(ctx context.Context) error {
	select {
	case <-t.idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
