package amqp1

import (
	"context"
	"runtime"
	"slices"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// This file is a receiver's side of settling: what becomes of its deliveries.
// Acceptances gather for a moment, or until there is credit to give, and are written as
// ranges of numbers.

// tagSettled is set in the tag of a delivery that the peer itself has settled.
const tagSettled = 1 << 32

// Settle implements messaging.Settler.
func (r *receiver) Settle(_ context.Context, d *messaging.Delivery, o messaging.Outcome) error {
	how := accepted
	switch o {
	case messaging.Ack:
	case messaging.Requeue:
		how = r.c.p.requeue
	case messaging.Drop:
		how = r.c.p.drop
	}
	if err := r.settle(d.Tag, how); err != nil {
		return &messaging.OpError{Op: "settling a delivery", Err: joined(messaging.ErrConnLost, r.c.told(err))}
	}
	return nil
}

// isLost reports whether a delivery is the broker's again.
func (r *receiver) isLost(tag uint64) bool { return tag&tagSettled == 0 && r.lost.Load() }

// settle sees to it that what becomes of a delivery is written: soon, with others,
// or at once.
func (r *receiver) settle(tag uint64, how settlement) error {
	if tag&tagSettled == 0 {
		if err := r.dispose(uint32(tag), how); err != nil { //nolint:gosec // the number of a delivery
			return err
		}
	}
	r.credit.settled()
	return nil
}

func (r *receiver) dispose(id uint32, how settlement) error {
	s := r.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.closed {
		return errLinkEnded
	}
	d := disposition{receiver: true, first: id, last: id, settled: true}
	switch how {
	case accepted:
		if r.acked = append(r.acked, id); len(r.acked) == 1 {
			select {
			case r.wake <- struct{}{}:
			default: // who writes is about to
			}
		}
		return nil
	case rejected:
		d.state = stateRejected
	case released:
		d.state = stateReleased
	case failed:
		d.state, d.failed = stateModified, true
	}
	s.buf = appendDisposition(s.buf[:0], s.channel, d)
	_, err := s.f.Conn.Write(s.buf)
	return err
}

// acknowledge writes what was accepted, until the link has ended.
func (r *receiver) acknowledge() {
	for {
		select {
		case <-r.wake:
			if r.s.reply {
				r.rest()
			} else {
				r.gather()
			}
			r.flush()
		case <-r.over:
			return
		}
	}
}

// gather lets whoever is about to settle do so first, and more of those as long as
// messages wait for somebody.
func (r *receiver) gather() {
	for range maxGather {
		runtime.Gosched()
		if r.s.l.inbox.Len() == 0 || r.countAcks() >= ackSize {
			return
		}
	}
}

// rest lets a moment pass. A reply that comes again is dropped, by a caller who has it;
// a request that comes again may be executed again, so these do not wait so long.
func (r *receiver) rest() {
	select {
	case <-time.After(ackTime):
	case <-r.over:
	}
}

// The acknowledgement of a request waits for that many others, and lets others run
// that often; those of replies wait for each other so long, or for the next credit.
const (
	ackSize   = 32
	maxGather = 8
	ackTime   = 5 * time.Millisecond
)

func (r *receiver) countAcks() int {
	r.session.mu.Lock()
	defer r.session.mu.Unlock()
	return len(r.acked)
}

// flush writes what was accepted.
func (r *receiver) flush() {
	r.session.mu.Lock()
	defer r.session.mu.Unlock()
	r.writeAcks()
}

// writeAcks writes what was accepted, in as few dispositions as that takes. The link
// is the only one of its session, whose deliveries have consecutive numbers.
// session.mu is held.
func (r *receiver) writeAcks() {
	if len(r.acked) == 0 || r.closed {
		return
	}
	slices.SortFunc(r.acked, func(a, b uint32) int { return int(int32(a - b)) }) //nolint:gosec // they wrap around
	s := r.session
	s.buf = s.buf[:0]
	d := disposition{receiver: true, settled: true, state: stateAccepted}
	for rest := r.acked; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n] == rest[n-1]+1 {
			n++
		}
		d.first, d.last, rest = rest[0], rest[n-1], rest[n:]
		s.buf = appendDisposition(s.buf, s.channel, d)
	}
	r.acked = r.acked[:0]
	_, _ = s.f.Conn.Write(s.buf) // else they are lost, and the broker delivers them again
}
