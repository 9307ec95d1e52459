package rabbit

import (
	"context"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
)

// control declares, binds and deletes, on a channel of its own: a refusal
// closes the channel, and must not take publishes and consumers with it. One
// at a time.
type control struct {
	c    *conn
	turn chan struct{} // whose it is uses ch
	ch   *amqp.Channel // nil: none was opened yet

	mu       sync.Mutex // protects declared
	declared map[string]bool
}

// maxDeclared bounds what is remembered: a process that makes up topics must
// not grow for ever.
const maxDeclared = 4096

func newControl(c *conn) *control {
	return &control{c: c, turn: make(chan struct{}, 1), declared: map[string]bool{}}
}

// do calls f with the channel and waits for it until ctx ends; f goes on then.
func (t *control) do(ctx context.Context, f func(*amqp.Channel) error) error {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.c.Done():
		return t.c.Lost()
	}
	return t.c.Await(ctx, func() error {
		defer func() { <-t.turn }()
		return t.c.Answer("declaring or deleting", func() error {
			if t.ch == nil || t.ch.IsClosed() {
				ch, err := t.c.openChannel(&told{})
				if err != nil {
					return err
				}
				t.ch = ch.lib
			}
			return f(t.ch)
		})
	})
}

// once calls f as do does, unless it was called with success for that key
// since the last forget.
func (t *control) once(ctx context.Context, key string, f func(*amqp.Channel) error) error {
	if t.knows(key) {
		return nil
	}
	return t.do(ctx, func(ch *amqp.Channel) error {
		if t.knows(key) {
			return nil
		}
		if err := f(ch); err != nil {
			return err
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if len(t.declared) >= maxDeclared {
			clear(t.declared)
		}
		t.declared[key] = true
		return nil
	})
}

func (t *control) knows(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.declared[key]
}

// forget makes once call its func again for every key.
func (t *control) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.declared)
}

func (x exchange) declare(ch *amqp.Channel) error {
	return ch.ExchangeDeclare(x.name, x.kind, x.durable, x.autoDelete, false, false, nil)
}

// declare declares a queue with its exchanges and bindings.
func (p *plan) declare(ch *amqp.Channel) error {
	for _, b := range p.bindings {
		if err := b.exchange.declare(ch); err != nil {
			return err
		}
	}
	q := p.queue
	if _, err := ch.QueueDeclare(q.name, q.durable, q.autoDelete, false, false, q.args); err != nil {
		return err
	}
	for _, b := range p.bindings {
		if err := ch.QueueBind(q.name, b.key, b.exchange.name, false, nil); err != nil {
			return err
		}
	}
	return nil
}
