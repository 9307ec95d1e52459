package serving

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/patchbay-go/patchbay/internal/fifo"
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
//
// A task is handed over through a queue. One worker is woken for it at a time, and wakes
// the next if there is more: so short tasks that come together are done by one
// or two workers, one after the other, and a long one holds up nobody.
type Workers struct {
	size  int
	slots chan struct{} // one element for each task that was taken and is not over
	alive tracker       // the workers, and one until Close
	quit  chan struct{} // closed under mu

	mu     sync.Mutex // protects what follows
	tasks  []func()   // tasks[head:] are taken and not begun
	head   int
	count  int             // of workers
	idle   []chan struct{} // of those that rest; the last one works first, its stack is warm
	coming bool            // a worker was woken or started, and has not looked at tasks yet
}

// NewWorkers returns an executor of n tasks at once.
func NewWorkers(n int) *Workers {
	w := &Workers{size: n, slots: make(chan struct{}, n), quit: make(chan struct{})}
	w.alive.init()
	return w
}

// Concurrency implements Executor.
func (w *Workers) Concurrency() int { return w.size }

// Execute hands task to a worker; if there are enough and all are at work, it
// waits.
func (w *Workers) Execute(ctx context.Context, task func()) error {
	if !w.reserve() {
		select {
		case w.slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.quit:
			return messaging.ErrClosed
		}
	}
	if !w.begin(task) {
		w.free()
		return messaging.ErrClosed
	}
	return nil
}

// reserve reports whether a task can be taken without a wait: begin or free
// follows then.
func (w *Workers) reserve() bool {
	select {
	case w.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// free gives back what was reserved.
func (w *Workers) free() { <-w.slots }

// begin takes a task, for which there is room, unless Close was called.
func (w *Workers) begin(task func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed() {
		return false
	}
	w.tasks, w.head = fifo.Room(w.tasks, w.head)
	w.tasks = append(w.tasks, task)
	w.call()
	return true
}

// closed reports whether Close was called. w.mu is held.
func (w *Workers) closed() bool {
	select {
	case <-w.quit:
		return true
	default:
		return false
	}
}

// call has a worker come if there is something to do. If all are at work, the
// first of them that is done looks at tasks by itself. w.mu is held.
func (w *Workers) call() {
	n := len(w.idle)
	switch {
	case w.coming || w.head == len(w.tasks):
	case n > 0:
		w.coming = true
		w.idle[n-1] <- struct{}{}
		w.idle = w.idle[:n-1]
	case w.count < w.size:
		w.coming = true
		w.count++
		w.alive.enter()
		go w.work()
	}
}

// next takes a task, if there is one. w.mu is held.
func (w *Workers) next() func() {
	if w.head == len(w.tasks) {
		return nil
	}
	task := w.tasks[w.head]
	w.tasks[w.head] = nil
	if w.head++; w.head == len(w.tasks) {
		w.tasks, w.head = w.tasks[:0], 0
	}
	w.call() // another one, for the rest
	return task
}

// work runs tasks until Close. A task that ends its goroutine ends the worker;
// another is started when it is needed.
func (w *Workers) work() {
	working := false
	defer func() {
		if working { // the task ended the goroutine
			w.free()
			w.mu.Lock()
		}
		w.count--
		w.call()
		w.mu.Unlock()
		w.alive.exit()
	}()
	wake := make(chan struct{}, 1)
	w.mu.Lock()
	w.coming = false
	for {
		if task := w.next(); task != nil {
			w.mu.Unlock()
			working = true
			task()
			w.free()
			w.mu.Lock()
			working = false
			continue
		}
		if w.closed() {
			return
		}
		w.idle = append(w.idle, wake)
		w.mu.Unlock()
		<-wake
		w.mu.Lock()
		w.coming = false
	}
}

// Close may be called again, and concurrently.
func (w *Workers) Close(ctx context.Context) error {
	w.mu.Lock()
	if !w.closed() {
		close(w.quit)
		for _, wake := range w.idle {
			wake <- struct{}{}
		}
		w.idle = nil
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

// join is enter for others. It reports false if nothing is alive any more.
func (t *tracker) join() bool {
	for {
		n := t.n.Load()
		if n == 0 {
			return false
		}
		if t.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

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
