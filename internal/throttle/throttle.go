// Package throttle keeps what a stranger can cause at will from filling a log.
package throttle

import (
	"sync"
	"time"
)

// Burst is how many may be said at once.
const Burst = 10

// Limit lets Burst through at once, then one a second, and counts the others.
// The zero value is ready, and safe for concurrent use.
type Limit struct {
	mu      sync.Mutex // protects the following
	spent   int        // of Burst
	since   time.Time  // when spent was last lowered
	dropped int64
}

// Allow reports whether it may be said now, and how many could not be since the
// last time.
func (l *Limit) Allow() (dropped int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if n := int(now.Sub(l.since) / time.Second); n > 0 {
		l.spent, l.since = max(0, l.spent-n), now
	}
	if l.spent == Burst {
		l.dropped++
		return 0, false
	}
	l.spent++
	dropped, l.dropped = l.dropped, 0
	return dropped, true
}
