package serving

import "github.com/patchbay-go/patchbay/messaging"

// taker implements messaging.Taker: while a worker is free, it gets a message from
// the goroutine that received it, past the poll loop.
type taker struct {
	job     func(*Session, *messaging.Incoming) Job
	session *Session
	workers *Workers
}

// Reserve implements messaging.Taker.
func (t *taker) Reserve() bool {
	if !t.workers.reserve() {
		return false
	}
	if t.session.Poll.Err() != nil || !t.session.inHand.join() {
		t.workers.free()
		return false
	}
	return true
}

// Take implements messaging.Taker. The workers are not closed before all that is
// in hand is done.
func (t *taker) Take(in *messaging.Incoming) {
	if in == nil {
		t.workers.free()
		t.session.Done()
		return
	}
	t.workers.begin(t.job(t.session, in).Task())
}
