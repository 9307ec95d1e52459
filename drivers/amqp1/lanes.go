package amqp1

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/messaging"
)

const (
	// laneIdle is how long a link for sending may be unused: one costs 43 KB.
	laneIdle = 10 * time.Minute

	// maxLanes is how many there may be before one that is not in use is closed for
	// each new one.
	maxLanes = 256

	maxRoutes = 4096
)

// lanes are the links of a connection for sending: one for all addresses where
// the peer allows that, else one for each. They share a session.
type lanes struct {
	c *conn

	mu  sync.Mutex // protects all
	all map[string]*lane

	turn    chan struct{} // whose it is uses session
	session *amqp.Session // nil: none was opened yet
}

func (s *lanes) init(c *conn) {
	s.c, s.all, s.turn = c, map[string]*lane{}, make(chan struct{}, 1)
}

// key returns which lane a target's messages go over, and what that is attached
// to.
func (s *lanes) key(target terminus) (string, terminus) {
	if target.anonymous {
		return "", terminus{}
	}
	return target.address, target
}

// moving waits, under ctx, until the peer takes messages on the lane of a target.
func (s *lanes) moving(ctx context.Context, target terminus) error {
	key, _ := s.key(target)
	s.mu.Lock()
	l := s.all[key]
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	return l.moving(ctx)
}

// hand gives a job to the lane of its target, which is made if need be.
func (s *lanes) hand(target terminus, j *job) error {
	key, at := s.key(target)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.all[key]
	for l == nil || !l.hand(j) {
		if err := s.c.lost(); err != nil {
			return err
		}
		if len(s.all) >= maxLanes {
			s.closeOne()
		}
		l = newLane(s.c, at)
		if !s.c.spawn(l.run) {
			return s.c.lost()
		}
		s.all[key] = l
	}
	return nil
}

// closeOne closes the lane that has not been in use for the longest time, if there
// is one that is not. s.mu is held.
func (s *lanes) closeOne() {
	oldest, since := "", time.Now()
	for key, l := range s.all {
		if used, idle := l.idleSince(); idle && used.Before(since) {
			oldest, since = key, used
		}
	}
	if l := s.all[oldest]; l != nil && l.end(0) {
		delete(s.all, oldest)
	}
}

// closeIdle closes the lanes that have not been used for that long.
func (s *lanes) closeIdle(idle time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, l := range s.all {
		if l.end(idle) {
			delete(s.all, key)
		}
	}
}

// inSession calls f with the session, and once more with another if the peer
// ended it.
func (s *lanes) inSession(f func(*amqp.Session) error) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-s.c.done:
		return s.c.lost()
	}
	for again := true; ; again = false {
		if s.session == nil {
			session, err := s.c.amqp.NewSession(s.c.life, nil)
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

// routes remember where messages to an address are sent.
type routes struct {
	mu  sync.RWMutex
	all map[messaging.Address]terminus
}

func (r *routes) to(c *conn, to messaging.Address) terminus {
	if to.Kind == messaging.KindReply {
		return c.replyTo(to.Direct)
	}
	r.mu.RLock()
	t, ok := r.all[to]
	r.mu.RUnlock()
	if ok {
		return t
	}
	t = c.p.target(c.address.node(to))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil || len(r.all) >= maxRoutes { // a process that makes up topics must not grow for ever
		r.all = map[messaging.Address]terminus{}
	}
	r.all[to] = t
	return t
}

// replyTo is where a reply goes: an address as the peer knows it, which who asked
// has said.
func (c *conn) replyTo(address string) terminus {
	t := c.p.target(node{kind: nodeReply})
	t.address = address
	return t
}
