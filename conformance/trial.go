package conformance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// Waits before Scale.
const (
	caseLimit    = 60 * time.Second       // when the watchdog ends a case
	patience     = 10 * time.Second       // for what must come
	slack        = 2 * time.Second        // how much later than its deadline something may end
	moment       = 200 * time.Millisecond // a deadline that is meant to pass
	cleanupLimit = 20 * time.Second       // longer than Options.ReplyWindow
)

// trial is one run of one case, and what its function works with. Its methods
// may be called from any goroutine that the trial started.
type trial struct {
	ctx     context.Context //nolint:containedctx // ends when the case fails, is over, or hangs
	cancel  context.CancelCauseFunc
	h       *Harness
	o       *Options
	c       Case
	caps    messaging.Capabilities
	prefix  string
	rng     *rand.Rand // for the case's own goroutine
	ledger  *ledger
	parting atomic.Bool // a sender leaves on purpose: without a broker, it hears of no settlement then
	running sync.WaitGroup

	mu       sync.Mutex
	names    int
	failures []string
	evidence []string
	skipped  string
	cleanups []func(ctx context.Context)
}

// main runs the case and cleans up after it.
func (t *trial) main(done chan<- struct{}) {
	defer close(done)
	defer t.finish()
	defer t.recoverPanic()
	if t.c.Level == LevelCapability && !declared(t.caps, t.c.Cap) {
		t.probe()
		return
	}
	t.c.run(t)
}

func (t *trial) probe() {
	t.skipf("%s is not declared", t.c.Cap)
	if t.c.probe != nil {
		t.c.probe(t)
	}
}

// finish ends what the case started, last first.
func (t *trial) finish() {
	t.cancel(errOver)
	t.cleanUp()
	t.running.Wait()
}

// cleanUp runs what was registered for the end, each thing once.
func (t *trial) cleanUp() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), t.scaled(cleanupLimit))
	defer cancel()
	for {
		t.mu.Lock()
		if len(t.cleanups) == 0 {
			t.mu.Unlock()
			break
		}
		last := len(t.cleanups) - 1
		f := t.cleanups[last]
		t.cleanups = t.cleanups[:last]
		t.mu.Unlock()
		t.protect(func() { f(ctx) })
	}
}

var errOver = fmt.Errorf("the case is over: %w", context.Canceled)

// protect runs f and outlives its panic or its Goexit.
func (t *trial) protect(f func()) {
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer t.recoverPanic()
		f()
	}()
	<-over
}

func (t *trial) recoverPanic() {
	if p := recover(); p != nil {
		t.errorf("panic: %v\n%s", p, debug.Stack())
	}
}

// spawn runs f on a goroutine that the trial waits for.
func (t *trial) spawn(f func()) {
	t.running.Go(func() {
		defer t.recoverPanic()
		f()
	})
}

// each runs f(0) to f(n-1) at once and waits for all.
func (t *trial) each(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		t.spawn(func() {
			defer wg.Done()
			f(i)
		})
	}
	wg.Wait()
	if t.failed() {
		runtime.Goexit()
	}
}

// cleanup registers f for the end of the case, last first.
func (t *trial) cleanup(f func(ctx context.Context)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, f)
}

// errorf records a failure; the case goes on.
func (t *trial) errorf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.failures) < 10 {
		t.failures = append(t.failures, fmt.Sprintf(format, args...))
	}
}

// fatalf records a failure and ends the calling goroutine, and soon the case,
// whose context ends.
func (t *trial) fatalf(format string, args ...any) {
	t.errorf(format, args...)
	t.cancel(errOver)
	runtime.Goexit()
}

// check ends the case unless err is nil.
func (t *trial) check(err error, doing string, args ...any) {
	if t.heard(err) != nil {
		t.fatalf("%s: %v", fmt.Sprintf(doing, args...), err)
	}
}

func (t *trial) failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.failures) > 0
}

