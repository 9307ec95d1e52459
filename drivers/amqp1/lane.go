package amqp1

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/messaging"
)

// lane is one link for sending, and what goes over it, in order. Its goroutine
// attaches the link when there is something to send, and again after the peer
// detached it.
type lane struct {
	c      *conn
	target terminus // what the link is attached to

	mu     sync.Mutex // protects what follows
	jobs   chan *job  // has room for the window, so that handing over never waits
	closed bool       // no job is handed over any more
	used   time.Time
	passed chan struct{} // closed when the job under way has passed; nil: nobody wants to know

	since atomic.Int64 // when the job under way began, in ns; 0: there is none
	open  atomic.Int64 // jobs without an outcome

	// The goroutine's own.
	link     *amqp.Sender // nil: not attached
	receipts chan receipt // has room for the window; nil until the first
}

// receipt is a message that was sent and whose outcome is not known yet.
type receipt struct {
	amqp.SendReceipt
	j *job
}

// stalled is how long a message may be under way to the peer before others wait
// for it outside, each under its own context, where it is certain that they were
// not sent.
const stalled = 100 * time.Millisecond

func newLane(c *conn, target terminus) *lane {
	return &lane{c: c, target: target, jobs: make(chan *job, c.window+1), used: time.Now()}
}

// hand gives a job to the lane's goroutine and reports false if the lane is closed.
func (l *lane) hand(j *job) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.open.Add(1)
	l.used = time.Now()
	l.jobs <- j
	return true
}

// moving waits, under ctx, until the peer takes messages on this lane.
func (l *lane) moving(ctx context.Context) error {
	for {
		since := l.since.Load()
		if since == 0 || time.Since(time.Unix(0, since)) < stalled {
			return nil
		}
		l.mu.Lock()
		if l.passed == nil {
			l.passed = make(chan struct{})
		}
		passed := l.passed
		l.mu.Unlock()
		if l.since.Load() != since {
			continue
		}
		select {
		case <-passed:
		case <-ctx.Done():
			return fmt.Errorf("the peer takes no messages at the moment: %w", context.Cause(ctx))
		case <-l.c.done:
			return l.c.lost()
		}
	}
}

// end closes the lane if it has not been used for that long, and reports whether
// it is closed.
func (l *lane) end(idle time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return true
	}
	if l.open.Load() > 0 || time.Since(l.used) < idle {
		return false
	}
	l.closed = true
	close(l.jobs)
	return true
}

// idleSince returns when the lane was last used, and whether it is not in use.
func (l *lane) idleSince() (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used, l.open.Load() == 0
}

// run is the goroutine that sends.
func (l *lane) run() {
	for {
		select {
		case j, ok := <-l.jobs:
			if !ok {
				l.leave()
				return
			}
			l.since.Store(time.Now().UnixNano())
			l.send(j)
			l.pass()
		case <-l.c.done:
			l.abandon()
			return
		}
	}
}

// pass tells that the job under way is over.
func (l *lane) pass() {
	l.since.Store(0)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.passed != nil {
		close(l.passed)
		l.passed = nil
	}
}

// abandon tells what was not begun that it was not sent.
func (l *lane) abandon() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	if l.receipts != nil {
		close(l.receipts)
	}
	for {
		select {
		case j, ok := <-l.jobs:
			if !ok {
				return
			}
			l.finish(j, joined(messaging.ErrNotSent, l.c.lost()))
		default:
			return
		}
	}
}

// leave detaches a lane that is not used any more.
func (l *lane) leave() {
	if l.receipts != nil {
		close(l.receipts)
	}
	if l.link == nil {
		return
	}
	ctx, cancel := context.WithTimeout(l.c.life, farewell)
	defer cancel()
	_ = l.link.Close(ctx) // it ends with the connection at the latest
}

// maxAttaches bounds how often the link is attached for one message.
const maxAttaches = 3

// send sends one message, over a new link if the peer detached the old one.
func (l *lane) send(j *job) {
	var err error
	for range maxAttaches {
		if l.link == nil {
			if err = l.attach(); err != nil {
				l.refused(j, err)
				return
			}
		}
		if err = l.transfer(j); err == nil {
			return
		}
		if !errors.Is(err, messaging.ErrNotSent) || l.link != nil || l.c.lost() != nil {
			break
		}
	}
	l.finish(j, err)
}

