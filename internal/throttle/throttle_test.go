package throttle_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-go/patchbay/internal/throttle"
)

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l throttle.Limit
		for _, step := range []struct {
			after          time.Duration
			tries, allowed int
			dropped        int64 // told of by the first that is allowed
		}{
			{0, 15, 10, 0},
			{999 * time.Millisecond, 1, 0, 0},
			{time.Millisecond, 3, 1, 6},
			{3 * time.Second, 5, 3, 2},
			{time.Hour, 12, 10, 2},
		} {
			<-time.After(step.after)
			allowed, told := 0, int64(0)
			for range step.tries {
				dropped, ok := l.Allow()
				told += dropped
				if ok {
					allowed++
				}
			}
			if allowed != step.allowed || told != step.dropped {
				t.Errorf("after %v: %d of %d allowed, %d told of; want %+v", step.after, allowed, step.tries, told, step)
			}
		}
	})
}

// Nothing that was not said is forgotten, whoever asks at the same time.
func TestLimitIsConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l throttle.Limit
		var allowed atomic.Int64
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, ok := l.Allow(); ok {
					allowed.Add(1)
				}
			})
		}
		wg.Wait()
		<-time.After(time.Second)
		if dropped, ok := l.Allow(); !ok || allowed.Load() != throttle.Burst || dropped != 100-throttle.Burst {
			t.Errorf("%d allowed, then %v and %d told of", allowed.Load(), ok, dropped)
		}
	})
}
