package link

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zeromq/zmq4"

	"github.com/patchbay-go/patchbay/internal/coalesce"
)

// Link is a connection to one peer after its handshake. Read is for one
// goroutine; the other methods are safe for concurrent use.
type Link struct {
	o    *Options
	nc   net.Conn
	out  *coalesce.Conn
	in   frames
	life context.Context //nolint:containedctx // ends with the link, so that who waits for room does
	end  context.CancelCauseFunc

	ahead atomic.Int64 // see Ahead

	mu     sync.Mutex // protects the following
	beat   *time.Timer
	closed bool // no PING is sent any more
}

// Open makes the handshake over nc and returns a link, which owns nc from then
// on. It takes no longer than Options.Handshake. If it fails, nc is closed.
func Open(ctx context.Context, nc net.Conn, server bool, security Security, o *Options) (*Link, error) {
	l, err := open(ctx, nc, server, security, o)
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return l, nil
}

func open(ctx context.Context, nc net.Conn, server bool, security Security, o *Options) (*Link, error) {
	if err := nc.SetDeadline(time.Now().Add(o.Handshake)); err != nil {
		return nil, err
	}
	asking, answered := context.WithTimeout(ctx, o.Handshake) // whoever has the credentials may hang, too
	mechanism, err := security.mechanism(asking)
	answered()
	if err != nil {
		return nil, err
	}
	in, from, err := shake(ctx, nc, server, mechanism, o)
	if err != nil {
		return nil, err
	}
	return newLink(ctx, nc, in, from, o), nil
}

// Pipe returns both ends of a link inside the process, without a socket, a
// handshake or heartbeats.
func Pipe(ctx context.Context, o Options) (dialled, accepted *Link) {
	o.Silence, o.Heartbeat = 0, 0
	end := func(nc net.Conn) *Link {
		from := &deadlines{Conn: nc}
		return newLink(ctx, nc, bufio.NewReaderSize(from, readBuffer), from, &o)
	}
	a, b := net.Pipe()
	return end(a), end(b)
}

func newLink(ctx context.Context, nc net.Conn, in *bufio.Reader, from *deadlines, o *Options) *Link {
	l := &Link{
		o: o, nc: nc,
		out: coalesce.New(nc, coalesce.Options{
			Limit:        math.MaxInt, // what bounds it is above: credits and Room
			WriteTimeout: o.WriteTimeout,
			Keep:         keepBuffer,
		}),
	}
	l.life, l.end = context.WithCancelCause(context.WithoutCancel(ctx))
	l.in = frames{in: in, from: from, limit: o.MaxMessage, command: l.command}
	if o.Heartbeat > 0 {
		l.mu.Lock()
		l.beat = time.AfterFunc(o.Heartbeat, l.ping)
		l.mu.Unlock()
	}
	return l
}

// Remote returns the peer's address.
func (l *Link) Remote() net.Addr { return l.nc.RemoteAddr() }

// Read reads the next message. When the peer has left a lot unread, and more than
// Ahead allows, it waits for that first: so a peer that asks and does not listen
// stops itself. An error is final.
func (l *Link) Read(m *Message) error {
	var err error
	if !l.Ready() { // what is here already is little
		err = l.patience()
	}
	if err == nil {
		err = l.in.read(m)
	}
	return l.explain(err)
}

// patience waits until the peer has not left a lot unread.
func (l *Link) patience() error {
	waiting := l.out.Waiting() // before ahead is looked at, which grows first
	limit := outLimit + int(l.ahead.Load())
	if waiting < limit {
		return nil
	}
	return l.out.Room(l.life, limit)
}

// Ahead adds to what the peer may leave unread while Read goes on, or takes off it
// when n is negative: before something is written that is bounded by what the peer
// has asked for, and when the peer has said that it has read that. If both sides
// had much to write, and neither read before the other had, neither would.
func (l *Link) Ahead(n int) { l.ahead.Add(int64(n)) }

// Ready reports whether Read will return a message at once. It is for the goroutine
// that reads, and what it was given holds.
func (l *Link) Ready() bool { return l.in.whole() }

// Buffered reports whether more of the peer's bytes are here already.
func (l *Link) Buffered() bool { return l.in.in.Buffered() > 0 }

// explain says in our words why the link ended.
func (l *Link) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case l.life.Err() != nil:
		return context.Cause(l.life)
	}
	if werr := l.out.Err(); werr != nil && errors.Is(err, net.ErrClosed) {
		err = werr // what closed the connection under Read
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w for %v: %w", ErrSilent, l.o.Silence, err)
	}
	return err
}

// Write takes parts, which together are whole frames of whole messages, to be
// written soon, and keeps nothing of them. It never waits.
func (l *Link) Write(parts ...[]byte) error { return l.explain(l.out.WriteParts(parts...)) }

// Append is Write for who calls Kick after it.
func (l *Link) Append(parts ...[]byte) error { return l.explain(l.out.Append(parts...)) }

// Kick sees to it that what Append took is written soon, now if nothing else is
// to do.
func (l *Link) Kick() { l.out.Kick() }

// Room waits, under ctx, until the peer has read all but a little of what was
// written.
func (l *Link) Room(ctx context.Context) error { return l.out.Room(ctx, outLimit) }

// Stalled returns for how long the peer has not read anything, while there was
// something to write.
func (l *Link) Stalled() time.Duration { return l.out.Stalled() }

// command handles a command of the peer: its PING is answered.
func (l *Link) command(name string, body []byte) error {
	const ttl = 2 // bytes before a PING's context (ZMTP 3.1)
	if name != zmq4.CmdPing || len(body) < ttl {
		return nil
	}
	if err := l.patience(); err != nil {
		return err
	}
	return l.Write(appendCommand(nil, zmq4.CmdPong, body[ttl:]))
}

// ping sends a PING, and the next one later.
func (l *Link) ping() {
	const tick = 100 * time.Millisecond // the unit of its time to live
	ttl := binary.BigEndian.AppendUint16(nil, uint16(min(l.o.Silence/tick, 1<<16-1)))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if _, err := l.out.Write(appendCommand(nil, zmq4.CmdPing, ttl)); err == nil {
		l.beat.Reset(l.o.Heartbeat)
	}
}

// stop ends the heartbeats and whoever waits, for a reason.
func (l *Link) stop(why error) {
	l.mu.Lock()
	l.closed = true
	if l.beat != nil {
		l.beat.Stop()
	}
	l.mu.Unlock()
	l.end(why)
}

// Close writes what was taken, for a second at most, and closes the connection.
// Read then returns net.ErrClosed.
func (l *Link) Close() error {
	l.stop(net.ErrClosed)
	return l.out.Close()
}

// Abort closes the connection at once. Read then returns why.
func (l *Link) Abort(why error) {
	l.stop(why)
	l.out.Abort()
}
