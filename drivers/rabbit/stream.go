package rabbit

import (
	"sync"
	"sync/atomic"
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
	streamOffset = "x-stream-offset" // an argument of consume; its header is headerStreamOffset
	streamMaxAge = "x-max-age"
)

// readings are the unsettled deliveries of a session that reads a stream.
type readings struct {
	turn atomic.Int64 // of the position, for the present consumer

	mu  sync.Mutex        // protects all
	all map[uint64]turned // by delivery tag
}

// turned is an offset, and the turn that it was read in: a consumer after that one, on
// the same channel, may read another stream.
type turned struct{ turn, offset int64 }

// declare declares the queue of a source. A stream that is gone since it was read
// is another one, once it is there again.
func (s *source) declare() error {
	c := s.l.c
	if s.plan.direct {
		return c.allowDirect()
	}
	if s.plan.stream && s.kept.position.began() {
		gone := false
		err := c.control.do(c.Context(), func(ch *amqp.Channel) error {
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
	return c.control.do(c.Context(), s.plan.declare)
}

// arguments returns those of consume.
func (s *source) arguments(session *session) amqp.Table {
	switch {
	case s.plan.stream:
		from, turn := s.kept.position.begin(time.Now())
		session.stream.turn.Store(turn)
		return amqp.Table{streamOffset: from}
	case s.l.c.o.cancelOnFailover:
		return amqp.Table{"x-cancel-on-ha-failover": true}
	}
	return nil
}

// hear returns when a consumer has ended. It ends one whose stream turns out to be
// another than it was, because nothing comes from where that was read.
func (s *source) hear(deliveries <-chan amqp.Delivery) {
	var silence <-chan time.Time
	if s.plan.stream {
		timer := time.NewTimer(min(resumeWait, s.l.c.write))
		defer timer.Stop()
		silence = timer.C
	}
	for {
		select {
		case _, ok := <-deliveries:
			if !ok {
				return
			}
		case <-silence:
			if session := s.current(); s.kept.position.giveUp(session.stream.turn.Load()) {
				s.l.c.closeChannel(session.ch)
			}
		}
	}
}

// read makes d of a message of a stream, and reports false if there is nothing to
// deliver: it was settled before, or the stream is another one than it was. Then
// the session ends, and the next one reads that stream from its beginning. It is
// called on the goroutine that reads.
func (s *session) read(a *arrival, d *messaging.Delivery) bool {
	it := turned{s.stream.turn.Load(), a.offset}
	what := s.s.kept.position.read(it.turn, it.offset, a.Body)
	switch what {
	case foreign:
		s.c.Spawn(func() { s.c.closeChannel(s.ch) })
		return false
	case stale:
		return false
	case settledBefore:
		s.acks.ack(a.tag)
		s.awaken()
		return false
	}
	d.Redelivered = what == openBefore
	s.stream.mu.Lock()
	defer s.stream.mu.Unlock()
	s.stream.all[a.tag] = it
	return true
}

// settleReading settles a delivery of a stream.
func (s *session) settleReading(d *messaging.Delivery, o messaging.Outcome) {
	if o == messaging.Requeue { // it still counts as prefetched
		next := messaging.NewDelivery(d.Message, s)
		next.Source, next.Tag, next.Redelivered = d.Source, d.Tag, true
		s.s.l.inbox.Put(polled{next, s})
		return
	}
	r := s.stream
	r.mu.Lock()
	it, ok := r.all[d.Tag]
	delete(r.all, d.Tag)
	r.mu.Unlock()
	if ok {
		s.s.kept.position.settle(it.turn, it.offset)
	}
	s.acks.ack(d.Tag)
	s.awaken()
}
