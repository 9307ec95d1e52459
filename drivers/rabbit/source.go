package rabbit

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"

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

// session is one channel of a source, for as long as the broker leaves it open.
type session struct {
	c      *conn
	ch     *amqp.Channel
	closed chan *amqp.Error
	over   chan struct{} // closed when its goroutine has ended
	calls  sync.Mutex    // held for calls that wait for the broker: one at a time

	stream  *readings // nil: the queue is no stream
	acks    acks
	wake    chan struct{} // there is something to acknowledge
	write   sync.Mutex    // held while writing what becomes of deliveries
	written atomic.Int64  // how much was
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
	if !s.l.c.spawn(func() { s.run(deliveries) }) {
		s.l.receiving.Done()
		return s.l.c.lost()
	}
	return nil
}

// run is the goroutine that receives, until the listener is stopped or fails.
func (s *source) run(deliveries <-chan amqp.Delivery) {
	defer s.l.receiving.Done()
	for {
		s.receive(deliveries)
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
	if lost := s.l.c.lost(); lost != nil {
		s.l.end(lost)
		return
	}
	s.l.end(joined(messaging.ErrConnLost, explain(err)))
}

// receive passes deliveries on until there are no more.
func (s *source) receive(deliveries <-chan amqp.Delivery) {
	if s.plan.stream {
		s.receiveStream(deliveries)
		return
	}
	session := s.current()
	for d := range deliveries {
		session.acks.add(d.DeliveryTag)
		s.pass(&d, session)
	}
}

// pass passes a delivery on to Poll.
func (s *source) pass(d *amqp.Delivery, session *session) {
	m, count := received(d, s.l.c.caps.DeliveryCount && !s.plan.stream)
	p := polled{messaging.NewDelivery(m, session), session}
	p.d.Source = s.plan.index(d.Exchange, d.RoutingKey)
	p.d.Redelivered = d.Redelivered
	p.d.Count = count
	p.d.Tag = d.DeliveryTag
	select {
	case s.l.inbox <- p:
	case <-s.l.c.done:
	}
}

// consume declares the queue and consumes it: on the channel of old, if that
// is still open, else on a new one.
func (s *source) consume(old *session) (<-chan amqp.Delivery, error) {
	if err := s.declare(); err != nil {
		return nil, err
	}
	session := old
	if old == nil || old.lost() {
		var err error
		if session, err = s.l.c.openSession(s.l.prefetch); err != nil {
			return nil, err
		}
		if s.plan.stream {
			session.stream = &readings{source: s, offsets: map[uint64]int64{}}
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
	return session.ch.Consume(s.plan.queue.name, s.tag, false, false, false, false, s.arguments())
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
	_ = session.ch.Cancel(s.tag, false) // fails with the channel only
}

// barrier returns when nothing that was settled can be lost with the channel.
// A channel has no more than 32 commands on their way to a quorum queue; what it
// holds back beyond is lost when it closes, and the messages are delivered
// again. A basic.get passes through the same log, so its answer comes after
// those 32, when the channel has sent the others. It is the only method that
// does, and changes little once its message is given back.
func (s *source) barrier(session *session) {
	if s.plan.queue.args[amqp.QueueTypeArg] != amqp.QueueTypeQuorum || session.written.Load() <= 32 {
		return
	}
	session.calls.Lock()
	defer session.calls.Unlock()
	if d, ok, err := session.ch.Get(s.plan.queue.name, false); err == nil && ok {
		_ = session.refuse(d.DeliveryTag, true) // else the channel is gone, and gave it back
	}
}

// free writes the last acknowledgements, deletes what is private and closes
// the channel.
func (s *source) free() error {
	c := s.l.c
	session := s.current()
	if session != nil {
		session.flush()
		s.barrier(session)
	}
	var err error
	if s.plan.private && c.lost() == nil {
		err = c.control.do(c.life, func(ch *amqp.Channel) error {
			_, err := ch.QueueDelete(s.plan.queue.name, false, false, false)
			return err
		})
	}
	if session != nil {
		_ = session.ch.Close()
		<-session.over
	}
	if s.kept != nil && s.l.complete && c.lost() == nil {
		if s.kept.number > 0 {
			c.unlock(s.kept.number)
		}
		c.memory.forget(s.plan.key)
	}
	return err
}

// openSession opens a channel for receiving and starts the goroutine that
// acknowledges.
func (c *conn) openSession(prefetch int) (*session, error) {
	ch, err := c.amqp.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Qos(prefetch, 0, false); err != nil {
		return nil, err
	}
	s := &session{
		c:      c,
		ch:     ch,
		closed: ch.NotifyClose(make(chan *amqp.Error, 1)),
		over:   make(chan struct{}),
		wake:   make(chan struct{}, 1),
	}
	if !c.spawn(s.acknowledge) {
		return nil, c.lost()
	}
	return s, nil
}

// acknowledge is the goroutine that writes acknowledgements: all that were
// given since it last did, without waiting for more.
func (s *session) acknowledge() {
	defer close(s.over)
	for {
		select {
		case <-s.wake:
			runtime.Gosched() // whoever is about to settle does so first
			s.flush()
		case <-s.closed:
			return
		}
	}
}

func (s *session) flush() {
	s.write.Lock()
	defer s.write.Unlock()
	for _, a := range s.acks.flush() {
		if s.ch.Ack(a.tag, a.multiple) != nil {
			return // lost: the broker delivers them again
		}
		s.written.Add(1)
	}
}

// Settle implements messaging.Settler.
func (s *session) Settle(_ context.Context, d *messaging.Delivery, o messaging.Outcome) error {
	if s.lost() {
		return &messaging.OpError{Op: "settling a delivery", Err: messaging.ErrConnLost}
	}
	switch {
	case s.stream != nil:
		s.settleReading(d, o)
	case o != messaging.Ack:
		return s.refuse(d.Tag, o == messaging.Requeue)
	default:
		s.accept(d.Tag)
	}
	return nil
}

// accept acknowledges a delivery, soon.
func (s *session) accept(tag uint64) {
	s.acks.ack(tag)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// refuse requeues or drops a delivery.
func (s *session) refuse(tag uint64, requeue bool) error {
	s.write.Lock()
	defer s.write.Unlock()
	if err := s.ch.Nack(tag, false, requeue); err != nil {
		return &messaging.OpError{Op: "settling a delivery", Err: joined(messaging.ErrConnLost, err)}
	}
	s.written.Add(1)
	s.acks.remove(tag)
	return nil
}

// lost reports whether the deliveries of the session are the broker's again.
func (s *session) lost() bool {
	select {
	case <-s.c.done: // the library notices a little later
		return true
	default:
		return s.ch.IsClosed()
	}
}
