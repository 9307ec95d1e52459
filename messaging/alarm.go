package messaging

import (
	"context"
	"time"

	"github.com/patchbay-go/patchbay/internal/lazyctx"
)

// alarm tells when a wait under a context ends. It belongs to something pooled
// and so spares each call the timer of its context. Most waits end long before
// their deadline, and each has a later one than the wait before it: so the timer is
// left as it is after a wait, and set again when it rings too early for another.
type alarm struct {
	timer    *time.Timer
	rings    time.Time // when it does; zero: not at all
	deadline time.Time // of the present wait
}

// set returns what ends a wait under ctx: one channel or the other, a nil one
// never. What comes from the second ends it only if isOver says so.
func (a *alarm) set(ctx context.Context) (done <-chan struct{}, rang <-chan time.Time) {
	done, deadline := lazyctx.Split(ctx)
	if deadline.IsZero() {
		return done, nil
	}
	a.deadline = deadline
	if a.timer == nil {
		a.timer = time.NewTimer(time.Until(deadline))
		a.rings = deadline
	} else if a.rings.IsZero() || deadline.Before(a.rings) {
		a.timer.Reset(time.Until(deadline))
		a.rings = deadline
	}
	return done, a.timer.C
}

// isOver is called when the timer has rung.
func (a *alarm) isOver() bool {
	left := time.Until(a.deadline)
	if left <= 0 {
		a.rings = time.Time{}
		return true
	}
	a.timer.Reset(left)
	a.rings = a.deadline
	return false
}
