package amqp1

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/messaging"
)

// maxLanes is how many there may be before one that is not in use is closed for
// each new one.
const maxLanes = 256

// lanes are the links of a connection for sending: one for all addresses where
// the peer allows that, else one for each. They share a session.
type lanes struct {
	c *conn

	mu    sync.Mutex // protects what follows
	all   map[string]*lane
	clock uint64    // counts uses
	over  error     // no link gets credit any more; nil: it does
	ended []*sender // links whose end the library may not have answered yet

	turn    chan struct{} // whose it is uses session
	session *amqp.Session // nil: none was opened yet
}

func (s *lanes) init(c *conn) {
	s.c, s.all, s.turn = c, map[string]*lane{}, make(chan struct{}, 1)
}

// use returns the lane for a target, which is made if need be. Who asks gives it back
// by open.
func (s *lanes) use(target *terminus) *lane {
	key, at := target.address, target
	if target.anonymous {
		key, at = "", &terminus{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.all[key]
	if l == nil {
		if len(s.all) >= maxLanes {
			s.closeOne()
		}
		l = newLane(s.c, *at)
		s.all[key] = l
	}
	s.clock++
	l.used = s.clock
	l.open.Add(1)
	return l
}

// closeOne closes the lane that has not been in use for the longest time, if there
// is one that is not. s.mu is held.
func (s *lanes) closeOne() {
	oldest, since := "", s.clock+1
	for key, l := range s.all {
		if l.used < since && l.open.Load() == 0 {
			oldest, since = key, l.used
		}
	}
	if l := s.all[oldest]; l != nil && since <= s.clock {
		s.close(oldest, l)
	}
}

// closeIdle closes the lanes that were not used since it was last called.
func (s *lanes) closeIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, l := range s.all {
		if l.used == l.looked && l.open.Load() == 0 {
			s.close(key, l)
		}
		l.looked = l.used
	}
}

// close closes a lane that nobody uses. s.mu is held.
func (s *lanes) close(key string, l *lane) {
	delete(s.all, key)
	s.c.retire(l.leave)
}

// dismiss sends away who waits for credit, now and from now on: nothing of what they
// send was written.
func (s *lanes) dismiss(reason error) {
	s.mu.Lock()
	s.over = reason
	all := slices.Collect(maps.Values(s.all))
	s.mu.Unlock()
	for _, l := range all {
		if link := l.current(); link != nil {
			link.credit.Shut(reason)
		}
	}
}

// dismissed returns the reason of dismiss; nil: it was not called.
func (s *lanes) dismissed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// part notes that a link has ended.
func (s *lanes) part(l *sender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, l)
}

// settleEnds returns when the library has answered the end of each link: it gives
// the handle of one that the peer detached to the next link before it has said that
// it is free, and a broker may end the connection for that. The turn is ours.
func (s *lanes) settleEnds() {
	s.mu.Lock()
	ended := s.ended
	s.ended = nil
	s.mu.Unlock()
	for _, l := range ended {
		if l.lib != nil { // else it was never attached, and is answered
			_ = s.c.Answer("detaching a link", func() error { return l.lib.Close(s.c.Context()) })
		}
	}
}

// inSession calls f with the session, and once more with another if the peer
// ended it.
func (s *lanes) inSession(f func(*amqp.Session) error) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-s.c.Done():
		return s.c.Lost()
	}
	s.settleEnds()
	for again := true; ; again = false {
		if s.session == nil {
			session, err := s.c.newSession()
			if err != nil {
				return err
			}
			s.session = session
		}
		err := f(s.session)
		var ended *amqp.SessionError
		if !errors.As(err, &ended) {
			return err
		}
		s.session = nil
		if !again {
			return err
		}
	}
}

// maxRoutes bounds what is remembered: a process that makes up topics must not grow
// for ever.
const maxRoutes = 4096

// routes remember where messages to an address are sent.
type routes struct {
	mu  sync.RWMutex
	all map[messaging.Address]*terminus
}

func (r *routes) to(c *conn, to messaging.Address) *terminus {
	if to.Kind == messaging.KindReply {
		return c.replyTo(to.Direct)
	}
	r.mu.RLock()
	t, ok := r.all[to]
	r.mu.RUnlock()
	if ok {
		return t
	}
	at := c.p.target(c.address.node(to))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil || len(r.all) >= maxRoutes {
		r.all = map[messaging.Address]*terminus{}
	}
	r.all[to] = &at
	return &at
}

// replyTo is where a reply goes: an address as the peer knows it, which who asked
// has said.
func (c *conn) replyTo(address string) *terminus {
	t := c.p.target(node{kind: nodeReply})
	t.address = address
	return &t
}
