package amqp1

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/messaging"
)

// lane is the way to one place to send to. Its link is attached when there is
// something to send, and again after the peer detached it.
type lane struct {
	c      *conn
	target terminus // what the link is attached to

	// Protected by lanes.mu.
	used   uint64 // when it last was, by the lanes' clock
	looked uint64 // used, when it was last looked at

	open atomic.Int64  // sends without an outcome, and an attaching that is under way
	turn chan struct{} // whose it is attaches

	mu   sync.Mutex // protects link
	link *sender    // nil: none was attached yet
}

func newLane(c *conn, target terminus) *lane {
	return &lane{c: c, target: target, turn: make(chan struct{}, 1)}
}

// maxAttaches bounds how often the link is attached for one message.
const maxAttaches = 3

// send sends a message, over a new link if the peer detached the old one, and
// reports whether its outcome is told later. An error means that it was not sent.
func (l *lane) send(ctx context.Context, m *messaging.Message, target *terminus, o outgoing, settled bool) (later bool, err error) {
	for attaches := 0; attaches < maxAttaches; {
		var link *sender
		if link, err = l.attached(ctx); err == nil {
			if later, err = link.sendWithin(ctx, m, target, o, settled); err == nil {
				return later, nil
			}
		}
		switch {
		case errors.Is(err, errNoCredit):
			continue
		case errors.Is(err, errLinkEnded):
			attaches++
			if link != nil {
				err = joined(err, link.why())
			}
		case ctx.Err() != nil:
			return false, fmt.Errorf("the peer takes no messages at the moment: %w", err)
		default:
			return false, err
		}
		if err := l.c.Lost(); err != nil {
			return false, err
		}
	}
	return false, err
}

// attached returns the link, after attaching one if there is none.
func (l *lane) attached(ctx context.Context) (*sender, error) {
	if link := l.current(); link != nil {
		return link, nil
	}
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-l.c.Done():
		return nil, l.c.Lost()
	}
	if link := l.current(); link != nil {
		<-l.turn
		return link, nil
	}
	l.open.Add(1) // who waits may give up: a lane that was closed meanwhile would have a link that nobody detaches
	err := l.c.Await(ctx, func() error {
		defer func() {
			l.open.Add(-1)
			<-l.turn
		}()
		link, err := l.attach()
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.link = link
		l.mu.Unlock()
		if reason := l.c.lanes.dismissed(); reason != nil { // which did not see it
			link.credit.Shut(reason)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if link := l.current(); link != nil {
		return link, nil
	}
	return nil, errLinkEnded
}

// current returns the link, if it is attached.
func (l *lane) current() *sender {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.link == nil || l.link.over() {
		return nil
	}
	return l.link
}

// errNoNode: there is no node that the link could be attached to.
var errNoNode = errors.New("the peer has no such node")

// attach attaches a link.
func (l *lane) attach() (link *sender, err error) {
	err = l.c.lanes.inSession(func(s *amqp.Session) (err error) {
		link = &sender{c: l.c, lane: l} // another one over another session
		name := linkName()
		l.c.frames.announce(name, link)
		defer l.c.frames.withdraw(name)
		link.lib, err = l.c.newSender(s, l.target.address, &amqp.SenderOptions{
			Name: name, SettlementMode: amqp.SenderSettleModeMixed.Ptr(), TargetCapabilities: l.target.capabilities,
		})
		if notFound(err, l.target.address) {
			return errNoNode
		}
		return err
	})
	return link, err
}

// leave detaches a link that is not used any more.
func (l *lane) leave(ctx context.Context) error {
	if link := l.current(); link != nil {
		return link.lib.Close(ctx)
	}
	return nil
}
