package zmq

import (
	"slices"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
)

// source is one address of a listener, and its room: as many requests as the
// subscription's prefetch may be here, polled or not, until they are settled.
//
// Each client knows how many of its own are, which is enough while it is alone.
// When several together are too many, what does not fit is turned back, and room
// that becomes free is kept for who waits, in turns: so nobody's requests wait
// here for a share that others do not use, and the bound holds.
//
// The listener's lock guards all that changes.
type source struct {
	listener *listener
	index    int // in Subscription.Sources
	wire     proto.Source
	used     int
	reserved int              // room that is kept
	shares   map[*session]int // of it: for whom
	waiting  []*session       // for room, in turn
}

func (s *source) limit() int { return int(s.wire.Prefetch) }

// offer takes requests of one session in. It returns how many it did not, and why:
// all of them are Gone, or some are Full, of which the session is told.
func (s *source) offer(ds []*delivery) (back int, why proto.Outcome) {
	l := s.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return len(ds), proto.Gone
	}
	for _, d := range ds {
		if s.admit(d) {
			d.message.Source = s.index
			l.ready.push(d)
		} else {
			d.session.turnBack(d.seq)
			back++
		}
	}
	l.signal()
	s.grant()
	return back, proto.Full
}

// admit reports whether there is room for a request, and takes it. The listener's
// lock is held.
func (s *source) admit(d *delivery) bool {
	ss := d.session
	waits := slices.Contains(s.waiting, ss)
	ok := true
	switch {
	case d.flags&proto.UsesRoom != 0 && s.shares[ss] > 0:
		s.release(ss, 1)
	case s.used+s.reserved >= s.limit() || waits || s.shares[ss] > 0:
		ok = false
	}
	if ok {
		s.used++
	}
	if !waits && (!ok || d.flags&proto.WantsRoom != 0) {
		s.waiting = append(s.waiting, ss)
	}
	return ok
}

// release takes n off what is kept for a session. The listener's lock is held.
func (s *source) release(ss *session, n int) {
	n = min(n, s.shares[ss])
	s.reserved -= n
	if s.shares[ss] -= n; s.shares[ss] == 0 {
		delete(s.shares, ss)
	}
}

// grant keeps free room for those who wait: not one by one, since each costs a
// message, but when a quarter is free. The listener's lock is held.
func (s *source) grant() {
	free := s.limit() - s.used - s.reserved
	if len(s.waiting) == 0 || free < max(1, s.limit()/4) {
		return
	}
	for len(s.waiting) > 0 && free > 0 {
		n := max(1, free/len(s.waiting))
		ss := s.waiting[0]
		s.waiting = slices.Delete(s.waiting, 0, 1)
		s.shares[ss] += n
		s.reserved += n
		free -= n
		ss.write(proto.Head{Kind: proto.Room, Source: s.wire.Number, Count: uint32(n)}, nil)
	}
}

// pass takes room back that a session does not need.
func (s *source) pass(ss *session, n int) {
	s.listener.mu.Lock()
	defer s.listener.mu.Unlock()
	s.release(ss, max(0, n))
	s.grant()
}

// forget takes out a session whose link has ended.
func (s *source) forget(ss *session) {
	s.listener.mu.Lock()
	defer s.listener.mu.Unlock()
	s.release(ss, s.shares[ss])
	s.waiting = slices.DeleteFunc(s.waiting, func(other *session) bool { return other == ss })
	s.grant()
}

// free frees the room of one request. The listener's lock is held.
func (s *source) free() {
	s.used--
	s.grant()
}
