package rpc

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// DefaultRequeueDelay is how long a request that a handler gave back is kept at
// first.
const DefaultRequeueDelay = time.Second

// maxRequeueDelay bounds the doubling.
const maxRequeueDelay = time.Minute

// giveBack requeues a request, later, or drops it when it had its attempts. The
// worker is free meanwhile; what is kept back counts as prefetched, so however
// many requests cannot be handled, they come back at a bounded rate.
func (j *job) giveBack() {
	s, in := j.server, j.in
	n := s.attempts.add(in)
	if limit := s.opts.MaxAttempts; limit > 0 && n >= limit {
		s.attempts.forget(in)
		s.stats.abandoned.Add(1)
		j.log(slog.LevelWarn, "patchbay: a cast was dropped after its last attempt", slog.Int("attempts", n), slog.Any("error", j.err))
		j.settle(messaging.Drop)
		j.release()
		return
	}
	delay := requeueDelay(s.opts.RequeueDelay, n)
	if delay <= 0 {
		j.requeue()
		return
	}
	k := &kept{job: j}
	k.mu.Lock() // until both are set
	defer k.mu.Unlock()
	k.timer = time.AfterFunc(delay, k.end)
	k.stop = context.AfterFunc(j.session.poll, k.end)
}

// requeueDelay doubles with each attempt.
func requeueDelay(first time.Duration, attempt int) time.Duration {
	if first <= 0 {
		return 0
	}
	for d := first; ; d *= 2 {
		if attempt--; attempt <= 0 || d >= maxRequeueDelay {
			return min(d, max(first, maxRequeueDelay))
		}
	}
}

// requeue gives the request back now.
func (j *job) requeue() {
	j.settle(messaging.Requeue)
	j.release()
}

// kept is a request that is given back when its time has come or the server
// stops, whichever is first.
type kept struct {
	job   *job
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
		k.job.requeue()
	}
}

// attempts counts how often this server tried requests that were given back,
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

// forget ends the count of a request that does not come back.
func (a *attempts) forget(in *messaging.Incoming) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.count[in.ID]; known {
		delete(a.count, in.ID)
		i := slices.Index(a.order, in.ID)
		a.order = slices.Delete(a.order, i, i+1)
	}
}
