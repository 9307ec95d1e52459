package rpc

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/patchbay-go/patchbay/messaging"
)

// DefaultWorkers is how many requests a server handles at once by default. It
// is oslo.messaging's executor_thread_pool_size.
const DefaultWorkers = 64

// Executor decides on which goroutine a request is handled. It belongs to one
// server, which closes it.
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

// Blocking returns an executor that handles requests one by one, in the order
// in which they arrive, on the polling goroutine. A handler that calls its own
// server waits for ever then, that is, until its deadline.
func Blocking() Executor { return blocking{} }

type blocking struct{}

func (blocking) Execute(_ context.Context, task func()) error { task(); return nil }
func (blocking) Concurrency() int                             { return 1 }
func (blocking) Close(context.Context) error                  { return nil }

// Workers returns an executor that handles n requests at once (default
// DefaultWorkers), on goroutines that are started when they are needed and
// used again.
func Workers(n int) Executor {
	if n <= 0 {
		n = DefaultWorkers
	}
	w := &workers{
		size:  n,
		tasks: make(chan func()),
		slots: make(chan struct{}, n),
		quit:  make(chan struct{}),
	}
	w.alive.init()
	return w
}

type workers struct {
	size  int
	tasks chan func()   // unbuffered: a send is a worker's receive
	slots chan struct{} // one element for each worker alive
	alive tracker       // the workers, and one until Close

	mu   sync.Mutex // guards closing quit, so that no worker starts after it
	quit chan struct{}
}

func (w *workers) Concurrency() int { return w.size }

// Execute hands task to an idle worker; if there is none it starts one, and if
// there are enough it waits.
func (w *workers) Execute(ctx context.Context, task func()) error {
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

func (w *workers) start(task func()) error {
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
func (w *workers) work(task func()) {
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
func (w *workers) Close(ctx context.Context) error {
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
