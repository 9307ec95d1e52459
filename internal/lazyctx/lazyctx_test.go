package lazyctx_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/patchbay-go/patchbay/internal/lazyctx"
)

func lazy(parent context.Context, deadline time.Time) (context.Context, func(error)) {
	c := &lazyctx.Context{}
	c.Init(parent, deadline)
	return c, c.End
}

func standard(parent context.Context, deadline time.Time) (context.Context, func(error)) {
	stop := context.CancelFunc(func() {})
	if !deadline.IsZero() {
		parent, stop = context.WithDeadline(parent, deadline)
	}
	ctx, cancel := context.WithCancelCause(parent)
	return ctx, func(cause error) { cancel(cause); stop() }
}

// TestContract runs what a context promises against ours and, side by side, one
// of the standard library.
func TestContract(t *testing.T) {
	type key struct{}
	errCause := errors.New("cause")
	second := time.Second
	tests := []struct {
		name     string
		deadline time.Duration
		act      func(ctx context.Context, cancelParent, end func(error))
		err, why error
	}{
		{"nothing happened", second, func(_ context.Context, _, _ func(error)) {}, nil, nil},
		{"no deadline", 0, func(_ context.Context, _, _ func(error)) { <-time.After(time.Hour) }, nil, nil},
		{"ended", second, func(_ context.Context, _, end func(error)) { end(errCause); end(context.Canceled) }, context.Canceled, errCause},
		{"ended without a cause", second, func(_ context.Context, _, end func(error)) { end(nil) }, context.Canceled, context.Canceled},
		{"parent cancelled", second, func(_ context.Context, cancel, _ func(error)) { cancel(errCause) }, context.Canceled, errCause},
		{"deadline", second, func(_ context.Context, _, _ func(error)) { <-time.After(second) }, context.DeadlineExceeded, context.DeadlineExceeded},
		{"ended, then the deadline", second, func(_ context.Context, _, end func(error)) { end(errCause); <-time.After(2 * second) }, context.Canceled, errCause},
		{"deadline, seen, then ended", second, func(ctx context.Context, _, end func(error)) {
			<-time.After(2 * second)
			_ = ctx.Err()
			end(errCause)
		}, context.DeadlineExceeded, context.DeadlineExceeded},
	}
	for name, make := range map[string]func(context.Context, time.Time) (context.Context, func(error)){"lazy": lazy, "standard": standard} {
		for _, tt := range tests {
			for _, waited := range []bool{true, false} {
				t.Run(name+"/"+tt.name+map[bool]string{true: "/waited for", false: ""}[waited], func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						parent, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "v"))
						defer cancel(nil)
						var deadline time.Time
						if tt.deadline > 0 {
							deadline = time.Now().Add(tt.deadline)
						}
						ctx, end := make(parent, deadline)
						defer end(nil)
						child, stop := ctx, context.CancelFunc(func() {})
						if waited {
							child, stop = context.WithCancel(ctx)
						}
						defer stop()
						tt.act(ctx, cancel, end)
						synctest.Wait()
						for _, c := range []context.Context{ctx, child} {
							if err := c.Err(); !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
								t.Errorf("Err %v, want %v", err, tt.err)
							}
							if err := context.Cause(c); !errors.Is(err, tt.why) || (err == nil) != (tt.why == nil) {
								t.Errorf("Cause %v, want %v", err, tt.why)
							}
							select {
							case <-c.Done():
								if tt.err == nil {
									t.Error("Done too early")
								}
							default:
								if tt.err != nil {
									t.Error("not Done")
								}
							}
						}
						if ctx.Value(key{}) != "v" {
							t.Error("the parent's value is lost")
						}
						if d, ok := ctx.Deadline(); ok != (tt.deadline > 0) || !d.Equal(deadline) {
							t.Errorf("deadline %v, want %v", d, deadline)
						}
					})
				})
			}
		}
	}
}

func TestEarlierDeadlineCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		early := time.Now().Add(time.Second)
		parent, cancel := context.WithDeadline(t.Context(), early)
		defer cancel()
		ctx, end := lazy(parent, early.Add(time.Hour))
		defer end(nil)
		if d, _ := ctx.Deadline(); !d.Equal(early) {
			t.Errorf("deadline %v, want %v", d, early)
		}
		<-ctx.Done()
		if got := time.Now(); !got.Equal(early) {
			t.Errorf("done at %v, want %v", got, early)
		}
	})
}

func TestSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deadline := time.Now().Add(time.Second)
		p := &lazyctx.Private{}
		p.Init(t.Context(), deadline)
		defer p.End(nil)
		if done, at := lazyctx.Split(p); done != t.Context().Done() || !at.Equal(deadline) {
			t.Errorf("nobody waits yet: %v, %v", done, at)
		}
		own := p.Done()
		if done, at := lazyctx.Split(p); done != own || !at.IsZero() {
			t.Errorf("somebody waits: %v, %v", done, at)
		}
		if done, at := lazyctx.Split(t.Context()); done != t.Context().Done() || !at.IsZero() {
			t.Errorf("another context: %v, %v", done, at)
		}
	})
}

// Children and causes work although a lookup does not make the real context.
func TestLookupsAndChildren(t *testing.T) {
	type key struct{}
	parent := context.WithValue(t.Context(), key{}, "value")
	var c lazyctx.Context
	c.Init(parent, time.Time{})
	if got := c.Value(key{}); got != "value" {
		t.Errorf("got %v", got)
	}
	if cause := context.Cause(&c); cause != nil {
		t.Errorf("cause %v before the end", cause)
	}
	child, cancel := context.WithCancel(&c)
	defer cancel()
	gone := errors.New("gone")
	c.End(gone)
	<-child.Done()
	if !errors.Is(context.Cause(child), gone) || !errors.Is(context.Cause(&c), gone) {
		t.Errorf("causes %v and %v, want %v", context.Cause(child), context.Cause(&c), gone)
	}

	var ended lazyctx.Context
	ended.Init(parent, time.Time{})
	ended.End(gone)
	if !errors.Is(context.Cause(&ended), gone) || ended.Value(key{}) != "value" {
		t.Errorf("after the end: cause %v, value %v", context.Cause(&ended), ended.Value(key{}))
	}
	if n := testing.AllocsPerRun(100, func() {
		var c lazyctx.Context
		c.Init(parent, time.Now().Add(time.Hour))
		_ = c.Value(key{})
		c.End(nil)
	}); n > 1 { // c itself
		t.Errorf("a lookup allocates %v times", n)
	}
}
