package rabbit

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

// This file names private queues with use_queue_manager: by host, program and a
// number, so that a service that starts again finds those which it had, instead of
// leaving some behind each time.
//
// oslo.messaging takes the numbers from a file that all processes of a host share. Here
// the broker gives them out: who may declare the exclusive queue "<host>:<program>:<number>"
// has the number, until its connection ends.

// maxManaged bounds the search for a number that is free.
const maxManaged = 1000

// notices is after how many heartbeats a broker has surely noticed that a connection is
// gone: RabbitMQ takes two to three.
const notices = 4

// manage gives the queue of a plan its name. One that was found is emptied: what
// was sent before its listener came is not for it.
func (c *conn) manage(p *plan, k *kept) error {
	if k.number > 0 { // again, over another connection
		taken, err := c.lock(k.number)
		if taken && k.waits(time.Now(), notices*c.write) {
			err, taken = errors.New("the broker has not noticed yet that our last connection is gone"), false
		}
		switch {
		case err != nil:
			return fmt.Errorf("taking queue %q: %w", p.prefix+c.o.managed(k.number), err)
		case !taken:
			k.taken = time.Time{}
			p.queue.name = p.prefix + c.o.managed(k.number)
			return nil
		}
		c.memory.disclaim(k) // it is another's, who began while we were away
	}
	if n := len(p.prefix + c.o.managed(maxManaged)); n > maxShortString {
		return fmt.Errorf("%w: a queue name of %d bytes, %d are possible: give a shorter hostname or processname: %w",
			messaging.ErrInvalidTarget, n, maxShortString, messaging.ErrPermanent)
	}
	for n := 1; n <= maxManaged; n++ {
		if !c.memory.claim(k, n) {
			continue
		}
		p.queue.name = p.prefix + c.o.managed(n)
		taken, err := c.occupy(p.queue, n)
		if err == nil && !taken {
			return nil
		}
		c.memory.disclaim(k)
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: %d listeners of host %q and program %q are there already: give each program its own processname",
		messaging.ErrPermanent, maxManaged, c.o.hostname, c.o.processname)
}

// occupy takes a number and its queue, unless somebody else has one of the two.
func (c *conn) occupy(q queue, n int) (taken bool, err error) {
	if taken, err = c.lock(n); taken || err != nil {
		return taken, err
	}
	free, err := c.vacate(q)
	if !free || err != nil {
		c.unlock(n)
	}
	return !free, err
}

// vacate reports whether nobody listens to a queue, not even a peer that knows no
// locks, and if so empties it.
func (c *conn) vacate(q queue) (free bool, err error) {
	err = c.control.do(c.Context(), func(ch *amqp.Channel) error {
		state, err := ch.QueueDeclare(q.name, q.durable, q.autoDelete, false, false, q.args)
		if err != nil {
			return err
		}
		if free = state.Consumers == 0; free && state.Messages > 0 {
			_, err = ch.QueuePurge(q.name, false)
		}
		return err
	})
	return free, err
}

// lock takes a number until the connection ends, unless somebody else has it.
func (c *conn) lock(n int) (taken bool, err error) {
	err = c.control.do(c.Context(), func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(c.o.managed(n), false, true, true, false, nil)
		if taken = isCode(err, amqp.ResourceLocked); taken {
			return nil
		}
		return err
	})
	return taken, err
}

// unlock gives a number back. If it cannot, that happens with the connection's end.
func (c *conn) unlock(n int) {
	_ = c.control.do(c.Context(), func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(c.o.managed(n), false, false, false)
		return err
	})
}

// managed returns what a number stands for.
func (o *options) managed(n int) string {
	return o.hostname + ":" + o.processname + ":" + strconv.Itoa(n)
}

func isCode(err error, code int) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Code == code
}
