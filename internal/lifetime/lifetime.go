// Package lifetime has what a driver's connection to a broker needs to end well,
// whatever ends it: one reason that everybody is told, and goroutines that end
// with it. It is for client libraries that wait for the peer, heed no context then,
// and hold their locks.
package lifetime

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/patchbay-go/patchbay/internal/gate"
	"github.com/patchbay-go/patchbay/messaging"
)

// farewell bounds the closing handshake.
const farewell = time.Second

// Socket is what the client library reads and writes.
type Socket interface {
	// Err returns why it is not written to any more, or nil.
	Err() error
	// Stalled is more than 0 while a write is under way, which is ended if the peer
	// takes nothing of it for too long.
	Stalled() time.Duration
	// Abort closes it at once, which frees whoever waits for the peer.
	Abort()
}

// Lifetime is a part of a driver's messaging.Conn. Its methods are safe for
// concurrent use.
type Lifetime struct {
	Host string    // for errors
	Gate gate.Gate // where senders wait; shut when the connection ends

	// Patience is how long the peer may leave unanswered what Answer or an outcome
	// waits for: one that does so longer counts as lost, whatever else it says. It is
	// set before Begin, and more than 0.
	Patience time.Duration

	requests requests

	socket  Socket
	explain func(error) error // says what an error of the client library means

	ctx  context.Context //nolint:containedctx // ends with the connection
	end  context.CancelFunc
	done chan struct{} // closed when it is lost or closed

	mu      sync.Mutex // protects what follows
	err     error      // why done is closed
	leaving bool       // Close was called
	closing bool       // no goroutine is started any more
	running sync.WaitGroup
}

// Begin starts the life of a connection, which Fail or Close ends. The values of
// ctx are those of Context.
func (l *Lifetime) Begin(ctx context.Context, host string, socket Socket, explain func(error) error) {
	l.Host, l.socket, l.explain = host, socket, explain
	l.ctx, l.end = context.WithCancel(context.WithoutCancel(ctx))
	l.done = make(chan struct{})
}

// Context ends with the connection.
func (l *Lifetime) Context() context.Context { return l.ctx }

// Done implements messaging.Conn.
func (l *Lifetime) Done() <-chan struct{} { return l.done }

// Err implements messaging.Conn.
func (l *Lifetime) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Lost returns why nothing can be done with the connection any more, or nil. The
// socket may know before Done is closed.
func (l *Lifetime) Lost() error {
	if err := l.Err(); err != nil {
		return err
	}
	if err := l.socket.Err(); err != nil {
		return fmt.Errorf("%w: %w", messaging.ErrConnLost, err)
	}
	return nil
}

// Fail ends the connection for a reason, if it has not ended yet.
func (l *Lifetime) Fail(err error) {
	l.mu.Lock()
	first := l.err == nil
	if l.leaving {
		err = l.closed()
	}
	if first {
		l.err = err
		close(l.done)
	}
	l.mu.Unlock()
	if !first {
		return
	}
	l.end()
	l.Gate.Shut(err)
	l.socket.Abort() // frees the library, if it is in a Write
}

func (l *Lifetime) closed() error {
	return &messaging.OpError{Op: "talking to", Addr: l.Host, Err: messaging.ErrClosed}
}

// Spawn runs f in a goroutine that Close waits for, and reports whether it does:
// not after Close.
func (l *Lifetime) Spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return false
	}
	l.running.Go(f)
	return true
}

// Await calls f, which may wait for the peer, and waits for it until ctx ends. f
// goes on then, and ends with the connection at the latest. If the connection is
// closed, f is not called.
func (l *Lifetime) Await(ctx context.Context, f func() error) error {
	result := make(chan error, 1)
	if !l.Spawn(func() { result <- f() }) {
		return l.Lost()
	}
	select {
	case err := <-result:
		return l.explain(err)
	case <-ctx.Done():
	}
	select {
	case <-l.done: // f ends now, and knows why
		return l.explain(<-result)
	default:
		return context.Cause(ctx)
	}
}

// Depart is the beginning of Leave, for who has more to end before the wait: senders
// are sent away from the gate, with the reason that it returns.
func (l *Lifetime) Depart() error {
	l.mu.Lock()
	l.leaving = true
	l.mu.Unlock()
	closed := l.closed()
	l.Gate.Shut(closed)
	return closed
}

// Leave ends the connection in peace: it waits, until ctx ends or the peer counts as
// lost, for those that are past the gate, then does the closing handshake if there is
// a peer, then calls after, and returns when all goroutines have ended.
func (l *Lifetime) Leave(ctx context.Context, handshake func() error, after func()) {
	closed := l.Depart()
	if l.Err() == nil {
		select {
		case <-l.Gate.Empty():
		case <-l.done:
		case <-ctx.Done():
		}
	}
	if l.Lost() == nil {
		within, cancel := context.WithTimeout(ctx, farewell)
		_ = l.Await(within, handshake)
		cancel()
	}
	l.Fail(closed)
	after()

	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	l.running.Wait()
}
