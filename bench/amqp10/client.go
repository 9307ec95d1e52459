package amqp10

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"sync"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/bench"
)

// Dial implements bench.System.
func (y system) Dial(ctx context.Context, s *bench.Spec) (bench.Client, error) {
	l, err := y.open(ctx, s)
	if err != nil {
		return nil, err
	}
	c, err := y.client(ctx, l, s)
	if err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
	return c, nil
}

func (y system) client(ctx context.Context, l *link, s *bench.Spec) (bench.Client, error) {
	address, subject, capabilities := l.address(s, false)
	sender, err := l.sender(ctx, address, capabilities, y.settled || s.Pattern == bench.Call)
	if err != nil {
		return nil, err
	}
	body := bytes.Repeat([]byte("x"), s.Size)
	if s.Pattern != bench.Call {
		return &publisher{link: l, sender: sender, subject: subject, body: body}, nil
	}
	replies, err := l.session.NewReceiver(ctx, "", &amqp.ReceiverOptions{DynamicAddress: true, Credit: max(credit, int32(s.InFlight))}) //nolint:gosec // few
	if err != nil {
		return nil, err
	}
	c := &caller{
		link: l, sender: sender, replies: replies, replyTo: replies.Address(), body: body,
		waiting: make(map[string]chan []byte), ended: make(chan struct{}),
	}
	go c.receive(context.WithoutCancel(ctx))
	return c, nil
}

// publisher waits for the outcome of each message, if it is told.
type publisher struct {
	*link
	sender  *amqp.Sender
	subject string
	body    []byte
}

// Do implements bench.Client.
func (p *publisher) Do(ctx context.Context) error {
	m := amqp.NewMessage(p.body)
	if p.subject != "" {
		m.Properties = &amqp.MessageProperties{Subject: &p.subject}
	}
	return p.sender.Send(ctx, m, nil)
}

// caller matches replies to calls.
type caller struct {
	*link
	sender  *amqp.Sender
	replies *amqp.Receiver
	replyTo string
	body    []byte
	ended   chan struct{}

	mu      sync.Mutex
	last    uint64                 // guarded by mu, like all below
	waiting map[string]chan []byte // nil: nothing comes any more
}

var errClosed = errors.New("the connection is closed")

// Do implements bench.Client.
func (c *caller) Do(ctx context.Context) error {
	id, reply := c.begin()
	if reply == nil {
		return errClosed
	}
	m := amqp.NewMessage(c.body)
	m.Properties = &amqp.MessageProperties{MessageID: id, ReplyTo: &c.replyTo}
	if err := c.sender.Send(ctx, m, nil); err != nil {
		return err
	}
	select {
	case _, ok := <-reply:
		if !ok {
			return errClosed
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *caller) begin() (string, chan []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		return "", nil
	}
	c.last++
	id, reply := strconv.FormatUint(c.last, 36), make(chan []byte, 1)
	c.waiting[id] = reply
	return id, reply
}

func (c *caller) receive(ctx context.Context) {
	defer close(c.ended)
	for {
		m, err := c.replies.Receive(ctx, nil)
		if err == nil {
			err = c.replies.AcceptMessage(ctx, m)
		}
		if err != nil {
			break
		}
		id, _ := m.Properties.CorrelationID.(string)
		c.mu.Lock()
		reply := c.waiting[id]
		delete(c.waiting, id)
		c.mu.Unlock()
		if reply != nil {
			reply <- m.GetData()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, reply := range c.waiting {
		close(reply)
	}
	c.waiting = nil
}

// Close implements bench.Client.
func (c *caller) Close(ctx context.Context) error {
	err := c.link.Close(ctx)
	<-c.ended
	return err
}
