package lifetime

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// This file is about peers that live and do not answer. Heartbeats keep such a
// connection, and whoever waits, with a turn that others wait for, would wait for
// ever.

// looks is how often is looked at what waits until Patience is over.
const looks = 4

// request is something that waits for an answer.
type request struct {
	what string
	seen int // how often it was looked at
}

// requests are those of one connection.
type requests struct {
	mu  sync.Mutex // protects all
	all map[*request]struct{}

	told atomic.Uint64 // counts outcomes

	// Of the goroutine that calls Look.
	before uint64 // told, when it was last looked at
	silent int    // how often that was, since it changed last and some were due
}

// Answer calls f, which waits for an answer of the peer. If that does not come within
// Patience, or up to a quarter more, the connection is lost; f must end with it.
func (l *Lifetime) Answer(what string, f func() error) error {
	r := &request{what: what}
	q := &l.requests
	q.mu.Lock()
	if q.all == nil {
		q.all = map[*request]struct{}{}
	}
	q.all[r] = struct{}{}
	q.mu.Unlock()
	err := f()
	q.mu.Lock()
	delete(q.all, r)
	q.mu.Unlock()
	if err != nil && l.Err() != nil {
		return l.Err()
	}
	return err
}

// Told notes that the peer told outcomes, and lets so many senders leave the gate.
func (l *Lifetime) Told(count, bytes int) {
	l.requests.told.Add(1)
	l.Gate.Leave(count, bytes)
}

// Ticks returns a ticker for Look.
func (l *Lifetime) Ticks() *time.Ticker { return time.NewTicker(l.Patience / looks) }

// Look is called at each tick. It ends the connection if the peer has left a request
// unanswered for Patience, or has told no outcome at all for that long, or up to half
// as much more, although some are due. While the peer has announced that it takes
// nothing, as one that is short of memory does, no time passes; nor while it is being
// written to, over a slow link, since what it must answer may be yet to come.
func (l *Lifetime) Look(blocked, due bool) {
	if !blocked && l.socket.Stalled() > 0 {
		return
	}
	if what := l.requests.look(blocked, due); what != "" {
		l.Fail(&messaging.OpError{Op: "talking to", Addr: l.Host, Err: fmt.Errorf(
			"%w: no answer to %s within %v, though it lives", messaging.ErrConnLost, what, l.Patience)})
	}
}

// look returns what has been waited for too long, or nothing.
func (q *requests) look(blocked, due bool) (overdue string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for r := range q.all {
		if r.seen++; blocked {
			r.seen = 0
		}
		if r.seen > looks {
			overdue = r.what
		}
	}
	told := q.told.Load()
	if q.silent++; blocked || !due || told != q.before {
		q.silent = 0
	}
	q.before = told
	if q.silent > looks {
		overdue = "any message"
	}
	return overdue
}
