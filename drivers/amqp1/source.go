package amqp1

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/messaging"
)

// source receives from one node of a listener. When the broker detaches the link
// or ends its session, the source attaches another.
type source struct {
	l       *listener
	plan    plan
	reply   bool
	address string // where the node can be sent to; of a reply node only

	mu    sync.Mutex // protects the following
	link  *receiver
	freed bool // whoever attaches another link has to end it

	over chan struct{} // closed when the goroutine has ended; nil: it was not started
}

// start returns when messages reach the node and are received.
func (s *source) start() error {
	link, err := s.attach()
	if err != nil {
		return err
	}
	s.over = make(chan struct{})
	if !s.l.c.Spawn(func() { s.run(link) }) {
		s.over = nil
		return s.l.c.Lost()
	}
	return nil
}

// run is the goroutine that acknowledges, and keeps a link attached until the listener
// is closed or fails.
func (s *source) run(link *receiver) {
	defer close(s.over)
	back := 10 * time.Millisecond
	for {
		began := time.Now()
		link.acknowledge()
		err := link.reason
		if s.l.stopping() || s.l.c.Lost() != nil || s.plan.dynamic {
			s.fail(err)
			return
		}
		s.l.c.retire(link.within.Close)
		// A link that ends as soon as it is attached must not be attached in a
		// tight loop.
		if time.Since(began) > time.Second {
			back = 10 * time.Millisecond
		}
		select {
		case <-time.After(back):
		case <-s.l.ended:
			return
		case <-s.l.c.Done():
			s.fail(err)
			return
		}
		back = min(2*back, 5*time.Second)
		if link, err = s.attach(); err != nil {
			s.fail(err)
			return
		}
	}
}

// fail ends the listener because its node cannot be received from any more.
func (s *source) fail(err error) {
	if lost := s.l.c.Err(); lost != nil {
		s.l.end(lost)
		return
	}
	s.l.end(joined(messaging.ErrConnLost, s.l.c.told(err)))
}

// attach declares the node, where that is needed, and attaches a link to it.
func (s *source) attach() (*receiver, error) {
	c := s.l.c
	if s.plan.queue != nil {
		if err := c.nodes.declare(s.plan.queue); err != nil {
			return nil, err
		}
	}
	session, err := c.newSession()
	if err != nil {
		return nil, err
	}
	link := newReceiver(s)
	link.within = session
	o := &amqp.ReceiverOptions{
		Name:               linkName(),
		Credit:             -1, // it is ours to give
		DynamicAddress:     s.plan.dynamic,
		SourceCapabilities: s.plan.source.capabilities,
	}
	c.frames.announce(o.Name, link)
	defer c.frames.withdraw(o.Name)
	if link.lib, err = c.newReceiver(session, s.plan.source.address, o); err != nil {
		c.retire(session.Close)
		return nil, err
	}
	if !s.keep(link) {
		c.retire(session.Close)
		return nil, messaging.ErrClosed
	}
	if s.address == "" { // the first time; a dynamic one is attached once
		s.address = s.plan.source.address
		if s.plan.dynamic {
			s.address = link.lib.Address()
		}
	}
	if s.l.stopping() {
		return link, nil
	}
	link.credit.start()
	return link, nil
}

// keep makes a link the present one, unless free did not see it in time.
func (s *source) keep(link *receiver) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.freed {
		return false
	}
	s.link = link
	return true
}

// linkName returns a name that no other link has.
func linkName() string { return rand.Text() }

func (s *source) current() *receiver {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link
}

// answerTime bounds the waiting for a peer that should answer.
const answerTime = 5 * time.Second

// drain returns when no message comes any more, as far as the broker tells. Where
// it does not, what is on its way is given back when it comes.
func (s *source) drain() {
	link := s.current()
	if link == nil || !link.credit.stop() {
		return
	}
	wait := min(answerTime, s.l.c.Patience)
	if !s.l.c.p.drains {
		wait = time.Millisecond // the credit is gone all the same
	}
	ctx, cancel := context.WithTimeout(s.l.c.Context(), wait)
	defer cancel()
	link.drain(ctx)
}

// free detaches the link and deletes what is private. Nothing is delivered any more
// when it returns: a peer that answers none of it is lost then.
func (s *source) free() error {
	c := s.l.c
	s.mu.Lock()
	s.freed = true
	link := s.link
	s.mu.Unlock()
	if link == nil {
		return nil
	}
	if c.Lost() == nil {
		link.flush()
		_ = c.Answer("detaching a link", func() error { return link.lib.Close(c.Context()) })
		_ = c.Answer("ending a session", func() error { return link.within.Close(c.Context()) })
	}
	if s.over != nil {
		<-s.over
	}
	if q := s.plan.queue; q != nil && q.private && c.Lost() == nil {
		return c.nodes.remove(q.name)
	}
	return nil
}
