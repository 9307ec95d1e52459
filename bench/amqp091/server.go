package amqp091

import (
	"bytes"
	"context"
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/bench"
)

// ackEvery bounds how many acknowledgements wait for company.
const ackEvery = 32

// server answers on the goroutine that receives.
type server struct {
	*link
	tally  *bench.Tally
	reply  bool
	tuned  bool
	alike  bool
	answer amqp.Publishing // but for ids, and the body unless alike
	ended  chan struct{}
	err    error // set before ended is closed
}

// Serve implements bench.System.
func (y system) Serve(ctx context.Context, s *bench.Spec, _ int, t *bench.Tally) (bench.Closer, error) {
	l, err := y.open(ctx, s)
	if err != nil {
		return nil, err
	}
	deliveries, err := subscribe(l.ch, s)
	if err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
	v := &server{link: l, tally: t, reply: s.Pattern == bench.Call, tuned: y.tuned, alike: y.alike, ended: make(chan struct{})}
	if v.alike {
		if v.answer, err = alikeReply(bytes.Repeat([]byte("x"), s.Size)); err != nil {
			return nil, errors.Join(err, l.conn.Close())
		}
	}
	go v.run(context.WithoutCancel(ctx), deliveries)
	return v, nil
}

// subscribe declares what the pattern needs, to be gone with the last user,
// and consumes it.
func subscribe(ch *amqp.Channel, s *bench.Spec) (<-chan amqp.Delivery, error) {
	if err := ch.Qos(max(prefetch, s.InFlight), 0, false); err != nil {
		return nil, err
	}
	queue, exclusive := name(s), s.Pattern == bench.Fanout
	if exclusive {
		queue = "" // named by the broker
		if err := ch.ExchangeDeclare(name(s), amqp.ExchangeFanout, false, true, false, false, nil); err != nil {
			return nil, err
		}
	}
	q, err := ch.QueueDeclare(queue, false, true, exclusive, false, nil)
	if err != nil {
		return nil, err
	}
	if exclusive {
		if err := ch.QueueBind(q.Name, "", name(s), false, nil); err != nil {
			return nil, err
		}
	}
	return ch.Consume(q.Name, "", false, exclusive, false, false, nil)
}

func (v *server) run(ctx context.Context, deliveries <-chan amqp.Delivery) {
	defer close(v.ended)
	waiting := 0
	for d := range deliveries {
		waiting++
		if !v.tuned || waiting == ackEvery || len(deliveries) == 0 {
			if v.err = d.Ack(waiting > 1); v.err != nil {
				return
			}
			waiting = 0
		}
		if v.reply {
			m := v.answer
			if m.CorrelationId = d.CorrelationId; v.alike {
				m.MessageId = d.CorrelationId
			} else {
				m.Body = d.Body
			}
			if v.err = v.ch.PublishWithContext(ctx, "", d.ReplyTo, v.alike, false, m); v.err != nil {
				return
			}
		}
		v.tally.Add()
	}
}

// Close implements bench.Closer.
func (v *server) Close(ctx context.Context) error {
	err := v.link.Close(ctx)
	<-v.ended
	return errors.Join(v.err, err)
}
