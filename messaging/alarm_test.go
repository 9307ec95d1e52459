package messaging

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-go/patchbay/internal/lazyctx"
)

// One alarm wakes many waits, in whatever order their deadlines come, and whether
// those before them came to their end or not.
func TestAlarmRingsForEachWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a alarm
		for _, tt := range []struct{ timeout, leaves time.Duration }{
			{time.Minute, time.Second},
			{2 * time.Minute, time.Hour}, // it rings for the one before
			{time.Second, time.Hour},
			{time.Hour, time.Second},
			{time.Second, time.Minute}, // earlier than the one before
			{time.Minute, time.Nanosecond},
			{time.Second, time.Nanosecond},
			{time.Hour, 2 * time.Hour},
			{time.Minute, time.Nanosecond},
			{0, time.Hour},
			{-time.Second, time.Hour},
			{time.Second, time.Hour},
		} {
			began := time.Now()
			ctx := &lazyctx.Private{}
			ctx.Init(t.Context(), began.Add(tt.timeout))
			rang := waitUntil(ctx, &a, time.After(tt.leaves))
			ctx.End(nil)
			took, want := time.Since(began), min(max(tt.timeout, 0), tt.leaves)
			if took != want || rang != (tt.timeout < tt.leaves) {
				t.Errorf("a timeout of %v, left after %v: it took %v, rang %v", tt.timeout, tt.leaves, took, rang)
			}
			<-time.After(tt.leaves) // nobody waits for the alarm meanwhile
		}
	})
}

// waitUntil reports whether the time of ctx was over before leave.
func waitUntil(ctx context.Context, a *alarm, leave <-chan time.Time) bool {
	_, rang := a.set(ctx)
	for {
		select {
		case <-rang:
			if a.isOver() {
				return true
			}
		case <-leave:
			return false
		}
	}
}
