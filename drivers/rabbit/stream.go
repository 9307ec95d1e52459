package rabbit

import (
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

// This file reads the stream that all servers of a topic share for fanouts, with
// rabbit_stream_fanout. Reading takes nothing from it, and an acknowledgement makes
// room for more, no more than that: nothing can be given back, so a message that
// shall come again is delivered again by the listener itself.

const (
	queueStream  = "stream"
	streamOffset = "x-stream-offset" // a header of what comes, and an argument of consume
	streamMaxAge = "x-max-age"
)

// readings are the unsettled deliveries of a session that reads a stream.
type readings struct {
	source *source

	mu      sync.Mutex       // protects offsets
	offsets map[uint64]int64 // by delivery tag
}

// declare declares the queue of a source. A stream that is gone since it was read
// is another one, once it is there again.
func (s *source) declare() error {
	c := s.l.c
	if s.plan.stream && s.kept.position.began() {
		gone := false
		err := c.control.do(c.life, func(ch *amqp.Channel) error {
			q := s.plan.queue
			_, err := ch.QueueDeclarePassive(q.name, q.durable, q.autoDelete, false, false, q.args)
			if gone = isCode(err, amqp.NotFound); gone {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
		if gone {
			s.kept.position.restart()
		}
	}
	return c.control.do(c.life, s.plan.declare)
}

// arguments returns those of consume.
func (s *source) arguments() amqp.Table {
	switch {
	case s.plan.stream:
		return amqp.Table{streamOffset: s.kept.position.begin(time.Now())}
	case s.l.c.o.cancelOnFailover:
		return amqp.Table{"x-cancel-on-ha-failover": true}
	}
	return nil
}

// receiveStream passes deliveries on until there are no more, or the stream turns
// out to be another than it was.
func (s *source) receiveStream(deliveries <-chan amqp.Delivery) {
	session, at := s.current(), s.kept.position
	silence := time.NewTimer(min(resumeWait, s.l.c.write))
	defer silence.Stop()
	for {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return
			}
			offset, _ := d.Headers[streamOffset].(int64)
			delete(d.Headers, streamOffset)
			what := at.read(offset, d.Body)
			if what == foreign {
				s.restart(session, deliveries)
				return
			}
			session.opened(d.DeliveryTag, offset)
			if what == settledBefore {
				session.accept(d.DeliveryTag)
				continue
			}
			d.Redelivered = what == openBefore
			s.pass(&d, session)
		case <-silence.C:
			if at.waits() {
				s.restart(session, deliveries)
				return
			}
		}
	}
}

// restart ends a session; the next one reads another stream from its beginning.
func (s *source) restart(session *session, deliveries <-chan amqp.Delivery) {
	s.kept.position.restart()
	_ = session.ch.Close()
	for range deliveries { // else the library would wait for us
		continue
	}
}

// opened notes a delivery and its offset.
func (s *session) opened(tag uint64, offset int64) {
	s.acks.add(tag)
	s.stream.mu.Lock()
	defer s.stream.mu.Unlock()
	s.stream.offsets[tag] = offset
}

// settleReading settles a delivery of a stream.
func (s *session) settleReading(d *messaging.Delivery, o messaging.Outcome) {
	r := s.stream
	if o == messaging.Requeue {
		r.source.again(d, s)
		return
	}
	r.mu.Lock()
	offset, ok := r.offsets[d.Tag]
	delete(r.offsets, d.Tag)
	r.mu.Unlock()
	if ok {
		r.source.kept.position.settle(offset)
	}
	s.accept(d.Tag)
}

// again delivers a message once more. It still counts as prefetched, so there is
// room for it, unless more is prefetched than the inbox holds.
func (s *source) again(d *messaging.Delivery, session *session) {
	next := messaging.NewDelivery(d.Message, session)
	next.Source, next.Tag, next.Redelivered = d.Source, d.Tag, true
	p := polled{next, session}
	select {
	case s.l.inbox <- p:
		return
	default:
	}
	s.l.c.spawn(func() {
		select {
		case s.l.inbox <- p:
		case <-s.l.ended:
		case <-s.l.c.done:
		}
	})
}
