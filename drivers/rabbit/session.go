package rabbit

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

// session is one channel of a source, for as long as the broker leaves it open.
type session struct {
	s      *source
	c      *conn
	ch     *channel
	closed chan *amqp.Error
	over   chan struct{} // closed when its goroutine has ended
	calls  sync.Mutex    // held for calls that wait for the broker: one at a time

	stream  *readings // nil: the queue is no stream
	acks    acks
	asked   atomic.Bool // flush will be called
	flushed func()      // flush, bound once
	late    *time.Timer // when it is to be called at the latest
	write   sync.Mutex  // held while writing what becomes of deliveries
	written int64       // how much was; protected by write
	buf     []byte      // for frames; likewise
	answer  chan uint64 // to basic.get: the tag of what was got, or 0
	address chan string // to the question for the address of direct replies
}

// openSession opens a channel for receiving and starts the goroutine that waits
// for its end.
func (c *conn) openSession(of *source) (*session, error) {
	s := &session{
		s:      of,
		c:      c,
		over:   make(chan struct{}),
		late:   time.NewTimer(ackTime),
		answer: make(chan uint64, 1), address: make(chan string, 1),
	}
	s.flushed = s.flush
	if of.plan.stream {
		s.stream = &readings{all: map[uint64]turned{}}
	}
	ch, err := c.openChannel(&told{deliver: s.deliver, got: s.got, returns: s.returned})
	if err != nil {
		return nil, err
	}
	s.ch, s.closed = ch, ch.lib.NotifyClose(make(chan *amqp.Error, 1))
	if err := ch.lib.Qos(of.l.prefetch, 0, false); err != nil {
		return nil, err
	}
	if !c.Spawn(s.watch) {
		return nil, c.Lost()
	}
	return s, nil
}

// maxSurplus is how many deliveries beyond twice the prefetch end the
// connection: nothing else would bound what a broker that ignores it can send.
const maxSurplus = 1000

// deliver is told of a message that was delivered.
func (s *session) deliver(a *arrival) {
	if n := s.unsettled(a.tag); n > 2*s.s.l.prefetch+maxSurplus {
		s.c.Fail(&messaging.OpError{Op: "receiving from", Addr: s.c.Host, Err: joined(messaging.ErrConnLost,
			fmt.Errorf("the broker delivered %d messages, with a prefetch of %d", n, s.s.l.prefetch))})
	}
	d := messaging.NewDelivery(a.Message, s)
	d.Source = s.s.plan.index(a.exchange, a.key)
	d.Redelivered, d.Tag = a.redelivered, a.tag
	switch {
	case s.stream != nil:
		if !s.read(a, d) {
			return
		}
	case s.c.caps.DeliveryCount:
		d.Count = max(0, a.count)
	}
	if l := s.s.l; l.deliver == nil || l.inbox.Len() > 0 || !l.deliver(d) {
		l.inbox.Put(polled{d, s})
	}
}

// unsettled notes a delivery, and returns how many nobody has done with. A direct
// reply is the broker's no more once it is sent, so only those count that wait.
func (s *session) unsettled(tag uint64) int {
	if s.s.plan.direct {
		return s.s.l.inbox.Len()
	}
	return s.acks.add(tag)
}

// got is told what basic.get has found; nil: nothing.
func (s *session) got(a *arrival) {
	var tag uint64
	if a != nil {
		tag = a.tag
	}
	select {
	case s.answer <- tag:
	default: // nobody has asked
	}
}

// watch is the goroutine that waits for the end of the channel.
func (s *session) watch() {
	defer close(s.over)
	defer s.late.Stop()
	for {
		select {
		case <-s.late.C:
			s.flush()
		case <-s.closed:
			return
		}
	}
}

// flush writes the acknowledgements that were given.
func (s *session) flush() {
	s.asked.Store(false)
	s.write.Lock()
	defer s.write.Unlock()
	b := s.buf[:0]
	acks := s.acks.flush()
	for _, a := range acks {
		b = appendAck(b, s.ch.number, a.tag, a.multiple)
	}
	s.buf = b
	if len(b) > 0 && s.ch.f.send(s.ch, b) == nil { // else the broker delivers them again
		s.written += int64(len(acks))
	}
}

// count returns how much was written about deliveries.
func (s *session) count() int64 {
	s.write.Lock()
	defer s.write.Unlock()
	return s.written
}

// get asks for one more message of a queue.
func (s *session) get(queue string) error {
	s.write.Lock()
	defer s.write.Unlock()
	s.buf = appendGet(s.buf[:0], s.ch.number, queue)
	return s.ch.f.send(s.ch, s.buf)
}

// Settle implements messaging.Settler.
func (s *session) Settle(_ context.Context, d *messaging.Delivery, o messaging.Outcome) error {
	if s.lost() {
		return &messaging.OpError{Op: "settling a delivery", Err: messaging.ErrConnLost}
	}
	switch {
	case s.stream != nil:
		s.settleReading(d, o)
		return nil
	case s.s.plan.direct:
		return nil
	case o != messaging.Ack:
		return s.refuse(d.Tag, o == messaging.Requeue)
	}
	n := s.acks.ack(d.Tag)
	if s.s.l.reply != "" && n < min(ackSize, s.s.l.prefetch/4) {
		if n == 1 {
			s.late.Reset(ackTime)
		}
		return nil
	}
	s.awaken()
	return nil
}

// awaken has the acknowledgements written with what the connection writes next:
// all that were given until then.
func (s *session) awaken() {
	if s.asked.CompareAndSwap(false, true) {
		s.c.raw.Later(s.flushed)
	}
}

// Acknowledgements of replies wait for each other, so many or so long: a reply
// that comes again is dropped, by a caller who has it. A request that comes again
// may be executed again, so these do not wait.
const (
	ackSize = 64
	ackTime = 5 * time.Millisecond
)

// refuse requeues or drops a delivery.
func (s *session) refuse(tag uint64, requeue bool) error {
	s.write.Lock()
	defer s.write.Unlock()
	s.buf = appendNack(s.buf[:0], s.ch.number, tag, requeue)
	if err := s.ch.f.send(s.ch, s.buf); err != nil {
		return &messaging.OpError{Op: "settling a delivery", Err: joined(messaging.ErrConnLost, err)}
	}
	s.written++
	s.acks.remove(tag)
	return nil
}

// lost reports whether the deliveries of the session are the broker's again.
func (s *session) lost() bool {
	select {
	case <-s.c.Done(): // the library notices a little later
		return true
	default:
		return s.ch.lib.IsClosed()
	}
}
