package serving

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// ErrRequeue is what handlers return to give a message back.
var ErrRequeue = errors.New("requeue")

// Requeue returns an error that matches ErrRequeue and wraps err, which may be
// nil.
func Requeue(err error) error {
	if err == nil {
		return ErrRequeue
	}
	return fmt.Errorf("%w: %w", ErrRequeue, err)
}

// maxDelay bounds the doubling of a Redelivery's delay.
const maxDelay = time.Minute

// Redelivery decides about messages that handlers gave back: how often and after
// what time they come again. It is safe for concurrent use.
type Redelivery struct {
	Delay time.Duration // of the first time, doubled with each attempt up to a minute; 0 or less: none
	Limit int           // attempts; 0 or less: no limit

	attempts attempts
}

// Failed counts an attempt to handle a message that was to be given back, and
// returns their number, and whether that was the last.
func (r *Redelivery) Failed(in *messaging.Incoming) (attempt int, last bool) {
	attempt = r.attempts.add(in)
	if last = r.Limit > 0 && attempt >= r.Limit; last {
		r.attempts.forget(in)
	}
	return attempt, last
}

// Again calls f when the message that failed for the attempt-th time shall be
// given back: later, or when the receiver stops. Nobody waits meanwhile; what is
// kept back counts as prefetched, so however many messages cannot be handled,
// they come back at a bounded rate.
func (r *Redelivery) Again(ss *Session, attempt int, f func()) {
	delay := r.delay(attempt)
	if delay <= 0 {
		f()
		return
	}
	k := &kept{giveBack: f}
	k.mu.Lock() // until both are set
	defer k.mu.Unlock()
	k.timer = time.AfterFunc(delay, k.end)
	k.stop = context.AfterFunc(ss.Poll, k.end)
}

// delay doubles with each attempt.
func (r *Redelivery) delay(attempt int) time.Duration {
	if r.Delay <= 0 {
		return 0
	}
	for d := r.Delay; ; d *= 2 {
		if attempt--; attempt <= 0 || d >= maxDelay {
			return min(d, max(r.Delay, maxDelay))
		}
	}
}

// kept is a message that is given back when its time has come or the receiver
// stops, whichever is first.
type kept struct {
	giveBack func()

	mu    sync.Mutex // protects the following
	timer *time.Timer
	stop  func() bool
	ended bool
}

func (k *kept) end() {
	k.mu.Lock()
	first := !k.ended
	k.ended = true
	k.timer.Stop()
	k.stop()
	k.mu.Unlock()
	if first {
		k.giveBack()
	}
}

// attempts counts how often this receiver tried messages that were given back,
// for peers that do not count. It remembers the last maxAttempts of them, if
// their ids are such as our own and oslo.messaging's.
type attempts struct {
	mu    sync.Mutex // protects the following
	count map[string]int
	order []string // its keys, the oldest first
}

const (
	maxAttempts  = 1024
	maxAttemptID = 128 // bytes
)

// add counts another attempt and returns the number: ours, or the peer's if
// that is higher.
func (a *attempts) add(in *messaging.Incoming) int {
	n := in.Count + 1 // unknown is -1
	if in.ID == "" || len(in.ID) > maxAttemptID {
		return max(n, 1)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.count == nil {
		a.count = make(map[string]int)
	}
	mine, known := a.count[in.ID]
	n = max(n, mine+1)
	a.count[in.ID] = n
	if !known {
		a.order = append(a.order, in.ID)
		if len(a.order) > maxAttempts {
			delete(a.count, a.order[0])
			a.order = a.order[1:]
		}
	}
	return n
}

// forget ends the count of a message that does not come back.
func (a *attempts) forget(in *messaging.Incoming) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.count[in.ID]; known {
		delete(a.count, in.ID)
		i := slices.Index(a.order, in.ID)
		a.order = slices.Delete(a.order, i, i+1)
	}
}
