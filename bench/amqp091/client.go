package amqp091

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/bench"
)

// Dial implements bench.System.
func (y system) Dial(ctx context.Context, s *bench.Spec) (bench.Client, error) {
	l, err := y.open(ctx, s)
	if err != nil {
		return nil, err
	}
	body := bytes.Repeat([]byte("x"), s.Size)
	if s.Pattern != bench.Call {
		if err := l.ch.Confirm(false); err != nil {
			return nil, errors.Join(err, l.conn.Close())
		}
		p := &publisher{link: l, key: name(s), body: body}
		if s.Pattern == bench.Fanout {
			p.exchange, p.key = name(s), ""
		}
		return p, nil
	}
	request := amqp.Publishing{ReplyTo: directReplyTo, Body: body}
	if y.alike {
		q, err := l.ch.QueueDeclare("", false, true, true, false, nil)
		if err != nil {
			return nil, errors.Join(err, l.conn.Close())
		}
		if request, err = alikeRequest(q.Name, body); err != nil {
			return nil, errors.Join(err, l.conn.Close())
		}
	}
	replies, err := l.ch.Consume(request.ReplyTo, "", true, false, false, false, nil)
	if err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
	c := &caller{link: l, queue: name(s), request: request, mandatory: y.alike, waiting: make(map[string]chan []byte), ended: make(chan struct{})}
	go c.receive(replies)
	return c, nil
}

// publisher waits for the confirmation of each publish.
type publisher struct {
	*link
	exchange, key string
	body          []byte
}

var errRefused = errors.New("the broker refused the message")

// Do implements bench.Client.
func (p *publisher) Do(ctx context.Context) error {
	m := amqp.Publishing{Body: p.body}
	confirmation, err := p.ch.PublishWithDeferredConfirmWithContext(ctx, p.exchange, p.key, false, false, m)
	if err != nil {
		return err
	}
	ok, err := confirmation.WaitContext(ctx)
	if err == nil && !ok {
		err = errRefused
	}
	return err
}

// caller matches replies to calls.
type caller struct {
	*link
	queue     string
	request   amqp.Publishing // but for its ids
	mandatory bool            // and the reply, too; then it has a message-id

	ended chan struct{}

	mu      sync.Mutex
	last    uint64                 // guarded by mu, like all below
	waiting map[string]chan []byte // nil: nothing comes any more
}

// Do implements bench.Client.
func (c *caller) Do(ctx context.Context) error {
	id, reply := c.begin()
	if reply == nil {
		return amqp.ErrClosed
	}
	m := c.request
	m.CorrelationId = id
	if c.mandatory {
		m.MessageId = id
	}
	if err := c.ch.PublishWithContext(ctx, "", c.queue, c.mandatory, false, m); err != nil {
		return err
	}
	select {
	case _, ok := <-reply:
		if !ok {
			return amqp.ErrClosed
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

func (c *caller) receive(replies <-chan amqp.Delivery) {
	defer close(c.ended)
	for d := range replies {
		c.mu.Lock()
		reply := c.waiting[d.CorrelationId]
		delete(c.waiting, d.CorrelationId)
		c.mu.Unlock()
		if reply != nil {
			reply <- d.Body
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
