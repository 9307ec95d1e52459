package zmq

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/messaging"
)

// A reply address that came with a message is only good on the link it came over,
// and so is told with that link's number: whatever a peer says, its replies go to
// itself.

const numberBase = 36

// number registers a link and returns its number.
func (c *conn) number(r linkRef) uint64 {
	c.linksMu.Lock()
	defer c.linksMu.Unlock()
	c.lastID++
	c.byID[c.lastID] = r
	return c.lastID
}

func (c *conn) forget(number uint64) {
	c.linksMu.Lock()
	defer c.linksMu.Unlock()
	delete(c.byID, number)
}

func replyAddress(number uint64, address string) string {
	return strconv.FormatUint(number, numberBase) + "!" + address
}

func splitReplyAddress(s string) (number uint64, address string, ok bool) {
	text, address, ok := strings.Cut(s, "!")
	number, err := strconv.ParseUint(text, numberBase, 64)
	return number, address, ok && err == nil
}

// reply sends to a reply address, over the link that it came from. It is accepted
// when it is written for a link that lives: if that breaks, the caller knows.
func (c *conn) reply(ctx context.Context, direct string, m *messaging.Message, done messaging.Completion) error {
	number, to, _ := splitReplyAddress(direct)
	c.linksMu.RLock()
	ref := c.byID[number]
	c.linksMu.RUnlock()
	var err error
	switch {
	case ref.session != nil:
		err = ref.session.answer(ctx, to, m)
	case ref.peer != nil:
		err = ref.peer.answer(ctx, ref.link, to, m)
	default:
		err = refusedReply("the caller's link is gone")
	}
	if isNotSent(err) {
		return err
	}
	if done != nil {
		done.Complete(err)
	}
	return nil
}

// deliverReply hands a reply to who listens at the address; there may be nobody
// any more.
func (c *conn) deliverReply(to string, d *delivery) error {
	c.repliesMu.RLock()
	l := c.replies[to]
	c.repliesMu.RUnlock()
	if l != nil && !l.deliver(d) {
		return fmt.Errorf("%w: %d replies that nobody has taken", link.ErrLimit, maxReplies)
	}
	return nil
}

// maxReplies bounds the replies that wait for who listens at their address: those
// of calls are fewer, and who sends more answers what nobody asked.
const maxReplies = 1 << 16

// loseReply tells who listens at the address that a call is not answered any more.
func (c *conn) loseReply(to, call string, why error) {
	d := new(delivery)
	d.message.Init(messaging.Message{CorrelationID: call}, d)
	d.message.Lost = why
	_ = c.deliverReply(to, d) // what ends with a link is bounded by its calls
}

// answer sends a message to a reply address of the peer: of a call's heartbeat.
func (p *peer) answer(ctx context.Context, lk *link.Link, to string, m *messaging.Message) error {
	if err := lk.Room(ctx); err != nil {
		if ctx.Err() != nil {
			return notSent(err)
		}
		return refusedReply("the server's link was lost")
	}
	b := appendReply(nil, to, m)
	if err := lk.Write(b, m.Body); err != nil {
		return refusedReply("the server's link was lost")
	}
	return nil
}
