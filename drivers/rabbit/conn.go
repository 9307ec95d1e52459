package rabbit

import (
	"context"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/internal/coalesce"
	"github.com/patchbay-go/patchbay/internal/lifetime"
	"github.com/patchbay-go/patchbay/messaging"
)

const (
	// windowBytes bounds the bodies whose outcome is not known; a larger
	// message goes alone.
	windowBytes = 8 << 20

	// bufferLimit is above what the gate lets in: the window, or one message of
	// the largest size that RabbitMQ can be set to, and acknowledgements. So the
	// library, which holds locks while it writes, never waits for the network.
	bufferLimit = windowBytes + 512<<20 + 8<<20
)

// conn implements messaging.Conn over one connection to a broker. The client
// library's calls that wait for the broker know no context; they are made in
// goroutines of the conn, which await waits for, and closing the socket ends
// them all.
//
// Lock order: opening, lane.mu or session.write, then frames.mu or confirms.mu; no other two are held
// together.
type conn struct {
	lifetime.Lifetime

	o       *options
	raw     *coalesce.Conn
	frames  *frames          // over raw
	amqp    *amqp.Connection // over frames
	caps    messaging.Capabilities
	version string  // of the broker; empty: it does not tell
	old     bool    // it is below 4.2, for all we know: see direct.go
	memory  *memory // of all connections of the driver
	window  int
	write   time.Duration // the write timeout

	direct  *publisher
	fanout  *publisher
	grouped *publisher // calls and replies
	control *control

	opening sync.Mutex // held while a channel is opened
}

var _ messaging.Conn = (*conn)(nil)

func newConn(ctx context.Context, d *driver, host string, f *frames, opened *amqp.Connection) *conn {
	version, _ := opened.Properties["version"].(string)
	c := &conn{
		o: d.o, raw: f.Conn, frames: f, amqp: opened, memory: d.memory, window: d.window, write: d.writeTimeout(),
		caps: d.o.capabilities(version), version: version, old: !reaches(version, 4, 2),
	}
	c.Patience = d.patience
	c.Begin(ctx, host, f.Conn, explain)
	c.Gate.MaxCount, c.Gate.MaxBytes = d.window, windowBytes
	c.direct, c.fanout, c.grouped = newPublisher(c, false), newPublisher(c, false), newPublisher(c, true)
	c.control = newControl(c)
	blocked := opened.NotifyBlocked(make(chan amqp.Blocking))
	closed := opened.NotifyClose(make(chan *amqp.Error, 1))
	c.Spawn(func() { c.watch(blocked, closed) })
	return c
}

// Capabilities implements messaging.Conn.
func (c *conn) Capabilities() messaging.Capabilities { return c.caps }

// Send implements messaging.Conn.
func (c *conn) Send(ctx context.Context, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
	if err := c.send(ctx, to, m, done); err != nil {
		return &messaging.OpError{Op: "publishing to", Addr: to.String(), Err: joined(messaging.ErrNotSent, err)}
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
	if to.Kind == messaging.KindReply && c.dangerous(to.Direct) {
		if done != nil {
			done.Complete(refused(to))
		}
		return nil
	}
	r := c.o.route(to)
	if err := check(m, r, c.caps.MaxMessage, c.amqp.Config.FrameSize); err != nil {
		return err
	}
	if err := c.prepare(ctx, to, r, m.Ensure); err != nil {
		return err
	}
	if err := c.Gate.Enter(ctx, len(m.Body)); err != nil {
		if blocked, _ := c.Gate.State(); blocked && ctx.Err() != nil {
			return fmt.Errorf("the broker blocks publishers (a memory or disk alarm?): %w", err)
		}
		return err
	}
	p := c.direct
	switch {
	case to.Fanout:
		p = c.fanout
	case (m.Unawaited || to.Kind == messaging.KindReply) && m.OrderKey == "" && !c.o.lasting():
		p = c.grouped
	}
	mandatory := m.Mandatory && (to.Kind != messaging.KindReply || c.o.directMandatory)
	err := p.publish(ctx, r, m, mandatory, sent{to: to, c: done, bytes: len(m.Body)})
	if err != nil {
		c.Gate.Leave(1, len(m.Body))
	}
	return err
}

// prepare declares what a publish needs: its exchange and, if asked to, the
// queue.
func (c *conn) prepare(ctx context.Context, to messaging.Address, r route, ensure bool) error {
	switch {
	case ensure && to.Kind != messaging.KindReply && !to.Fanout:
		p := c.o.source(to, "", 0)
		if p.queue.autoDelete {
			// It may have gone with its last listener. Nothing would tell: the publish
			// declares its exchange again.
			return c.control.do(ctx, p.declare)
		}
		return c.control.once(ctx, "queue "+r.exchange.name+" "+r.key, p.declare)
	case r.exchange.name == "" || c.control.knows(r.exchange.name):
		return nil
	}
	return c.prepareExchange(ctx, r.exchange)
}

// prepareExchange declares an exchange, unless that was done.
func (c *conn) prepareExchange(ctx context.Context, x exchange) error {
	return c.control.once(ctx, x.name, func(ch *amqp.Channel) error { return x.declare(ch) })
}

// watch is the goroutine that hears of the connection's state, and sees that the
// broker answers.
func (c *conn) watch(blocked <-chan amqp.Blocking, closed <-chan *amqp.Error) {
	look := c.Ticks()
	defer look.Stop()
	for {
		select {
		case <-look.C:
			blocked, inside := c.Gate.State()
			c.Look(blocked, inside > 0)
		case b, ok := <-blocked:
			if !ok {
				blocked = nil
				continue
			}
			// A broker that blocks publishers stops reading from them.
			if b.Active {
				c.raw.SetWriteTimeout(0)
			} else {
				c.raw.SetWriteTimeout(c.write)
			}
			c.Gate.Block(b.Active)
		case e := <-closed:
			c.Fail(c.why(e))
			return
		}
	}
}

// why returns the reason of a lost connection. A broken pipe of ours is told
// better by the socket than by the library.
func (c *conn) why(e *amqp.Error) error {
	reason := messaging.ErrConnLost
	if e != nil && e.Server {
		reason = joined(messaging.ErrConnLost, explain(e))
	} else if err := c.raw.Err(); err != nil {
		reason = joined(messaging.ErrConnLost, err)
	} else if e != nil {
		reason = explain(e)
	}
	return &messaging.OpError{Op: "talking to", Addr: c.Host, Err: reason}
}

// Close implements messaging.Conn.
func (c *conn) Close(ctx context.Context) error {
	c.Leave(ctx, c.amqp.Close, func() {})
	return nil
}
