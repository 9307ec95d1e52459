package rpc

import (
	"context"

	"github.com/patchbay-go/patchbay/internal/serving"
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
func Blocking() Executor { return serving.Blocking{} }

// Workers returns an executor that handles n requests at once (default
// DefaultWorkers), on goroutines that are started when they are needed and
// used again.
func Workers(n int) Executor {
	if n <= 0 {
		n = DefaultWorkers
	}
	return serving.NewWorkers(n)
}
