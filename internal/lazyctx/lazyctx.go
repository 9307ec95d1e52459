// Package lazyctx has a context that costs nothing before somebody waits for it.
//
// A call needs a deadline on both sides, and most calls end long before it: the
// timer, the channels and the registration with a parent, which
// context.WithDeadline makes at once, would be a third of what the framework
// allocates for a call.
package lazyctx

import (
	"context"
	"sync/atomic"
	"time"
)

// Context behaves as one made by context.WithDeadline and
// context.WithCancelCause does. Init it first; it must not be copied then. It is
// safe for concurrent use.
type Context struct {
	parent   context.Context       //nolint:containedctx // it is a context
	deadline time.Time             // zero: none of its own
	state    atomic.Pointer[state] // nil: not ended, and the real one is not made
}

// state is what a Context has become. It does not change.
type state struct {
	inner  context.Context //nolint:containedctx // the real one, once it is made
	cancel func(cause error)
	cause  error // why the Context ended before inner was made
}

// ended is the state of most that nobody has waited for.
var ended = &state{cause: context.Canceled} //nolint:gochecknoglobals // a constant

// Init makes c a child of parent with that deadline; zero means none of its own.
func (c *Context) Init(parent context.Context, deadline time.Time) {
	c.parent, c.deadline = parent, deadline
}

// Deadline returns the earlier of its own and its parent's.
func (c *Context) Deadline() (time.Time, bool) {
	d, ok := c.parent.Deadline()
	if !c.deadline.IsZero() && (!ok || c.deadline.Before(d)) {
		return c.deadline, true
	}
	return d, ok
}

// Done makes the real context.
func (c *Context) Done() <-chan struct{} { return c.made().Done() }

// Err does not make the real context before the deadline, so that a check
// between two steps is cheap.
func (c *Context) Err() error {
	s := c.state.Load()
	switch {
	case s != nil && s.inner != nil:
		return s.inner.Err()
	case s != nil:
		return context.Canceled
	case !c.deadline.IsZero() && time.Until(c.deadline) <= 0:
		return c.made().Err() // and remains so
	}
	return c.parent.Err()
}

// Value asks the parent, so that looking up a value is cheap. Package context
// finds causes and parents by a lookup, too: it makes the real context by Done
// before it needs that, and a cause of its own makes it here.
func (c *Context) Value(key any) any {
	if c.state.Load() != nil {
		return c.made().Value(key)
	}
	return c.parent.Value(key)
}

// End cancels the context; the first cause counts, nil is context.Canceled. A
// deadline that passed before, and that nobody has seen, does not count.
// Who made the context calls it in the end, or its timer stays until the
// deadline.
func (c *Context) End(cause error) {
	next := ended
	if cause == nil {
		cause = context.Canceled
	} else {
		next = &state{cause: cause}
	}
	if c.state.CompareAndSwap(nil, next) {
		return
	}
	if s := c.state.Load(); s.inner != nil {
		s.cancel(cause)
	}
}

// made returns the real context, and makes it if need be.
func (c *Context) made() context.Context {
	for {
		s := c.state.Load()
		if s != nil && s.inner != nil {
			return s.inner
		}
		next := c.build(s)
		if c.state.CompareAndSwap(s, next) {
			return next.inner
		}
		next.cancel(context.Canceled) // somebody else was first
	}
}

// build makes the real context. old is nil, or says why c ended before.
func (c *Context) build(old *state) *state {
	parent, stop := c.parent, context.CancelFunc(func() {})
	if !c.deadline.IsZero() && old == nil {
		parent, stop = context.WithDeadline(parent, c.deadline)
	}
	inner, cancel := context.WithCancelCause(parent)
	s := &state{inner: inner, cancel: func(cause error) { cancel(cause); stop() }}
	if old != nil {
		s.cancel(old.cause)
	}
	return s
}

// Private is a Context that only its maker ends, and not while others wait for
// it: so its deadline and its parent are all that can end a wait, and Split
// tells them.
type Private struct{ Context }

// Split returns what a wait under ctx, which lasts no longer than the call that
// ctx was passed to, ends with: a channel, and a time, zero if the channel is
// closed then. A waiter with a timer of its own spares ctx's. When the time has come,
// ctx.Err is context.DeadlineExceeded.
func Split(ctx context.Context) (<-chan struct{}, time.Time) {
	p, ok := ctx.(*Private)
	if !ok {
		return ctx.Done(), time.Time{}
	}
	if s := p.state.Load(); s != nil {
		return p.Done(), time.Time{}
	}
	return p.parent.Done(), p.deadline
}
