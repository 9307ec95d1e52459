package amqp1

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/internal/gate"
	"github.com/patchbay-go/patchbay/messaging"
)

// sender is a link for sending, for as long as the peer leaves it attached.
type sender struct {
	c      *conn
	lane   *lane
	lib    *amqp.Sender // set under lanes.turn, before the lane has the link; nil: it was refused
	credit gate.Gate    // nobody leaves it: it is open for as many as the peer has allowed in all

	// Valid once it is attached.
	session *session
	handle  uint32
	maxSize uint64 // bytes of a message; 0: no limit

	// Protected by session.mu.
	sent    int64 // messages
	skipped int64 // that the peer had allowed, and took back
	allowed int64 // sent, and those that it still allows
	reason  error // why it has ended; nil: it has not, or that is not known yet
	closed  bool
}

var _ endpoint = (*sender)(nil)

// Nothing was written, because
var (
	errLinkEnded = errors.New("the link has ended")
	errNoCredit  = errors.New("the peer has taken back its credit")
)

func (l *sender) joined(s *session, handle uint32) { l.session, l.handle = s, handle }

func (l *sender) attached(a attach) { l.maxSize = a.maxMessageSize }

// over reports whether nothing can be sent over the link any more.
func (l *sender) over() bool {
	l.session.mu.Lock()
	defer l.session.mu.Unlock()
	return l.closed
}

func (l *sender) left() {
	l.closed = true
	l.credit.Shut(errLinkEnded)
}

func (l *sender) block(blocked bool) { l.credit.Block(blocked) }

// ended tells all that wait for an outcome that it is unknown, unless not a byte of
// them was written.
func (l *sender) ended(reason error) {
	l.c.lanes.part(l)
	reason = l.c.told(reason)
	s := l.session
	s.mu.Lock()
	l.reason = reason
	rest := s.unsettled.of(l, nil)
	unwritten := s.forget(l)
	s.mu.Unlock()
	for i := range rest {
		rest[i].result = joined(messaging.ErrOutcomeUnknown, reason)
		if unwritten[rest[i].id] {
			rest[i].result = joined(messaging.ErrNotSent, reason)
		}
	}
	l.c.finish(rest)
}

func (l *sender) why() error {
	l.session.mu.Lock()
	defer l.session.mu.Unlock()
	return l.reason
}

func (l *sender) received(transfer, []byte) error {
	return errors.New("the peer sends over a link on which it receives")
}

// flowed is told how many more messages the peer takes.
func (l *sender) flowed(w flow) {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.closed {
		return
	}
	count := uint32(l.sent + l.skipped) //nolint:gosec // numbers wrap around
	more := room(w.credit, w.deliveryCount, count)
	if w.drain { // what it does not get now it does not want
		l.skipped += int64(more)
		count, more = count+more, 0
	}
	l.allowed = l.sent + int64(more)
	l.credit.Allow(int(min(l.allowed, math.MaxInt)))
	if w.drain || w.echo {
		s.writeFlow(flow{link: true, handle: l.handle, deliveryCount: count, credit: more, drain: w.drain})
	}
}

// sendWithin waits for credit and then for room in the connection's window, under ctx,
// and then is send. Who has no credit takes no room: others send to other addresses.
func (l *sender) sendWithin(ctx context.Context, m *messaging.Message, target *terminus, o outgoing, settled bool) (later bool, err error) {
	if err := l.credit.Enter(ctx, 0); err != nil {
		return false, err
	}
	if err = l.c.Gate.Enter(ctx, o.bytes); err == nil {
		if later, err = l.send(m, target, o, settled); !later {
			l.c.Gate.Leave(1, o.bytes)
		}
	}
	if err != nil {
		l.credit.Leave(1, 0)
	}
	return later, err
}

// send writes a message, or keeps it until the peer's session has room, and reports
// whether its outcome is told later. An error means that nothing of it was written,
// nor will be.
func (l *sender) send(m *messaging.Message, target *terminus, o outgoing, settled bool) (later bool, err error) {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case l.closed:
		return false, errLinkEnded
	case l.sent >= l.allowed:
		return false, errNoCredit
	}
	t := transfer{handle: l.handle, id: s.nextDelivery, first: true, settled: settled}
	b, frame := appendTransfer(s.buf[:0], s.channel, t)
	head := len(b)
	b = appendMessage(b, m, o.to, target, l.c.o.valueType)
	if cap(b) <= keptBuffer {
		s.buf = b
	}
	if n := len(b) - head; l.maxSize > 0 && uint64(n) > l.maxSize {
		return false, fmt.Errorf("%w: %d bytes with all that is about it, the peer takes %d", messaging.ErrTooLarge, n, l.maxSize)
	}
	o.id, o.from = t.id, l
	if len(b) <= s.f.limit && s.window > 0 && len(s.waiting) == 0 {
		err = s.write(endFrame(b, frame))
	} else {
		later, err = s.writeParts(l, t, b[head:])
	}
	s.adjust()
	if err != nil {
		return false, err
	}
	if later = later || !settled; later {
		s.unsettled.add(o)
	}
	s.nextDelivery++
	l.sent++
	return later, nil
}

// keptBuffer bounds what a session keeps for the next message.
const keptBuffer = 64 << 10
