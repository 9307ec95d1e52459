package messaging

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// Health is what a Transport knows of its own state, without asking its peer.
type Health struct {
	// Err is nil while nothing is known to be wrong: else it says what is, for
	// all that is. It is ErrClosed after Close.
	Err error
	// Sending is the number of open connections for sending. With none, and a
	// nil Err, nobody has needed one yet, or since the last was lost.
	Sending int
	// Streams has an element for each stream that is open or about to be, the one
	// of replies included, in the order of their names.
	Streams []StreamHealth
}

// StreamHealth is the state of one stream.
type StreamHealth struct {
	From      string    // its first source, or its reply address, in words
	Listening bool      // messages reach it now
	Since     time.Time // when that changed last
	Connects  int       // how often it began to listen; 1: its first connection lives; 0: it waits for that
	Err       error     // why it does not listen; nil also while its first connection is being opened
}

// Health tells whether the transport can do its work now. It takes no time and
// causes no traffic, so a readiness probe may call it often. A connection that
// is dead and not yet noticed counts as open: heartbeats bound how long. So does
// one that a broker without memory takes nothing from.
func (t *Transport) Health() Health {
	if t.isClosed() {
		return Health{Err: &OpError{Op: "using the transport", Err: ErrClosed}}
	}
	var h Health
	var errs []error
	for _, s := range t.pool.slots {
		open, why := s.health()
		if open {
			h.Sending++
		} else if why != nil {
			errs = append(errs, opError("connecting to send", "", why))
		}
	}
	if h.Sending > 0 {
		errs = nil // others can be used instead
	}
	t.mu.Lock()
	for _, all := range []map[*Stream]struct{}{t.streams, t.opening} {
		for s := range all {
			h.Streams = append(h.Streams, s.health())
		}
	}
	t.mu.Unlock()
	slices.SortFunc(h.Streams, func(a, b StreamHealth) int { return strings.Compare(a.From, b.From) })
	for _, s := range h.Streams {
		if s.Err != nil {
			errs = append(errs, opError("listening on", s.From, s.Err))
		}
	}
	h.Err = errors.Join(errs...)
	return h
}

func (s *slot) health() (open bool, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.live.Load(); c != nil && c.alive() {
		return true, nil
	}
	return false, s.why
}

func (s *Stream) health() StreamHealth {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := StreamHealth{From: describe(&s.sub), Listening: s.gen.Load() != nil, Since: s.since, Connects: s.number}
	if !h.Listening && !s.stopped {
		h.Err = s.why
		if h.Err == nil && s.number > 0 {
			h.Err = ErrConnLost
		}
	}
	return h
}
