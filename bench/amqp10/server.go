package amqp10

import (
	"context"
	"errors"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/bench"
)

// server answers on the goroutine that receives.
type server struct {
	*link
	requests *amqp.Receiver
	replies  map[string]*amqp.Sender // by reply address
	tally    *bench.Tally
	reply    bool
	ended    chan struct{}
	err      error // set before ended is closed
}

// Serve implements bench.System.
func (y system) Serve(ctx context.Context, s *bench.Spec, _ int, t *bench.Tally) (bench.Closer, error) {
	l, err := y.open(ctx, s)
	if err != nil {
		return nil, err
	}
	address, _, capabilities := l.address(s, true)
	requests, err := l.session.NewReceiver(ctx, address, &amqp.ReceiverOptions{
		Credit: max(credit, int32(s.InFlight)), SourceCapabilities: capabilities, //nolint:gosec // few
	})
	if err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
	v := &server{
		link: l, requests: requests, replies: map[string]*amqp.Sender{}, tally: t,
		reply: s.Pattern == bench.Call, ended: make(chan struct{}),
	}
	go v.run(context.WithoutCancel(ctx))
	return v, nil
}

func (v *server) run(ctx context.Context) {
	defer close(v.ended)
	for {
		m, err := v.requests.Receive(ctx, nil)
		if err == nil {
			err = v.requests.AcceptMessage(ctx, m)
		}
		if err == nil && v.reply {
			err = v.answer(ctx, m)
		}
		if err != nil {
			var closed *amqp.ConnError
			if !errors.As(err, &closed) {
				v.err = err
			}
			return
		}
		v.tally.Add()
	}
}

func (v *server) answer(ctx context.Context, m *amqp.Message) error {
	to := *m.Properties.ReplyTo
	sender, ok := v.replies[to]
	if !ok {
		var err error
		if sender, err = v.sender(ctx, to, nil, true); err != nil {
			return err
		}
		v.replies[to] = sender
	}
	r := amqp.NewMessage(m.GetData())
	r.Properties = &amqp.MessageProperties{CorrelationID: m.Properties.MessageID}
	return sender.Send(ctx, r, nil)
}

// Close implements bench.Closer.
func (v *server) Close(ctx context.Context) error {
	err := v.link.Close(ctx)
	<-v.ended
	return errors.Join(v.err, err)
}
