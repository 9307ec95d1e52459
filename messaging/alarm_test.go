package messaging

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-go/patchbay/internal/lazyctx"
)

// One alarm wakes many waits, in whatever order their deadlines come, whether those
// before them came to their end or not, and whether what it rang for these was seen or
// thrown away.
func TestAlarmRingsForEachWait(t *testing.T) {
	for name, between := range map[string]func(events chan event){
		"kept": func(chan event) {},
		"thrown away": func(events chan event) {
			for len(events) > 0 {
				<-events
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { ringForEachWait(t, between) })
		})
	}
}

func ringForEachWait(t *testing.T, between func(events chan event)) {
	var a alarm
	events := make(chan event, 1)
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
		rang := waitUntil(ctx, &a, events, time.After(tt.leaves))
		ctx.End(nil)
		took, want := time.Since(began), min(max(tt.timeout, 0), tt.leaves)
		if took != want || rang != (tt.timeout < tt.leaves) {
			t.Errorf("a timeout of %v, left after %v: it took %v, rang %v", tt.timeout, tt.leaves, took, rang)
		}
		<-time.After(tt.leaves) // nobody waits for the alarm meanwhile
		between(events)
	}
}

// waitUntil reports whether the time of ctx was over before leave.
func waitUntil(ctx context.Context, a *alarm, events chan event, leave <-chan time.Time) bool {
	a.set(ctx, events)
	for {
		select {
		case <-events:
			if a.isOver() {
				return true
			}
		case <-leave:
			return false
		}
	}
}

// What an alarm rang for an earlier wait costs a call neither a heartbeat nor its end.
func TestOldRingsHideNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &call{events: make(chan event, callEvents)}
		ctx := &lazyctx.Private{}
		ctx.Init(t.Context(), time.Now().Add(time.Hour))
		defer ctx.End(nil)
		for range 2 {
			c.events <- event{rang: true}
		}
		for range callEvents {
			c.tell(event{beat: &Incoming{}})
		}
		want := &Incoming{}
		c.tell(event{reply: want})
		if got, err := c.wait(ctx, time.Minute); got != want || err != nil {
			t.Errorf("%v, %v", got, err)
		}
		for len(c.events) > 0 {
			<-c.events
		}
		c.events <- event{rang: true}
		c.tell(event{beat: &Incoming{}})
		began := time.Now()
		if _, err := c.wait(ctx, time.Minute); !errors.Is(err, ErrServerLost) || c.beat == nil {
			t.Errorf("%v after %v, heartbeat %v", err, time.Since(began), c.beat)
		}
	})
}

// The timers of what is not kept for another use are stopped: there is no limit to
// how long they would go on otherwise.
func TestFreelistIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &Transport{}
		ctx := &lazyctx.Private{}
		ctx.Init(t.Context(), time.Now().Add(time.Hour))
		defer ctx.End(nil)
		var ws []*waiter
		for range maxFree + 3 {
			w := tr.waiter(Address{})
			w.alarm.set(ctx, w.events)
			ws = append(ws, w)
		}
		for _, w := range ws {
			w.free()
		}
		<-time.After(2 * time.Hour)
		rang := 0
		for _, w := range ws {
			rang += len(w.events)
		}
		if rang != maxFree {
			t.Errorf("%d of %d timers rang, want those of %d", rang, len(ws), maxFree)
		}
	})
}