// skipf says that the case shows nothing, and why. A failure still counts.
func (t *trial) skipf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.skipped = fmt.Sprintf(format, args...)
}

// needs ends the case as skipped unless it is given what it needs.
func (t *trial) needs(given bool, what string) {
	if !given {
		t.skipf("the harness has no %s", what)
		runtime.Goexit()
	}
}

// prove adds a fact to the report.
func (t *trial) prove(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.evidence = append(t.evidence, fmt.Sprintf(format, args...))
}

// scaled returns a wait for this harness.
func (t *trial) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) * t.h.Scale)
}

// within returns a context that ends with the case or after d, scaled.
func (t *trial) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.ctx, t.scaled(d))
	t.cleanup(func(context.Context) { cancel() })
	return ctx
}

// patient returns a context for what must come.
func (t *trial) patient() context.Context { return t.within(patience) }

// volume returns how many messages to use where n would be good.
func (t *trial) volume(n int) int {
	return max(1, int(float64(n)*t.o.Volume))
}

// name returns a name that nobody else uses.
func (t *trial) name(what string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.names++
	return fmt.Sprintf("%s-%s%d", t.prefix, what, t.names)
}

// wait waits until the ledger satisfies cond, which is called with it locked.
func (t *trial) wait(what string, cond func(l *ledger) bool) {
	if err := t.ledger.wait(t.patient(), cond); err != nil {
		t.fatalf("waiting for %s: %v", what, err)
	}
}

// waitReceipts waits until n receipts are written down.
func (t *trial) waitReceipts(n int) {
	t.wait(fmt.Sprintf("%d receipts", n), func(l *ledger) bool { return len(l.got) >= n })
}

// waitKeys waits until each key was received.
func (t *trial) waitKeys(keys ...string) {
	var missing string
	err := t.ledger.wait(t.patient(), func(l *ledger) bool {
		i := slices.IndexFunc(keys, func(k string) bool { return l.copies[k] == 0 })
		if i >= 0 {
			missing = keys[i]
		}
		return i < 0
	})
	if err != nil {
		t.fatalf("waiting for %s: %v", missing, err)
	}
}

// waitAny is waitKeys for one of the keys, if there are any.
func (t *trial) waitAny(keys []string) {
	err := t.ledger.wait(t.patient(), func(l *ledger) bool {
		return len(keys) == 0 || slices.ContainsFunc(keys, func(k string) bool { return l.copies[k] > 0 })
	})
	if err != nil {
		t.fatalf("waiting for any of %q: %v", keys, err)
	}
}

// ended waits until done is closed, which somebody does at the end.
func (t *trial) ended(who string, done <-chan struct{}) {
	ctx := t.patient()
	select {
	case <-done:
	case <-ctx.Done():
		t.fatalf("waiting for %s to end: %v", who, context.Cause(ctx))
	}
}

// until waits for a condition that nobody announces, such as a counter.
func (t *trial) until(what string, cond func() bool) {
	ctx := t.patient()
	for wait := time.Millisecond; !cond(); wait = min(2*wait, 50*time.Millisecond) {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			t.fatalf("waiting for %s: %v", what, context.Cause(ctx))
		}
	}
}

// pass lets time pass, where that is what the case is about: a message expires,
// a deadline goes by. It is never used to wait for something to happen.
func (t *trial) pass(d time.Duration) {
	select {
	case <-time.After(t.scaled(d)):
	case <-t.ctx.Done():
	}
}

// bounds checks that something which began at start took at least d and not
// much more.
func (t *trial) bounds(what string, start time.Time, d time.Duration) {
	took := time.Since(start)
	// Timers may fire a little early against the clock that is read here.
	if early := time.Millisecond; took < d-early {
		t.errorf("%s ended after %v, before its %v were over", what, took, d)
	}
	if most := d + t.scaled(slack); took > most {
		t.errorf("%s took %v, more than %v", what, took, most)
	}
}
