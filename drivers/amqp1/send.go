package amqp1

import (
	"context"
	"errors"
	"fmt"

	"github.com/patchbay-go/patchbay/messaging"
)

// Send implements messaging.Conn.
func (c *conn) Send(ctx context.Context, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
	if to.Kind == messaging.KindReply && c.p.answers != nil && !c.p.answers(to.Direct) {
		return &messaging.OpError{Op: "sending to", Addr: to.String(), Err: joined(messaging.ErrNoRoute,
			fmt.Errorf("%w: it is not the address of a queue", messaging.ErrReplyRefused))}
	}
	if err := c.send(ctx, to, m, done); err != nil {
		return &messaging.OpError{Op: "sending to", Addr: to.String(), Err: joined(messaging.ErrNotSent, err)}
	}
	return nil
}

func (c *conn) send(ctx context.Context, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
	if err := c.Lost(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := check(to, m, c.caps.MaxMessage); err != nil {
		return err
	}
	target := c.routes.to(c, to)
	o := outgoing{to: to, c: done, bytes: len(m.Body), must: m.Mandatory || to.Kind == messaging.KindReply}
	if m.Ensure && to.Kind != messaging.KindReply && !to.Fanout && c.nodes != nil {
		if q := c.plan(c.address.node(to), "", 0).queue; q != nil {
			if err := c.nodes.ensure(ctx, q); err != nil {
				return err
			}
			o.queue = q.name
		}
	}
	if err := c.raw.Room(ctx, roomBytes); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("the peer takes no messages at the moment: %w", err)
		}
		return joined(messaging.ErrConnLost, err)
	}
	l := c.lanes.use(target)
	later, err := l.send(ctx, m, target, o, c.settles(to, m))
	if later {
		return nil
	}
	l.open.Add(-1)
	switch {
	case !errors.Is(err, errNoNode):
	case o.queue != "": // it is gone, since it was declared
		c.nodes.forget(o.queue)
	default: // where none is, nobody listens
		if err = nil; o.must {
			o.result = messaging.ErrNoRoute
		}
	}
	if err == nil {
		o.tell()
	}
	return err
}

// settles reports whether a message is settled when it is sent. What is answered,
// and the answers, are: the reply says as much as an outcome would, and costs half.
// All others wait for theirs, and so does what must arrive, where it is an outcome
// that tells.
func (c *conn) settles(to messaging.Address, m *messaging.Message) bool {
	return (to.Kind == messaging.KindReply || m.ReplyTo != "" || c.o.settledCasts && to.Kind == messaging.KindRPC && !m.Durable) &&
		!(m.Mandatory && c.p.noRoute)
}

// finish tells the outcomes of messages that were sent.
func (c *conn) finish(done []outgoing) {
	bytes := 0
	for i := range done {
		bytes += done[i].bytes
		done[i].from.lane.open.Add(-1)
		done[i].tell()
	}
	c.Told(len(done), bytes)
}
