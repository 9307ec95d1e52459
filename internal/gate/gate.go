// Package gate has the place where senders wait, under their contexts, before
// they enter a client library that would not heed a context.
package gate

import (
	"container/list"
	"context"
	"sync"
)

// Gate is where a sender waits, under its context, before it enters the
// client library, which would not heed the context: for the window of sends
// without an outcome, counted and in bytes, and while the broker blocks the
// connection. Waiters are let in in order.
type Gate struct {
	MaxCount int // sends without an outcome
	MaxBytes int // of their bodies

	mu      sync.Mutex // protects what follows
	count   int
	bytes   int
	blocked bool
	err     error         // no one is let in any more
	waiting list.List     // of *waiter
	idle    chan struct{} // closed when count is 0; nil: nobody wants to know
}

type waiter struct {
	bytes int
	in    chan struct{} // closed when let in, or when err is set
	err   error
}

// Enter waits until a send of that many bytes may go on. A send that is larger
// than the window is let in alone.
func (g *Gate) Enter(ctx context.Context, bytes int) error {
	g.mu.Lock()
	if g.err != nil {
		defer g.mu.Unlock()
		return g.err
	}
	if g.waiting.Len() == 0 && g.fits(bytes) {
		g.count++
		g.bytes += bytes
		g.mu.Unlock()
		return nil
	}
	w := &waiter{bytes: bytes, in: make(chan struct{})}
	place := g.waiting.PushBack(w)
	g.mu.Unlock()

	select {
	case <-w.in:
		return w.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.in: // at the same moment
		return w.err
	default:
	}
	g.waiting.Remove(place)
	g.admit() // a smaller one behind may fit
	return context.Cause(ctx)
}

// Leave gives back the room of so many sends.
func (g *Gate) Leave(count, bytes int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count -= count
	g.bytes -= bytes
	g.admit()
	g.settle()
}

// Allow sets MaxCount while the gate is in use. Where nobody ever leaves, as
// with a link's credit, it is how many may have come in all.
func (g *Gate) Allow(count int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.MaxCount = count
	g.admit()
}

// Block keeps everybody waiting, or no longer.
func (g *Gate) Block(blocked bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.blocked = blocked
	g.admit()
}

// State reports whether Block keeps everybody waiting, and how many are inside.
func (g *Gate) State() (blocked bool, inside int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.blocked, g.count
}

// Shut sends everybody away with err, now and from now on.
func (g *Gate) Shut(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return
	}
	g.err = err
	for e := g.waiting.Front(); e != nil; e = e.Next() {
		w := e.Value.(*waiter)
		w.err = err
		close(w.in)
	}
	g.waiting.Init()
}

// Empty returns a channel that is closed when nobody is inside. It is called
// after shut.
func (g *Gate) Empty() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.idle == nil {
		g.idle = make(chan struct{})
	}
	idle := g.idle
	g.settle()
	return idle
}

// The following are called with g.mu held.

func (g *Gate) fits(bytes int) bool {
	return !g.blocked && g.count < g.MaxCount && (g.count == 0 || g.bytes+bytes <= g.MaxBytes)
}

func (g *Gate) admit() {
	for e := g.waiting.Front(); e != nil; e = g.waiting.Front() {
		w := e.Value.(*waiter)
		if !g.fits(w.bytes) {
			return
		}
		g.count++
		g.bytes += w.bytes
		g.waiting.Remove(e)
		close(w.in)
	}
}

func (g *Gate) settle() {
	if g.count == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}
