package amqp1

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"time"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/internal/coalesce"
	"github.com/patchbay-go/patchbay/internal/lifetime"
	"github.com/patchbay-go/patchbay/messaging"
)

const (
	// windowBytes bounds the bodies that wait to be written or for their outcome;
	// a larger message goes alone.
	windowBytes = 8 << 20

	// roomBytes is how much may wait to be written before senders wait, each under
	// its own context; bufferLimit is above what can, with all that they then write: the
	// window, or one message of the largest size that a broker is likely to take. So who
	// writes, with a session's lock held, never waits for the network.
	roomBytes   = 1 << 20
	bufferLimit = roomBytes + 2*windowBytes + 512<<20

	// laneIdle is how long a link for sending may be unused: one costs 43 KB.
	laneIdle = 10 * time.Minute
)

// conn implements messaging.Conn over one connection to a peer. The client
// library waits, with its locks held, for a peer that takes nothing, and heeds no
// context then; so it is called by goroutines of the conn only, which end with
// the connection. Messages do not pass through it: see frames.
type conn struct {
	lifetime.Lifetime

	o       *options
	p       *profile
	address addressing
	native  nativeAddresses
	raw     *coalesce.Conn
	frames  *frames
	amqp    *amqp.Conn
	caps    messaging.Capabilities

	lanes  lanes
	routes routes
	nodes  *nodes // nil: nothing has to be declared
}

var _ messaging.Conn = (*conn)(nil)

func newConn(ctx context.Context, d *driver, p *profile, host string, under *frames, opened *amqp.Conn, login messaging.Credentials) *conn {
	c := &conn{
		o: d.o, p: p, raw: under.Conn, frames: under, amqp: opened,
		address: d.o.addressing(p), native: nativeAddresses{d.o.controlExchange},
	}
	c.Patience = d.patience
	c.Begin(ctx, host, under, c.told)
	c.Gate.MaxCount, c.Gate.MaxBytes = d.window, windowBytes
	c.lanes.init(c)
	switch {
	case p.queue == nil:
	case d.o.management != nil:
		c.nodes = newNodes(c, newREST(c, d.tls, login))
	default:
		c.nodes = newNodes(c, newManagement(c))
	}
	c.Spawn(c.watch)
	return c
}

// prepare finds out what the peer can do. The session that it asks over is kept for
// sending: RabbitMQ 4.0 may overlook one that is begun on the number of one which
// has just ended.
func (c *conn) prepare(ctx context.Context, version string) error {
	c.caps = c.p.capabilities(version)
	return c.Await(ctx, func() error {
		s, err := c.newSession()
		if err != nil {
			return err
		}
		c.lanes.session = s // nobody sends yet
		if c.p.absent != "" {
			switch sender, err := c.newSender(s, c.p.absent+"."+rand.Text(), nil); {
			case err == nil:
				c.retire(sender.Close)
				c.caps.Mandatory = false
			case !notFound(err, c.p.absent):
				return err
			}
		}
		return c.measure(s)
	})
}

// measure finds out the size of the largest message that the peer takes.
func (c *conn) measure(s *amqp.Session) error {
	if c.o.maxMessage > 0 {
		c.caps.MaxMessage = c.o.maxMessage
		return nil
	}
	at, open := terminus{}, c.p.relays
	if c.p.open != "" {
		at, open = terminus{address: c.p.open}, true
	}
	if !open {
		return nil
	}
	sender, err := c.newSender(s, at.address, nil)
	if err != nil {
		return err
	}
	defer c.retire(sender.Close)
	if n := sender.MaxMessageSize(); n < 1<<40 { // else it means none
		c.caps.MaxMessage = int64(n)
	}
	return nil
}

// newSession begins a session. Like the following, it is bounded by the peer's
// answer, and by the end of the connection.
func (c *conn) newSession() (s *amqp.Session, err error) {
	err = c.Answer("beginning a session", func() (err error) {
		s, err = c.amqp.NewSession(c.Context(), nil)
		return err
	})
	return s, err
}

// newSender attaches a link for sending.
func (c *conn) newSender(s *amqp.Session, target string, o *amqp.SenderOptions) (l *amqp.Sender, err error) {
	err = c.Answer("attaching a link for sending", func() (err error) {
		l, err = s.NewSender(c.Context(), target, o)
		return err
	})
	return l, err
}

// newReceiver attaches a link for receiving.
func (c *conn) newReceiver(s *amqp.Session, source string, o *amqp.ReceiverOptions) (l *amqp.Receiver, err error) {
	err = c.Answer("attaching a link for receiving", func() (err error) {
		l, err = s.NewReceiver(c.Context(), source, o)
		return err
	})
	return l, err
}

// retire closes something in the background. What is not closed remains, here and at
// the peer, so that one which does not answer is lost for it, too.
func (c *conn) retire(end func(context.Context) error) {
	c.Spawn(func() {
		_ = c.Answer("closing a link or session", func() error { return end(c.Context()) })
	})
}

// Capabilities implements messaging.Conn.
func (c *conn) Capabilities() messaging.Capabilities { return c.caps }

// watch is the goroutine that hears of the connection's end, closes links that
// nobody uses, and sees that the peer answers.
func (c *conn) watch() {
	idle, look := time.NewTicker(laneIdle), c.Ticks()
	defer idle.Stop()
	defer look.Stop()
	for {
		select {
		case <-idle.C:
			c.lanes.closeIdle()
			continue
		case <-look.C:
			c.Look(c.frames.state())
			continue
		case <-c.amqp.Done():
			c.Fail(c.why(c.amqp.Err()))
		case <-c.Done():
			<-c.amqp.Done() // nobody reads any more
		}
		c.frames.end(c.Err())
		return
	}
}

// why returns the reason of a lost connection. A broken pipe of ours is told
// better by the socket than by the library.
func (c *conn) why(err error) error {
	var said *amqp.Error
	reason := messaging.ErrConnLost
	if errors.As(err, &said) {
		reason = joined(messaging.ErrConnLost, explain(err))
	} else if raw := c.raw.Err(); raw != nil && (err == nil || !errors.Is(raw, net.ErrClosed)) { // else the library closed it, and says why
		reason = joined(messaging.ErrConnLost, raw)
	} else if err != nil {
		reason = joined(messaging.ErrConnLost, err)
	}
	return &messaging.OpError{Op: "talking to", Addr: c.Host, Err: reason}
}

// told explains an error of the library: one that comes of the end of the
// connection says why that ended.
func (c *conn) told(err error) error {
	if err == nil {
		return nil
	}
	if lost := c.Err(); lost != nil {
		return lost
	}
	var ended *amqp.ConnError
	if errors.As(err, &ended) {
		return c.why(err)
	}
	return explain(err)
}

// Close implements messaging.Conn.
func (c *conn) Close(ctx context.Context) error {
	c.lanes.dismiss(c.Depart())
	c.Leave(ctx, c.amqp.Close, func() {
		_ = c.amqp.Close() // the library's goroutines end: the socket is closed
	})
	return nil
}
