package rabbit

import (
	"context"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/patchbay-go/patchbay/internal/coalesce"
	"github.com/patchbay-go/patchbay/internal/gate"
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

	// farewell bounds the closing handshake.
	farewell = time.Second
)

// conn implements messaging.Conn over one connection to a broker. The client
// library's calls that wait for the broker know no context; they are made in
// goroutines of the conn, which await waits for, and closing the socket ends
// them all.
//
// Lock order: opening, lane.mu or session.write, then frames.mu or confirms.mu; no other two are held
// together.
type conn struct {
	o      *options
	host   string
	raw    *coalesce.Conn
	frames *frames          // over raw
	amqp   *amqp.Connection // over frames
	caps   messaging.Capabilities
	memory *memory // of all connections of the driver
	window int
	write  time.Duration // the write timeout

	gate    gate.Gate
	direct  *publisher
	fanout  *publisher
	grouped *publisher // calls and replies
	control *control

	opening sync.Mutex // held while a channel is opened

	life context.Context //nolint:containedctx // ends with the connection
	end  context.CancelFunc
	done chan struct{} // closed when it is lost or closed

	mu      sync.Mutex // protects what follows
	err     error      // why done is closed
	leaving bool       // Close was called
	closing bool       // no goroutine is started any more
	running sync.WaitGroup
}

var _ messaging.Conn = (*conn)(nil)

func newConn(ctx context.Context, d *driver, host string, f *frames, opened *amqp.Connection) *conn {
	version, _ := opened.Properties["version"].(string)
	c := &conn{
		o: d.o, host: host, raw: f.Conn, frames: f, amqp: opened, memory: d.memory, window: d.window, write: d.writeTimeout(),
		caps: d.o.capabilities(version),
		done: make(chan struct{}),
	}
	c.gate.MaxCount, c.gate.MaxBytes = d.window, windowBytes
	c.direct, c.fanout, c.grouped = newPublisher(c, false), newPublisher(c, false), newPublisher(c, true)
	c.control = newControl(c)
	c.life, c.end = context.WithCancel(context.WithoutCancel(ctx))
	blocked := opened.NotifyBlocked(make(chan amqp.Blocking))
	closed := opened.NotifyClose(make(chan *amqp.Error, 1))
	c.spawn(func() { c.watch(blocked, closed) })
	return c
}

// Capabilities implements messaging.Conn.
func (c *conn) Capabilities() messaging.Capabilities { return c.caps }

// Done implements messaging.Conn.
func (c *conn) Done() <-chan struct{} { return c.done }

// Err implements messaging.Conn.
func (c *conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Send implements messaging.Conn.
func (c *conn) Send(ctx context.Context, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
	if err := c.send(ctx, to, m, done); err != nil {
		return &messaging.OpError{Op: "publishing to", Addr: to.String(), Err: joined(messaging.ErrNotSent, err)}
	}
	return nil
}

func (c *conn) send(ctx context.Context, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
	if err := c.lost(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r := c.o.route(to)
	if err := check(m, r, c.caps.MaxMessage, c.amqp.Config.FrameSize); err != nil {
		return err
	}
	if err := c.prepare(ctx, to, r, m.Ensure); err != nil {
		return err
	}
	if err := c.gate.Enter(ctx, len(m.Body)); err != nil {
		return err
	}
	p := c.direct
	switch {
	case to.Fanout:
		p = c.fanout
	case (m.Call || to.Kind == messaging.KindReply) && m.OrderKey == "" && !c.o.lasting():
		p = c.grouped
	}
	mandatory := m.Mandatory && (to.Kind != messaging.KindReply || c.o.directMandatory)
	err := p.publish(ctx, r, m, mandatory, sent{to: to, c: done, bytes: len(m.Body)})
	if err != nil {
		c.gate.Leave(1, len(m.Body))
	}
	return err
}

// prepare declares what a publish needs: its exchange and, if asked to, the
// queue.
func (c *conn) prepare(ctx context.Context, to messaging.Address, r route, ensure bool) error {
	switch {
	case ensure && to.Kind != messaging.KindReply && !to.Fanout:
		p := c.o.source(to, "", 0)
		return c.control.once(ctx, "queue "+r.exchange.name+" "+r.key, func(ch *amqp.Channel) error { return p.declare(ch) })
	case r.exchange.name == "" || c.control.knows(r.exchange.name):
		return nil
	}
	return c.prepareExchange(ctx, r.exchange)
}

// prepareExchange declares an exchange, unless that was done.
func (c *conn) prepareExchange(ctx context.Context, x exchange) error {
	return c.control.once(ctx, x.name, func(ch *amqp.Channel) error { return x.declare(ch) })
}

// watch is the goroutine that hears of the connection's state.
func (c *conn) watch(blocked <-chan amqp.Blocking, closed <-chan *amqp.Error) {
	for {
		select {
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
			c.gate.Block(b.Active)
		case e := <-closed:
			c.fail(c.why(e))
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
	return &messaging.OpError{Op: "talking to", Addr: c.host, Err: reason}
}

// fail ends the connection for a reason, if it has not ended yet.
func (c *conn) fail(err error) {
	c.mu.Lock()
	first := c.err == nil
	if c.leaving {
		err = c.closed()
	}
	if first {
		c.err = err
		close(c.done)
	}
	c.mu.Unlock()
	if !first {
		return
	}
	c.end()
	c.gate.Shut(err)
	c.raw.Abort() // frees the library, if it is in a Write
}

func (c *conn) closed() error {
	return &messaging.OpError{Op: "talking to", Addr: c.host, Err: messaging.ErrClosed}
}

// lost returns why nothing can be done with the connection any more, or nil.
func (c *conn) lost() error {
	if err := c.Err(); err != nil {
		return err
	}
	if err := c.raw.Err(); err != nil {
		return joined(messaging.ErrConnLost, err)
	}
	return nil
}

// spawn runs f in a goroutine that Close waits for, and reports whether it
// does: not after Close.
func (c *conn) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	c.running.Go(f)
	return true
}

// await calls f, which may wait for the broker, and waits for it until ctx
// ends. f goes on then, and ends with the connection at the latest. If the
// connection is closed, f is not called.
func (c *conn) await(ctx context.Context, f func() error) error {
	result := make(chan error, 1)
	if !c.spawn(func() { result <- f() }) {
		return c.lost()
	}
	select {
	case err := <-result:
		return explain(err)
	case <-ctx.Done():
	}
	select {
	case <-c.done: // f ends now, and knows why
		return explain(<-result)
	default:
		return context.Cause(ctx)
	}
}

// Close implements messaging.Conn.
func (c *conn) Close(ctx context.Context) error {
	c.mu.Lock()
	c.leaving = true
	c.mu.Unlock()
	c.gate.Shut(c.closed())
	if c.Err() == nil {
		select {
		case <-c.gate.Empty():
		case <-c.done:
		case <-ctx.Done():
		}
	}
	c.goodbye(ctx)
	c.fail(c.closed())

	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.running.Wait()
	return nil
}

// goodbye does the closing handshake, within bounds, if there is a connection.
func (c *conn) goodbye(ctx context.Context) {
	if c.lost() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	_ = c.await(ctx, c.amqp.Close)
}