// attach opens the link.
func (l *lane) attach() error {
	var link *amqp.Sender
	err := l.c.lanes.inSession(func(s *amqp.Session) (err error) {
		link, err = s.NewSender(l.c.life, l.target.address, &amqp.SenderOptions{
			SettlementMode:     amqp.SenderSettleModeMixed.Ptr(),
			TargetCapabilities: l.target.capabilities,
		})
		return err
	})
	if err != nil {
		return err
	}
	l.link = link
	return nil
}

// refused tells the outcome of a message whose node the link could not be
// attached to. Where none is, nobody listens.
func (l *lane) refused(j *job, err error) {
	switch {
	case !notFound(err):
		l.finish(j, joined(messaging.ErrNotSent, l.c.told(err)))
	case j.mustArrive:
		l.finish(j, messaging.ErrNoRoute)
	default:
		l.finish(j, nil)
	}
}

// transfer hands one message to the library, which has written it when this
// returns nil.
func (l *lane) transfer(j *job) error {
	w := &write{Context: l.c.life}
	var err error
	if j.settled {
		if err = l.link.Send(w, &j.message, &amqp.SendOptions{Settled: true}); err == nil {
			l.finish(j, nil)
			return nil
		}
	} else {
		var r amqp.SendReceipt
		if r, err = l.link.SendWithReceipt(w, &j.message, nil); err == nil {
			j.sent()
			return l.follow(receipt{r, j})
		}
	}
	var size *amqp.Error
	if errors.As(err, &size) && size.Condition == amqp.ErrCondMessageSizeExceeded && !w.begun() {
		return joined(messaging.ErrNotSent, explain(err)) // by the library: the link lives
	}
	l.link = nil
	if w.revoke() {
		return joined(messaging.ErrNotSent, l.c.told(err))
	}
	return joined(messaging.ErrOutcomeUnknown, l.c.told(err))
}

// follow waits for the outcome, elsewhere.
func (l *lane) follow(r receipt) error {
	if l.receipts == nil {
		l.receipts = make(chan receipt, l.c.window+1)
		if !l.c.spawn(func() { l.wait(l.receipts) }) {
			return joined(messaging.ErrOutcomeUnknown, l.c.lost())
		}
	}
	l.receipts <- r
	return nil
}

// wait is the goroutine that tells the outcomes. The library gives each
// separately, and most come in order.
func (l *lane) wait(receipts <-chan receipt) {
	for r := range receipts {
		state, err := r.Wait(l.c.life)
		if err != nil {
			// The library chooses by chance between an outcome and the end of the link.
			if again, err2 := r.Wait(l.c.life); err2 == nil {
				state, err = again, nil
			}
		}
		if err != nil {
			l.finish(r.j, joined(messaging.ErrOutcomeUnknown, l.c.told(err)))
			continue
		}
		l.finish(r.j, l.outcome(r.j, state))
	}
}

// outcome says what a delivery state means for a send.
func (l *lane) outcome(j *job, state amqp.DeliveryState) error {
	switch s := state.(type) {
	case *amqp.StateAccepted:
		return nil
	case *amqp.StateRejected:
		if s.Error != nil {
			return joined(messaging.ErrRejected, errors.New(s.Error.Description))
		}
		return messaging.ErrRejected
	case *amqp.StateReleased, *amqp.StateModified:
		switch {
		case !l.c.p.noRoute:
			return joined(messaging.ErrNotSent, errors.New("the peer does not take it"))
		case j.mustArrive:
			return messaging.ErrNoRoute
		}
		return nil
	}
	return joined(messaging.ErrOutcomeUnknown, fmt.Errorf("the peer says %T", state))
}

// finish tells a job's outcome.
func (l *lane) finish(j *job, err error) {
	l.open.Add(-1)
	l.c.finish(j, err)
}

// write is the context of one call of the library that sends. It never ends by
// itself, and knows whether the library began to write: that asks Err right before
// the first byte. Who revokes it first makes sure that nothing is written.
type write struct {
	context.Context              //nolint:containedctx // it is one
	state           atomic.Int32 // 0: nothing yet; 1: begun; 2: revoked
}

func (w *write) Deadline() (time.Time, bool) { return time.Time{}, false }

func (w *write) Err() error {
	if w.state.CompareAndSwap(0, 1) || w.state.Load() == 1 {
		return nil
	}
	return context.Canceled
}

func (w *write) begun() bool { return w.state.Load() == 1 }

// revoke reports whether nothing was written, and nothing will be.
func (w *write) revoke() bool { return w.state.CompareAndSwap(0, 2) || w.state.Load() == 2 }
