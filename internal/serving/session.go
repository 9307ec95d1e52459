package serving

import (
	"context"

	"github.com/patchbay-go/patchbay/messaging"
)

// Session is what a receiver has from its start on.
type Session struct {
	Stream *messaging.Stream

	Poll     context.Context //nolint:containedctx // ends when the receiver stops
	Handlers context.Context //nolint:containedctx // ends when a drain is given up: the parent of the handlers' contexts
	Plain    context.Context //nolint:containedctx // never cancelled: what belongs to a job in hand is brought to its end

	halt   context.CancelFunc      // ends Poll
	abort  context.CancelCauseFunc // ends Handlers
	polled chan struct{}           // closed when the poll loop has ended
	err    error                   // why the loop ended by itself; read after polled is closed
	inHand tracker                 // jobs, and the poll loop
}

func newSession(ctx context.Context, stream *messaging.Stream) *Session {
	ss := &Session{Stream: stream, Plain: context.WithoutCancel(ctx), polled: make(chan struct{})}
	ss.Handlers, ss.abort = context.WithCancelCause(ss.Plain)
	ss.Poll, ss.halt = context.WithCancel(ss.Handlers)
	ss.inHand.init()
	return ss
}

// Done is called when a job is over.
func (ss *Session) Done() { ss.inHand.exit() }

// running returns the number of jobs in hand.
func (ss *Session) running() int {
	n := int(ss.inHand.n.Load())
	select {
	case <-ss.polled:
		return n
	default:
		return max(n-1, 0)
	}
}
