package notify

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/internal/requestctx"
	"github.com/patchbay-go/patchbay/internal/serving"
	"github.com/patchbay-go/patchbay/messaging"
)

// job is one notification, or a batch of them, on its way through a listener.
type job struct {
	listener *Listener
	session  *serving.Session
	batch    []*item
	open     atomic.Int64 // of the batch, and those that wait to be given back
}

// item is a notification of a job and what its handlers said.
type item struct {
	received
	err error
}

func (j *job) add(in *messaging.Incoming) {
	j.batch = append(j.batch, &item{received: *read(in, j.listener.sourceOf(in))})
}

func (l *Listener) sourceOf(in *messaging.Incoming) *source {
	return &l.sources[min(max(in.Source, 0), len(l.sources)-1)]
}

// Task implements serving.Job.
func (j *job) Task() func() { return j.do }

// Return implements serving.Job: another listener may have the notifications.
func (j *job) Return(ctx context.Context) error {
	var err error
	for _, it := range j.batch {
		if e := it.in.Settle(ctx, messaging.Requeue); e != nil {
			err = e
		}
	}
	return err
}

// Release implements serving.Job.
func (j *job) Release() { j.session.Done() }

// do has the notifications handled. What it defers happens even if a handler ends
// its goroutine.
func (j *job) do() {
	for _, it := range j.batch {
		it.err = errAborted
	}
	defer j.finish()
	j.handle()
}

var errAborted = errors.New("the handler ended its goroutine")

// handle gives the notifications of each priority to the endpoints. That one of
// them fails keeps a notification from the later ones.
func (j *job) handle() {
	for rest := j.batch; len(rest) > 0; {
		p := rest[0].Priority
		var same, others []*item
		for _, it := range rest {
			if it.Priority == p {
				same = append(same, it)
			} else {
				others = append(others, it)
			}
		}
		j.handlePriority(p, same)
		rest = others
	}
}

func (j *job) handlePriority(p Priority, items []*item) {
	if err := p.check(); err != nil {
		for _, it := range items {
			it.err = nil
			j.complain(&j.listener.noise.ignored, slog.LevelWarn, "patchbay: a notification was ignored", err, it)
		}
		return
	}
	d := j.listener.dispatch
	for i := range d.endpoints {
		h, ok := d.endpoints[i].handlers[p]
		if !ok {
			continue
		}
		var wanted, failed []*item
		for _, it := range items {
			if d.endpoints[i].filter.matches(&it.received) {
				wanted = append(wanted, it)
			}
		}
		if h.batch {
			failed = j.callBatch(h.call, wanted)
		} else {
			failed = j.callEach(h.call, wanted)
		}
		items = without(items, failed)
	}
	for _, it := range items {
		it.err = nil
	}
}

func without(items, removed []*item) []*item {
	if len(removed) == 0 {
		return items
	}
	gone := make(map[*item]bool, len(removed))
	for _, it := range removed {
		gone[it] = true
	}
	var rest []*item
	for _, it := range items {
		if !gone[it] {
			rest = append(rest, it)
		}
	}
	return rest
}

// callEach returns those that failed.
func (j *job) callEach(call Invoker, items []*item) (failed []*item) {
	for _, it := range items {
		ctx := new(requestctx.Context)
		ctx.Init(j.session.Handlers, time.Time{})
		ctx.Values.Entries = it.Context
		err := call(ctx, []*Notification{&it.Notification})
		ctx.End(nil)
		if err != nil {
			it.err = err
			failed = append(failed, it)
		}
	}
	return failed
}

func (j *job) callBatch(call Invoker, items []*item) (failed []*item) {
	if len(items) == 0 {
		return nil
	}
	ns := make([]*Notification, len(items))
	for i, it := range items {
		ns[i] = &it.Notification
	}
	ctx, cancel := context.WithCancel(j.session.Handlers)
	defer cancel()
	err := call(ctx, ns)
	if err == nil {
		return nil
	}
	for _, it := range items {
		it.err = err
	}
	return items
}

// finish counts, and settles all that do not wait.
func (j *job) finish() {
	j.open.Store(int64(len(j.batch)))
	var back []*item
	for _, it := range j.batch {
		j.count(it)
		switch {
		case errors.Is(it.err, ErrBadPayload):
			j.settle(it, messaging.Drop)
		case it.err != nil && j.listener.opts.AllowRequeue:
			back = append(back, it)
		default:
			j.settle(it, messaging.Ack)
		}
	}
	if len(back) > 0 {
		j.giveBack(back)
	}
}

// count counts the result and logs what nobody else would hear of.
func (j *job) count(it *item) {
	l := j.listener
	l.stats.handled.Add(1)
	if it.err == nil {
		return
	}
	var p *PanicError
	switch {
	case errors.As(it.err, &p):
		l.stats.failed.Add(1)
		l.stats.panics.Add(1)
		j.complain(&l.noise.panics, slog.LevelError, "patchbay: a handler panicked", it.err, it, slog.Any("trace", p.Trace))
	case errors.Is(it.err, ErrRequeue) && l.opts.AllowRequeue:
	default:
		l.stats.failed.Add(1)
		j.complain(&l.noise.failed, slog.LevelWarn, "patchbay: handling a notification failed", it.err, it)
	}
}

// giveBack requeues notifications, later, or drops those that had their attempts.
// The worker is free meanwhile. What was tried as often stays together, in order.
func (j *job) giveBack(items []*item) {
	l := j.listener
	byAttempt := make(map[int][]*item, 1)
	for _, it := range items {
		attempt, last := l.redelivery.Failed(it.in)
		if last {
			l.stats.abandoned.Add(1)
			j.complain(&l.noise.abandoned, slog.LevelWarn, "patchbay: a notification was dropped after its last attempt", it.err, it,
				slog.Int("attempts", attempt))
			j.settle(it, messaging.Drop)
			continue
		}
		l.stats.requeued.Add(1)
		byAttempt[attempt] = append(byAttempt[attempt], it)
	}
	for attempt, same := range byAttempt {
		l.redelivery.Again(j.session, attempt, func() {
			for _, it := range same {
				j.settle(it, messaging.Requeue)
			}
		})
	}
}

// settle tells the broker. An error means that the notification may come again,
// marked as redelivered; only that it cannot is dealt with. The last one ends the
// job.
func (j *job) settle(it *item, o messaging.Outcome) {
	err := it.in.Settle(j.session.Plain, o)
	if errors.Is(err, messaging.ErrUnsupported) { // of a connection to another peer than that of Start
		j.log(slog.LevelWarn, "patchbay: a notification cannot be given back", it, slog.Any("error", err))
		err = it.in.Settle(j.session.Plain, messaging.Ack)
	}
	if err != nil {
		j.log(slog.LevelDebug, "patchbay: a notification was not settled", it, slog.String("outcome", o.String()), slog.Any("error", err))
	}
	if j.open.Add(-1) == 0 {
		j.Release()
	}
}
