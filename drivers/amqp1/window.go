package amqp1

import (
	"errors"
	"fmt"
	"slices"

	"github.com/patchbay-go/patchbay/messaging"
)

// This file is a session's side of sending: the window, in frames, that the peer
// gives all its links together, and the outcomes of what was sent. The broker's
// memory alarm is a window of none, on RabbitMQ.

// waiting is a frame that waits for the window.
type waiting struct {
	frame       []byte
	from        *sender
	id          uint32 // of the delivery
	first, last bool   // of its frames
	settled     bool
}

// write writes a frame, for which there is room. s.mu is held.
func (s *session) write(frame []byte) error {
	if _, err := s.f.Conn.Write(frame); err != nil {
		return joined(messaging.ErrConnLost, err)
	}
	s.window--
	s.nextOutgoing++
	return nil
}

// writeParts writes a message in as many frames as it takes, and reports whether
// some of them wait for room, or for the end of the connection. An error means that nothing was written. s.mu is held.
func (s *session) writeParts(l *sender, t transfer, payload []byte) (waits bool, err error) {
	const most = 64 // bytes of a frame that are no payload
	for t.more = true; t.more; t.first = false {
		n := min(len(payload), s.f.limit-most)
		t.more = n < len(payload)
		b, frame := appendTransfer(nil, s.channel, t)
		b = endFrame(append(b, payload[:n]...), frame)
		payload = payload[n:]
		if s.window == 0 || len(s.waiting) > 0 {
			s.waiting = append(s.waiting, waiting{b, l, t.id, t.first, !t.more, t.settled})
			continue
		}
		switch err := s.write(b); {
		case err == nil:
		case t.first:
			return false, err
		default:
			return true, nil // the end of the connection tells
		}
	}
	return len(s.waiting) > 0, nil
}

// catchUp writes what waits, as far as there is room. s.mu is held.
func (s *session) catchUp(done []outgoing) []outgoing {
	n := 0
	for ; n < len(s.waiting) && s.window > 0; n++ {
		w := &s.waiting[n]
		if s.write(w.frame) != nil {
			break // the end of the connection tells
		}
		if w.settled && w.last {
			done = s.unsettled.settle(w.id, w.id, done)
		}
	}
	s.waiting = slices.Delete(s.waiting, 0, n)
	s.adjust()
	return done
}

// forget drops what waits of a link, and returns the deliveries of which nothing was
// written. s.mu is held.
func (s *session) forget(l *sender) map[uint32]bool {
	unwritten := map[uint32]bool{}
	rest := s.waiting[:0]
	for _, w := range s.waiting {
		switch {
		case w.from != l:
			rest = append(rest, w)
		case w.first:
			unwritten[w.id] = true
		}
	}
	clear(s.waiting[len(rest):])
	s.waiting = rest
	return unwritten
}

// adjust lets senders wait, under their contexts, while there is no room. s.mu is held.
func (s *session) adjust() {
	blocked := s.window == 0 || len(s.waiting) > 0
	if blocked == s.blocked {
		return
	}
	s.blocked = blocked
	for _, e := range s.handles {
		e.block(blocked)
	}
}

// disposed is told the outcome of deliveries.
func (s *session) disposed(v fields) error {
	d, err := parseDisposition(v)
	if err != nil || !d.receiver || !d.settled && (d.state < stateAccepted || d.state > stateModified) {
		return err // it is about what we received, or not the last word
	}
	s.mu.Lock()
	done := s.unsettled.settle(d.first, d.last, s.done[:0])
	if !d.settled && len(done) > 0 { // it waits for us to forget them, too
		s.buf = appendDisposition(s.buf[:0], s.channel, disposition{first: d.first, last: d.last, settled: true, state: d.state})
		_, _ = s.f.Conn.Write(s.buf)
	}
	s.mu.Unlock()
	for i := range done {
		done[i].result = done[i].from.c.outcome(&done[i], &d)
	}
	s.finish(done)
	return nil
}

// finish tells outcomes, and keeps the room for the next ones. It is for the
// goroutine that reads.
func (s *session) finish(done []outgoing) {
	if len(done) > 0 {
		done[0].from.c.finish(done)
	}
	clear(done)
	s.done = done[:0]
}

// outcome says what a disposition means for a message that the peer was sent. One for
// which a queue was declared has nowhere to go if that is gone, since somebody deleted it,
// or its policy did.
func (c *conn) outcome(o *outgoing, d *disposition) error {
	if o.queue != "" && c.p.noRoute && (d.state == stateReleased || d.state == stateModified) {
		c.nodes.forget(o.queue)
		return joined(messaging.ErrNotSent, fmt.Errorf("the queue %q is gone", o.queue))
	}
	return c.p.outcome(d, o.must)
}

// outcome says what a disposition means for a message without a queue of its own.
func (p *profile) outcome(d *disposition, mustArrive bool) error {
	switch d.state {
	case stateAccepted:
		return nil
	case stateRejected:
		if d.reason != nil {
			return joined(messaging.ErrRejected, errors.New(d.reason.Description))
		}
		return messaging.ErrRejected
	case stateReleased, stateModified:
		switch {
		case !p.noRoute:
			return joined(messaging.ErrNotSent, errors.New("the peer does not take it"))
		case mustArrive:
			return messaging.ErrNoRoute
		}
		return nil
	}
	return joined(messaging.ErrOutcomeUnknown, fmt.Errorf("the peer settles it with no outcome"))
}
