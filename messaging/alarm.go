package messaging

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/internal/lazyctx"
)

// alarm ends a wait under a context. It belongs to something pooled and so spares
// each call the timer of its context. Most waits end long before their deadline,
// and each has a later one than the wait before it: so the timer is left as it is
// after a wait, and set again when it rings too early for another. It rings in the
// channel of what is waited for, since each more channel to select from would cost a
// call in memory a twentieth.
type alarm struct {
	bell     *bell
	rings    time.Time // when bell does, or did
	deadline time.Time // of the present wait; zero: none
}

// bell is the timer of an alarm.
type bell struct {
	timer *time.Timer
	rang  atomic.Bool // since it was set
}

// set has events told of the end of a wait under ctx, if the channel that it returns
// does not tell that. What events are told, and isOver confirms, ends the wait. It is
// not told while events is full.
func (a *alarm) set(ctx context.Context, events chan<- event) (done <-chan struct{}) {
	done, a.deadline = lazyctx.Split(ctx)
	switch {
	case a.deadline.IsZero():
	case a.bell == nil:
		a.make(events)
	case a.deadline.Before(a.rings) || a.bell.rang.Load():
		a.reset(time.Until(a.deadline))
	}
	return done
}

func (a *alarm) make(events chan<- event) {
	b := &bell{}
	a.bell, a.rings = b, a.deadline
	b.timer = time.AfterFunc(time.Until(a.deadline), func() {
		b.rang.Store(true)
		select {
		case events <- event{rang: true}:
		default:
		}
	})
}

func (a *alarm) reset(left time.Duration) {
	a.bell.rang.Store(false)
	a.rings = a.deadline
	a.bell.timer.Reset(left)
}

// stop is called when the alarm is not used any more.
func (a *alarm) stop() {
	if a.bell != nil {
		a.bell.timer.Stop()
	}
}

// isOver is called when the alarm has rung: perhaps for an earlier wait.
func (a *alarm) isOver() bool {
	if a.deadline.IsZero() {
		return false
	}
	left := time.Until(a.deadline)
	if left <= 0 {
		return true
	}
	a.reset(left)
	return false
}
