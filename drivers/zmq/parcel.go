package zmq

import (
	"container/list"
	"fmt"
	"slices"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

// parcel is a copy of a message on its way to one server. The client keeps it
// until the server has settled it, so that it can go to another if that one is
// lost or gives it back. client.mu guards all that changes.
type parcel struct {
	pool    *pool
	data    []byte    // its frames, as they are written; those of a fanout share it
	size    int       // of the body
	expires time.Time // zero: never
	call    string    // of a call: its id and where its reply goes
	replyTo string
	order   uint64 // age: a parcel that comes back keeps its place

	member   *member   // who has it; nil while it waits
	seq      uint64    // its number on the member's link
	count    uint32    // earlier deliveries
	again    bool      // a server may have seen it
	accepted bool      // its outcome was told
	held     time.Time // since when it has waited without a server; accepted ones only

	place  *list.Element // in pool.queue or member.backlog; nil: in neither
	sent   chan struct{} // closed when it is first sent; nil unless Send waits for that
	waited bool          // Send did, and may look at it still

	done  messaging.Completion // nil: nobody asks
	whole *fanout              // what it is a copy of; nil: it is the only one
}

// fill makes a new parcel of a message.
func (p *parcel) fill(m *messaging.Message, done messaging.Completion) {
	p.done = done
	props := proto.PropsSize("", m)
	b := slices.Grow(p.data[:0], headFrame+props+len(m.Body)+2*link.MaxFrameHeader)
	b = link.AppendFrameHeader(b, proto.HeadSize, true)
	b = append(b, make([]byte, proto.HeadSize)...) // send knows it
	b = link.AppendFrameHeader(b, props, true)
	b = proto.AppendProps(b, "", m)
	b = link.AppendFrameHeader(b, len(m.Body), false)
	p.data, p.size = append(b, m.Body...), len(m.Body)
	if m.TTL > 0 {
		p.expires = time.Now().Add(m.TTL)
	}
	if m.ReplyTo != "" && m.CorrelationID != "" {
		p.call, p.replyTo = m.CorrelationID, m.ReplyTo
	}
}

// headFrame is the size of the first frame, its header included.
const headFrame = 2 + proto.HeadSize

// address writes the head of the parcel into its frames.
func (p *parcel) address(h *proto.Head) {
	h.Append(p.data[headFrame-proto.HeadSize : headFrame-proto.HeadSize])
}

// copyFor returns a parcel of the same message for another pool or member.
func (p *parcel) copyFor(whole *fanout) *parcel {
	return &parcel{data: p.data, size: p.size, expires: p.expires, call: p.call, replyTo: p.replyTo, whole: whole}
}

// left returns the rest of the parcel's life, 0 for ever, and whether there is
// any.
func (p *parcel) left() (time.Duration, bool) {
	if p.expires.IsZero() {
		return 0, true
	}
	d := time.Until(p.expires)
	return d, d > 0
}

// fanout is one message that several receive. client.mu guards it.
type fanout struct {
	members int
	open    int // whose copies have no outcome yet
	failed  []*messaging.MemberError
	done    messaging.Completion
}

// fail adds a failure, splitting its error into outcome and reason.
func (f *fanout) fail(name string, outcome, why error) {
	f.failed = append(f.failed, &messaging.MemberError{Member: name, Outcome: outcome, Err: why})
}

// outcomes are what completions and callers are to be told, and links to be written,
// once client.mu is free.
type outcomes struct {
	all  []outcome
	lost []lostCall
	link *link.Link // to be kicked
	more []*link.Link
}

type outcome struct {
	done messaging.Completion
	err  error
}

// lostCall is a call that was accepted and will not be answered.
type lostCall struct {
	c             *conn
	replyTo, call string
	why           error
}

// lose notes that the call of a parcel is not answered any more.
func (o *outcomes) lose(c *conn, x *parcel, why error) {
	o.lost = append(o.lost, lostCall{c, x.replyTo, x.call, why})
}

func (o *outcomes) add(done messaging.Completion, err error) {
	if done != nil {
		o.all = append(o.all, outcome{done, err})
	}
}

// kick notes that something was appended to a link.
func (o *outcomes) kick(l *link.Link) {
	switch {
	case o.link == nil:
		o.link = l
	case o.link != l && !slices.Contains(o.more, l):
		o.more = append(o.more, l)
	}
}

func (o *outcomes) tell() {
	if o.link != nil {
		o.link.Kick()
	}
	for _, l := range o.more {
		l.Kick()
	}
	for _, x := range o.all {
		x.done.Complete(x.err)
	}
	for _, x := range o.lost {
		x.c.loseReply(x.replyTo, x.call, x.why)
	}
}

// complete tells the outcome of a parcel, once, and why it is so.
func (p *parcel) complete(o *outcomes, name string, outcome, why error) {
	if p.accepted {
		return
	}
	p.accepted = true
	if p.whole == nil {
		err := outcome
		if why != nil {
			err = fmt.Errorf("%w: %w", outcome, why)
		}
		o.add(p.done, err)
		p.done = nil
		return
	}
	if outcome != nil {
		p.whole.fail(name, outcome, why)
	}
	p.whole.finish(o, 1)
}

// finish counts n copies whose outcome is known, and tells that of the whole when
// it was the last.
func (f *fanout) finish(o *outcomes, n int) {
	f.open -= n
	if f.open > 0 {
		return
	}
	var err error
	if len(f.failed) > 0 {
		err = &messaging.FanoutError{Members: f.members, Failed: f.failed}
	}
	o.add(f.done, err)
	f.done = nil
}
