package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/patchbay-go/patchbay/internal/serving"
	"github.com/patchbay-go/patchbay/internal/throttle"
	"github.com/patchbay-go/patchbay/messaging"
)

// Queue publishes in the background, for callers that must not wait for a broker:
// log handlers, HTTP servers. It holds a bounded number of notifications and drops
// what is beyond. It is safe for concurrent use. Close it in the end.
type Queue struct {
	notifier *Notifier
	publish  Invoker // of the notifier, without panics: here they are nobody's else
	opts     QueueOptions
	waiting  chan queued
	senders  sync.WaitGroup
	work     context.Context //nolint:containedctx // of the senders: it ends when Close gives up
	giveUp   context.CancelCauseFunc
	dropped  atomic.Uint64
	failed   atomic.Uint64
	noise    throttle.Limit

	mu     sync.RWMutex // held by Notify for reading, so that Close can close waiting
	closed bool
}

type queued struct {
	ctx context.Context //nolint:containedctx // of who notified: its values, for middleware; it has no end of its own
	n   *Notification
}

// QueueOptions are the options of a Queue. Nil means all defaults.
type QueueOptions struct {
	Size    int // notifications that wait at most; default: 1000
	Senders int // how many are published at once; with more than one they may overtake each other; default: 1

	// OnError is told of each notification that could not be published; a panic of a
	// driver or a middleware is a *PanicError. Default: it is logged.
	OnError func(n *Notification, err error)
	Logger  *slog.Logger // default: slog.Default
}

// NewQueue returns a queue that publishes through n. opts may be nil.
func NewQueue(n *Notifier, opts *QueueOptions) *Queue {
	q := &Queue{notifier: n, publish: recovered(n.invoke)}
	if opts != nil {
		q.opts = *opts
	}
	q.opts.Size, q.opts.Senders = max(cmp.Or(q.opts.Size, 1000), 1), max(q.opts.Senders, 1)
	if q.opts.Logger == nil {
		q.opts.Logger = slog.Default()
	}
	if q.opts.OnError == nil {
		q.opts.OnError = q.complain
	}
	q.waiting = make(chan queued, q.opts.Size)
	q.work, q.giveUp = context.WithCancelCause(context.Background()) //nolint:forbidigo // nobody's ctx lives as long as the queue
	for range q.opts.Senders {
		q.senders.Go(q.send)
	}
	return q
}

// Notify queues what happened, as Notifier.Notify would publish it, and never
// waits: without room the error is ErrQueueFull, and after Close it is
// messaging.ErrClosed. payload is encoded before it returns. Of ctx only the values
// count.
func (q *Queue) Notify(ctx context.Context, p Priority, eventType string, payload any) error {
	if !q.notifier.Enabled() {
		return nil
	}
	n, err := q.notifier.make(ctx, p, eventType, payload)
	if err == nil {
		err = q.put(queued{context.WithoutCancel(ctx), n})
	}
	if err != nil {
		return opError(eventType, err)
	}
	return nil
}

func (q *Queue) put(item queued) error {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.closed {
		return messaging.ErrClosed
	}
	select {
	case q.waiting <- item:
		return nil
	default:
		q.dropped.Add(1)
		return ErrQueueFull
	}
}

// send is the goroutine of a sender.
func (q *Queue) send() {
	for item := range q.waiting {
		ctx, cancel := context.WithCancel(fromQueue(item.ctx))
		stop := context.AfterFunc(q.work, cancel)
		if err := q.publish(ctx, []*Notification{item.n}); err != nil {
			q.failed.Add(1)
			q.opts.OnError(item.n, err)
		}
		stop()
		cancel()
	}
}

// Close publishes what waits, until ctx ends, and returns when every goroutine of
// the queue has ended. If ctx ended before, the error tells how many were not
// published. It may be called again, and concurrently: the first ctx that ends is
// everybody's.
func (q *Queue) Close(ctx context.Context) error {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.waiting)
	}
	q.mu.Unlock()
	before := q.failed.Load()
	over := make(chan struct{})
	go func() {
		q.senders.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-ctx.Done():
		q.giveUp(context.Cause(ctx))
		<-over
	}
	q.giveUp(errEmpty)
	lost, cause := q.failed.Load()-before, context.Cause(q.work)
	if lost == 0 || errors.Is(cause, errEmpty) {
		return nil
	}
	return &messaging.OpError{Op: "closing a queue of notifications", Err: fmt.Errorf("%d were not published: %w", lost, cause)}
}

// errEmpty is why a queue ends that has nothing left, not for want of time.
var errEmpty = errors.New("the queue is empty")

// QueueStats are a Queue's numbers. Counters only grow.
type QueueStats struct {
	Waiting int    `json:"waiting"` // now
	Dropped uint64 `json:"dropped"` // for lack of room
	Failed  uint64 `json:"failed"`  // not published
}

// Stats returns counters and gauges of the moment.
func (q *Queue) Stats() QueueStats {
	return QueueStats{Waiting: len(q.waiting), Dropped: q.dropped.Load(), Failed: q.failed.Load()}
}

// complain is the default OnError.
func (q *Queue) complain(n *Notification, err error) {
	serving.Complain(fromQueue(q.work), q.opts.Logger, &q.noise, slog.LevelWarn, "patchbay: a notification was not published", err,
		slog.String("event_type", serving.Truncate(n.EventType, 100)))
}

type fromQueueKey struct{} // of a context under which a Queue works

// fromQueue marks ctx, so that a log handler does not publish what is logged by
// its own publishing.
func fromQueue(ctx context.Context) context.Context {
	return context.WithValue(ctx, fromQueueKey{}, true)
}

func isFromQueue(ctx context.Context) bool { return ctx.Value(fromQueueKey{}) != nil }
