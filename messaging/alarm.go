package messaging

import (
	"context"
	"time"

	"github.com/patchbay-go/patchbay/internal/lazyctx"
)

// alarm tells when a wait under a context ends. It belongs to something pooled
// and so spares each call the timer of its context.
type alarm struct{ timer *time.Timer }

// set returns what ends a wait under ctx: one channel or the other, a nil
// one never. The wait ends with stop.
func (a *alarm) set(ctx context.Context) (done <-chan struct{}, expired <-chan time.Time) {
	done, deadline := lazyctx.Split(ctx)
	if deadline.IsZero() {
		return done, nil
	}
	if a.timer == nil {
		a.timer = time.NewTimer(time.Until(deadline))
	} else {
		a.timer.Reset(time.Until(deadline))
	}
	return done, a.timer.C
}

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}
