package amqp1

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/Azure/go-amqp"

	"github.com/patchbay-go/patchbay/messaging"
)

// receiver is a link of a source, for as long as the broker leaves it attached, in a
// session of its own: a broker may end that over a link that it refuses.
type receiver struct {
	c       *conn
	s       *source
	lib     *amqp.Receiver
	within  *amqp.Session
	credit  credit
	drained chan struct{} // closed when the peer has used or given up all credit
	wake    chan struct{} // there is something to acknowledge
	over    chan struct{} // closed when the link has ended
	reason  error         // why; valid then
	lost    atomic.Bool   // what was delivered and not settled is the broker's again

	// Valid once it is attached.
	session *session
	handle  uint32

	part partial // of the goroutine that reads

	// Protected by session.mu.
	count    uint32 // deliveries, as the peer counts them
	may      int    // that it may still send; less than 0: it sent more
	draining bool
	acked    []uint32 // accepted, which is not written yet
	closed   bool
}

var _ endpoint = (*receiver)(nil)

// partial is a message of which some frames have come.
type partial struct {
	id      uint32
	begun   bool
	settled bool
	large   bool // too large: the rest of it is not kept
	payload []byte
}

func newReceiver(s *source) *receiver {
	r := &receiver{c: s.l.c, s: s, drained: make(chan struct{}), wake: make(chan struct{}, 1), over: make(chan struct{})}
	r.credit = credit{issue: r.issue, prefetch: s.l.prefetch}
	return r
}

func (r *receiver) joined(s *session, handle uint32) { r.session, r.handle = s, handle }

func (r *receiver) attached(a attach) {
	r.session.mu.Lock()
	defer r.session.mu.Unlock()
	r.count = a.initialCount
}

func (r *receiver) left() {
	r.closed = true
	r.lost.Store(true)
}

func (r *receiver) ended(reason error) {
	r.reason = reason
	close(r.over)
}

func (*receiver) block(bool) {}

// issue lets the peer send so many more.
func (r *receiver) issue(n uint32) error {
	s := r.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.closed {
		return errLinkEnded
	}
	r.may += int(n)
	r.writeAcks()
	r.writeFlow(false)
	return nil
}

// writeFlow tells the peer what it may send. session.mu is held.
func (r *receiver) writeFlow(drain bool) {
	credit := uint32(max(0, r.may)) //nolint:gosec // at most maxPrefetch
	r.session.writeFlow(flow{link: true, handle: r.handle, deliveryCount: r.count, credit: credit, drain: drain})
}

// drain asks the peer to send what it has at once and to give up the rest of its
// credit, and waits until it did.
func (r *receiver) drain(ctx context.Context) {
	s := r.session
	s.mu.Lock()
	if r.closed || r.may <= 0 {
		s.mu.Unlock()
		return
	}
	r.draining = true
	r.writeFlow(true)
	s.mu.Unlock()
	select {
	case <-r.drained:
	case <-r.over:
	case <-ctx.Done():
	}
}

// flowed is told how many messages the peer counts, or that it gives up credit.
func (r *receiver) flowed(w flow) {
	s := r.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if given := int32(w.deliveryCount - r.count); w.counted && given > 0 { //nolint:gosec // numbers wrap around
		r.count = w.deliveryCount
		r.may -= int(given)
	}
	r.checkDrained()
	if w.echo && !r.closed {
		r.writeFlow(false)
	}
}

// checkDrained wakes who drains. session.mu is held.
func (r *receiver) checkDrained() {
	if r.draining && r.may <= 0 {
		r.draining = false
		close(r.drained)
	}
}

// maxSurplus is how many messages a peer may send beyond its credit: nothing else
// would bound what comes from one that ignores it.
const maxSurplus = 1000

// received is told of a message, or of a part of one.
func (r *receiver) received(t transfer, payload []byte) error {
	p := &r.part
	if !p.begun {
		if !t.first {
			return errors.New("the peer sends the rest of a message that it did not begin")
		}
		if err := r.counted(); err != nil {
			return err
		}
		*p = partial{begun: true, id: t.id, payload: p.payload[:0]}
	}
	p.settled = p.settled || t.settled
	if t.aborted {
		r.dropPart()
		r.credit.received()
		r.credit.settled()
		return nil
	}
	if !t.more && len(p.payload) == 0 && !p.large {
		p.begun = false
		r.complete(r.c.frames.message(payload))
		return nil
	}
	if limit := r.c.frames.maxBody; limit > 0 && int64(len(p.payload)+len(payload)) > limit+maxAround {
		p.large = true
	}
	if !p.large {
		p.payload = append(p.payload, payload...)
	}
	if t.more {
		return nil
	}
	if p.large {
		r.complete(unreadable(r.c.frames.tooLarge()))
	} else {
		r.complete(r.c.frames.message(p.payload))
	}
	r.dropPart()
	return nil
}

// maxAround bounds all that is in a message besides its body.
const maxAround = 1 << 20

func (r *receiver) dropPart() {
	r.part.begun, r.part.payload = false, r.part.payload[:0]
	if cap(r.part.payload) > keptBuffer {
		r.part.payload = nil
	}
}

// counted counts a message that begins.
func (r *receiver) counted() error {
	s := r.session
	s.mu.Lock()
	defer s.mu.Unlock()
	r.count++
	r.may--
	r.checkDrained()
	if r.may < -maxSurplus {
		return fmt.Errorf("the peer sends %d messages more than it has credit for", -r.may)
	}
	return nil
}

// complete passes a message on.
func (r *receiver) complete(a arrival) {
	r.credit.received()
	d := messaging.NewDelivery(a.Message, r)
	d.Tag = uint64(r.part.id)
	if r.part.settled {
		d.Tag |= tagSettled
	}
	d.Source = r.s.plan.index(string(a.to))
	d.Redelivered = r.c.p.wasDelivered(&a)
	if r.c.caps.DeliveryCount {
		d.Count = int(a.count)
	}
	switch l := r.s.l; {
	case l.stopping(): // it was on its way; its place stays taken, or the same would come again until Stop is called
		if d.Tag&tagSettled == 0 {
			_ = r.dispose(r.part.id, released)
		}
	case l.deliver != nil && l.inbox.Len() == 0 && l.deliver(d):
	default:
		l.inbox.Put(polled{d, r})
		if l.stopping() { // since that was asked
			l.giveBack()
		}
	}
}
