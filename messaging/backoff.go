package messaging

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is the one place that decides how long to wait before trying again:
// a random time between 0 and a bound that doubles from min to max, so that
// clients which lost the same broker do not come back in step ("full jitter").
type backoff struct {
	min, max time.Duration
	tries    int
}

// next returns the next wait.
func (b *backoff) next() time.Duration {
	bound := b.max
	if shifted := b.min << b.tries; shifted>>b.tries == b.min { // else it overflowed
		bound = min(bound, shifted)
	}
	b.tries = min(b.tries+1, 62)
	if bound <= 0 {
		return 0
	}
	return rand.N(bound)
}

func (b *backoff) reset() { b.tries = 0 }

// wait waits for the next time, or returns ctx's cause.
func (b *backoff) wait(ctx context.Context) error {
	return sleep(ctx, b.next())
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
