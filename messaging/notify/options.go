package notify

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/patchbay-go/patchbay/internal/jsontext"
	"github.com/patchbay-go/patchbay/internal/serving"
)

// Encoding turns payloads into the JSON text of the wire and back. It is safe for
// concurrent use. An rpc.JSON is one.
type Encoding interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(data []byte, v any) error
}

// encoding is the default: an rpc.JSON that is not strict.
type encoding struct{ codec jsontext.Codec }

func (e *encoding) Marshal(v any) ([]byte, error)      { return e.codec.Marshal(v) }
func (e *encoding) Unmarshal(data []byte, v any) error { return e.codec.Decode(data, v, false) }

// NotifierOptions are the options of a Notifier. Nil means all defaults.
type NotifierOptions struct {
	// Context decides which entries of the request context travel with a
	// notification, to everybody who can read it. Default: SafeContext.
	Context func(key string) bool

	Encoding   Encoding     // of payloads. Default: encoding/json as rpc.JSON has it
	Middleware []Middleware // the first is the outermost
}

func (o *NotifierOptions) withDefaults() NotifierOptions {
	var r NotifierOptions
	if o != nil {
		r = *o
	}
	if r.Context == nil {
		r.Context = SafeContext
	}
	if r.Encoding == nil {
		r.Encoding = &encoding{}
	}
	return r
}

// Executor decides on which goroutine notifications are handled. It belongs to one
// listener, which closes it. rpc.Workers and rpc.Blocking return some.
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

// Defaults of ListenerOptions.
const (
	DefaultWorkers      = 64 // oslo.messaging's executor_thread_pool_size
	DefaultRequeueDelay = time.Second
	DefaultBatchTimeout = time.Second
	DefaultDrainTimeout = 30 * time.Second
)

// ListenerOptions are the options of a Listener. Nil means all defaults.
type ListenerOptions struct {
	// Pool makes the listener one of a set that has a queue of its own, with its
	// own copy of every notification; each of the set handles a part. The queue
	// stays when they are gone, and its name is not scoped by topics: over RabbitMQ
	// it is that of a queue, which must be no topic's, not of requests either. It needs
	// Capabilities.Groups. Default: the queues that all listeners without a pool
	// share, one for each topic and priority.
	Pool string

	// Tap gives this listener a queue of its own, with a copy of every notification
	// that is sent while it is there: nothing is taken from anyone. The queue is
	// bounded: a listener that falls some thousands behind misses the oldest, and is
	// not told. Who must get everything uses a Pool. It needs Capabilities.Taps.
	Tap bool

	// AllowRequeue gives back a notification whose handler returned an error, so
	// that it comes again, to this listener or to another one. It needs
	// Capabilities.Requeue. Default: such an error is logged, and the notification
	// acknowledged.
	AllowRequeue bool

	RequeueDelay time.Duration // what was given back is kept for so long, doubled with each attempt up to a minute; default: DefaultRequeueDelay; negative: none
	MaxAttempts  int           // drop what was given back so often: where the queue says so it is dead-lettered; default: no limit

	BatchSize    int           // gather so many notifications before they are handled; default: 1
	BatchTimeout time.Duration // but for no longer than this after the first; default: DefaultBatchTimeout

	Executor     Executor      // default: that of rpc.Workers(DefaultWorkers)
	Prefetch     int           // notifications fetched ahead, for each queue, and never less than BatchSize; default: twice what is handled at once
	DrainTimeout time.Duration // of Serve; default: DefaultDrainTimeout
	Encoding     Encoding      // of payloads. Default: encoding/json as rpc.JSON has it, unknown members are ignored
	Middleware   []Middleware  // the first is the outermost
	Logger       *slog.Logger  // gets panics and notifications that were not handled; default: slog.Default
}

func (o *ListenerOptions) withDefaults() ListenerOptions {
	var r ListenerOptions
	if o != nil {
		r = *o
	}
	if r.Executor == nil {
		r.Executor = serving.NewWorkers(DefaultWorkers)
	}
	r.BatchSize = max(1, r.BatchSize)
	if r.Prefetch <= 0 {
		r.Prefetch = 2 * max(r.Executor.Concurrency(), 1)
	}
	r.Prefetch = max(r.Prefetch, r.BatchSize)
	r.RequeueDelay = cmp.Or(r.RequeueDelay, DefaultRequeueDelay)
	r.BatchTimeout = cmp.Or(max(r.BatchTimeout, 0), DefaultBatchTimeout)
	r.DrainTimeout = cmp.Or(r.DrainTimeout, DefaultDrainTimeout)
	if r.Encoding == nil {
		r.Encoding = &encoding{}
	}
	if r.Logger == nil {
		r.Logger = slog.Default()
	}
	return r
}
