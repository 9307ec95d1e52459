package rabbit

import (
	"fmt"
	"strconv"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

// source consumes one queue of a listener, on a channel of its own. When the
// broker cancels the consumer or closes the channel, the source declares the
// queue and consumes it again.
type source struct {
	l    *listener
	plan plan
	kept *kept  // of a stream or a managed queue; else nil
	tag  string // of the consumer

	mu      sync.Mutex // protects session
	session *session
}

func newSource(l *listener, p plan, number int) *source {
	return &source{l: l, plan: p, tag: strconv.Itoa(number)}
}

// start returns when messages reach the queue and are consumed.
func (s *source) start() error {
	deliveries, err := s.consume(nil)
	if err != nil {
		return err
	}
	s.l.receiving.Add(1)
	if !s.l.c.Spawn(func() { s.run(deliveries) }) {
		s.l.receiving.Done()
		return s.l.c.Lost()
	}
	return nil
}

// run is the goroutine that keeps the queue consumed, until the listener is
// stopped or fails. Messages do not come through deliveries, which is closed
// when the consumer has ended.
func (s *source) run(deliveries <-chan amqp.Delivery) {
	defer s.l.receiving.Done()
	for {
		s.hear(deliveries)
		if s.stopping() {
			return
		}
		next, err := s.consume(s.current())
		if err != nil {
			s.fail(err)
			return
		}
		deliveries = next
	}
}

// fail ends the listener because its queue cannot be consumed any more.
func (s *source) fail(err error) {
	if lost := s.l.c.Lost(); lost != nil {
		s.l.end(lost)
		return
	}
	s.l.end(joined(messaging.ErrConnLost, explain(err)))
}

// consume declares the queue and consumes it: on the channel of old, if that
// is still open, else on a new one.
func (s *source) consume(old *session) (<-chan amqp.Delivery, error) {
	if s.plan.direct && old != nil {
		return nil, fmt.Errorf("%w: its channel or consumer is gone", messaging.ErrReplyLost)
	}
	if err := s.declare(); err != nil {
		return nil, err
	}
	session := old
	if old == nil || old.lost() {
		err := s.l.c.Answer("opening a channel for receiving", func() (err error) {
			session, err = s.l.c.openSession(s)
			return err
		})
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.session = session
		s.mu.Unlock()
	}
	session.calls.Lock()
	defer session.calls.Unlock()
	if s.stopping() {
		return nil, messaging.ErrClosed
	}
	var deliveries <-chan amqp.Delivery
	err := s.l.c.Answer("consuming", func() (err error) {
		if s.plan.direct {
			deliveries, err = session.consumeDirect()
		} else {
			deliveries, err = session.ch.lib.Consume(s.plan.queue.name, s.tag, false, false, false, false, s.arguments(session))
		}
		return err
	})
	return deliveries, err
}

func (s *source) current() *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session
}

func (s *source) stopping() bool {
	select {
	case <-s.l.ended:
		return true
	default:
		return false
	}
}

// cancel ends the consumer. What the broker had sent before still arrives.
func (s *source) cancel() {
	session := s.current()
	if session == nil || session.lost() {
		return
	}
	session.calls.Lock()
	defer session.calls.Unlock()
	_ = s.l.c.Answer("cancelling a consumer", func() error {
		return session.ch.lib.Cancel(s.tag, false) // fails with the channel only
	})
}

// barrier returns when nothing that was settled can be lost with the channel.
// A channel has no more than 32 commands on their way to a quorum queue; what it
// holds back beyond is lost when it closes, and the messages are delivered
// again. A basic.get passes through the same log, so its answer comes after
// those 32, when the channel has sent the others. It is the only method that
// does, and changes little once its message is given back.
func (s *source) barrier(session *session) {
	if s.plan.queue.args[amqp.QueueTypeArg] != amqp.QueueTypeQuorum || session.count() <= 32 {
		return
	}
	if session.get(s.plan.queue.name) != nil {
		return // the channel is gone, and gave everything back
	}
	select {
	case tag := <-session.answer:
		if tag > 0 {
			_ = session.refuse(tag, true)
		}
	case <-session.over:
	}
}

// free writes the last acknowledgements, deletes what is private and closes
// the channel.
func (s *source) free() error {
	c := s.l.c
	session := s.current()
	if session != nil {
		session.flush()
		_ = c.Answer("getting from a quorum queue", func() error { s.barrier(session); return nil })
	}
	var err error
	if s.plan.private && c.Lost() == nil {
		err = c.control.do(c.Context(), func(ch *amqp.Channel) error {
			_, err := ch.QueueDelete(s.plan.queue.name, false, false, false)
			return err
		})
	}
	if session != nil {
		c.closeChannel(session.ch)
		<-session.over
	}
	if s.kept != nil && s.l.complete && c.Lost() == nil {
		if s.kept.number > 0 {
			c.unlock(s.kept.number)
		}
		c.memory.forget(s.plan.key)
	}
	return err
}
