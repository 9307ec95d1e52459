package main

import (
	"context"
	"errors"
	"log/slog"
	"strconv"

	"github.com/patchbay-go/patchbay/bench"
	"github.com/patchbay-go/patchbay/drivers/zmq"
	"github.com/patchbay-go/patchbay/messaging"
)

// driver is the zmq driver below the core: messages without RPC, each with its
// credit and its acknowledgement.
type driver struct{ apart }

func (driver) dial(ctx context.Context, s *bench.Spec) (messaging.Conn, error) {
	u, err := messaging.ParseURL(s.URL)
	if err != nil {
		return nil, err
	}
	d, _, err := zmq.Open(u, &messaging.Options{Logger: slog.Default(), Window: highWater})
	if err != nil {
		return nil, err
	}
	return d.Dial(ctx, messaging.Endpoint{
		Name: "bench", Host: u.Hosts[0].HostPort(), Hosts: []messaging.HostPort{u.Hosts[0].HostPort()},
		Credentials: func(context.Context) (messaging.Credentials, error) { return messaging.Credentials{}, nil },
	})
}

// highWater is how many messages may be under way: what libzmq's default is.
const highWater = 1000

func topicOf(s *bench.Spec) messaging.Address { return messaging.Target{Topic: s.Topic}.Address() }

// Serve implements bench.System.
func (y driver) Serve(ctx context.Context, s *bench.Spec, _ int, t *bench.Tally) (bench.Closer, error) {
	c, err := y.dial(ctx, s)
	if err != nil {
		return nil, err
	}
	l, err := c.Listen(ctx, messaging.Subscription{Sources: []messaging.Address{topicOf(s)}, Prefetch: highWater})
	if err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	life := context.WithoutCancel(ctx)
	go func() {
		for {
			d, err := l.Poll(life)
			if err != nil {
				return
			}
			t.Add()
			_ = d.Settle(life, messaging.Ack)
			if d.ReplyTo != "" {
				to := messaging.Address{Kind: messaging.KindReply, Direct: d.ReplyTo}
				_ = c.Send(life, to, &messaging.Message{CorrelationID: d.CorrelationID, Body: d.Body}, nil)
			}
		}
	}()
	return c, nil
}

// Dial implements bench.System.
func (y driver) Dial(ctx context.Context, s *bench.Spec) (bench.Client, error) {
	conn, err := y.dial(ctx, s)
	if err != nil {
		return nil, err
	}
	c := &driverClient{
		Conn: conn, pending: newPending(), call: s.Pattern == bench.Call, to: topicOf(s),
		message: messaging.Message{Body: make([]byte, s.Size)},
	}
	if !c.call {
		return c, nil
	}
	l, err := conn.Listen(ctx, messaging.Subscription{Reply: "here", Prefetch: 1024})
	if err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	life := context.WithoutCancel(ctx)
	go func() {
		defer close(c.err)
		for {
			d, err := l.Poll(life)
			if err != nil {
				return
			}
			id, _ := strconv.ParseUint(d.CorrelationID, 10, 64) // our own
			c.done(id)
		}
	}()
	return c, nil
}

type driverClient struct {
	messaging.Conn
	*pending
	call    bool
	to      messaging.Address
	message messaging.Message // of all one-way sends: Send only reads it
}

// Do implements bench.Client.
func (c *driverClient) Do(ctx context.Context) error {
	if !c.call {
		return c.Send(ctx, c.to, &c.message, nil)
	}
	return c.do(func(id uint64) error {
		return c.Send(ctx, c.to, &messaging.Message{CorrelationID: strconv.FormatUint(id, 10), ReplyTo: "here", Body: c.message.Body}, nothing{})
	})
}

// nothing is told outcomes that nobody asks for.
type nothing struct{}

func (nothing) Complete(error) {}
