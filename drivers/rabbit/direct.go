package rabbit

import (
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/messaging"
)

// This file receives replies without a queue, with direct_reply_to: the broker
// passes them from the server's channel to ours, and keeps none. That is cheaper
// for the broker by what a queue costs, and nothing is declared or left behind.
// What is on its way when the connection is lost is lost with it, so
// Capabilities.StableReply is false then.
//
// The usual way is to publish each request on the channel that consumes, with a
// placeholder for the address that the broker fills in. Here requests go over any
// connection, so the address is asked for once. ADR 0013 says how, and why.

// directReplyTo is the placeholder, and the queue that is consumed.
const directReplyTo = "amq.rabbitmq.reply-to"

// allowDirect fails for a broker which says of a direct reply that is mandatory
// that it had no route: its sender would send it again and again.
func (c *conn) allowDirect() error {
	if c.old {
		return fmt.Errorf("%w: direct_reply_to needs RabbitMQ 4.2 or later, the broker is %q", messaging.ErrPermanent, c.version)
	}
	return nil
}

// dangerous reports whether a reply to that address could end the connection:
// before 4.2 the broker fails over an address for direct replies that is not one
// of its own making, and anybody can name one in his request.
func (c *conn) dangerous(address string) bool {
	return c.old && strings.HasPrefix(address, directReplyTo)
}

func refused(to messaging.Address) error {
	return &messaging.OpError{Op: "publishing to", Addr: to.String(), Err: joined(messaging.ErrNoRoute,
		fmt.Errorf("%w: direct replies need RabbitMQ 4.2 or later", messaging.ErrReplyRefused))}
}

// reaches reports whether a version is known to be major.minor or later.
func reaches(version string, major, minor int) bool {
	var a, b int
	n, _ := fmt.Sscanf(version, "%d.%d", &a, &b)
	return n == 2 && (a > major || a == major && b >= minor)
}

// consumeDirect consumes direct replies, and makes their address the listener's. A
// message that has no route comes back, with the address filled in. It has no body:
// under an alarm the broker still takes what begins a message, and then reads no more.
func (s *session) consumeDirect() (<-chan amqp.Delivery, error) {
	closed := s.ch.lib.NotifyClose(make(chan *amqp.Error, 1))
	deliveries, err := s.ch.lib.Consume(directReplyTo, s.s.tag, true, false, false, false, nil)
	if err != nil {
		return nil, err
	}
	nowhere := s.s.plan.queue.name
	err = s.ch.lib.PublishWithContext(s.c.Context(), "", nowhere, true, false, amqp.Publishing{ReplyTo: directReplyTo})
	if err != nil {
		return nil, err
	}
	select {
	case address := <-s.address:
		if !strings.HasPrefix(address, directReplyTo+".") {
			return nil, fmt.Errorf("%w: the broker tells no address for direct replies, but %q", messaging.ErrPermanent, address)
		}
		s.s.l.reply = address
		return deliveries, nil
	case e := <-closed:
		if e == nil { // by us
			return nil, amqp.ErrClosed
		}
		return nil, e
	}
}

// returned is told that a message had no route: the one that consumeDirect sends.
func (s *session) returned(a *arrival) {
	select {
	case s.address <- a.ReplyTo:
	default: // nobody has asked
	}
}
