package zmq

import (
	"fmt"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
)

// reader reads a session's link. Requests that have come together are taken in
// together: locks are taken and pollers are woken once for all of them. It is for
// one goroutine.
type reader struct {
	*session
	inbound inbound
	last    uint64      // the last request that was read
	source  *source     // of it
	batch   []*delivery // those that are about to be taken in
	awaited bool        // somebody may wait until they were received: a caller waits for more
}

// maxBatch bounds the requests that are taken in together.
const maxBatch = 32

// read handles what the peer sends until the link ends.
func (ss *session) read() error {
	r := reader{session: ss, inbound: inbound{c: ss.server.c, number: ss.number}}
	defer r.take()
	var m link.Message
	for {
		if len(r.batch) == maxBatch || !ss.link.Ready() {
			r.take()
		}
		if err := ss.link.Read(&m); err != nil {
			return err
		}
		if err := r.handle(&m); err != nil {
			return err
		}
	}
}

// handle handles one message.
func (r *reader) handle(m *link.Message) error {
	head, err := parse(m)
	if err != nil {
		return err
	}
	if head.Kind == proto.Request {
		return r.request(&head, m)
	}
	r.take()
	switch head.Kind {
	case proto.Reply:
		return r.reply(m)
	case proto.Pass:
		if src := r.server.source(head.Source); src != nil {
			src.pass(r.session, int(head.Count))
		}
		return nil
	case proto.Bye:
		return errLeft
	}
	return fmt.Errorf("%w: %s from who opened the link", proto.ErrMalformed, head.Kind)
}

// request adds a request to those that are about to be taken in.
func (r *reader) request(head *proto.Head, m *link.Message) error {
	if head.Seq != r.last+1 {
		return fmt.Errorf("%w: request %d behind %d", proto.ErrMalformed, head.Seq, r.last)
	}
	d, _, err := r.inbound.delivery(m)
	if err != nil {
		return err
	}
	d.session, d.seq, d.flags = r.session, head.Seq, head.Flags
	d.message.Redelivered = head.Flags&proto.Redelivered != 0
	d.message.Count = int(head.Count)
	if head.TTL > 0 {
		d.message.TTL = head.TTL
		d.expires = time.Now().Add(head.TTL)
	}
	if r.source == nil || r.source.wire.Number != head.Source {
		r.source = r.server.source(head.Source)
	}
	d.source = r.source
	r.last = head.Seq
	r.awaited = r.awaited || d.message.ReplyTo == ""
	r.batch = append(r.batch, d)
	return nil
}

// take takes in the requests that were read, in their order, or turns them back.
func (r *reader) take() {
	if len(r.batch) == 0 {
		return
	}
	r.open.Add(int64(len(r.batch))) // before somebody settles one
	all := true
	for rest := r.batch; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].source == rest[0].source {
			n++
		}
		all = r.offer(rest[:n]) && all
		rest = rest[n:]
	}
	clear(r.batch)
	r.batch = r.batch[:0]
	r.mu.Lock()
	defer r.mu.Unlock()
	r.received = r.last
	if !all || r.awaited && !r.link.Buffered() {
		r.flush()
	} else {
		r.arm()
	}
	r.awaited = false
}

// offer offers requests to their source, and reports whether it took them all.
func (r *reader) offer(ds []*delivery) bool {
	back, outcome := len(ds), proto.Gone
	if src := ds[0].source; src != nil {
		back, outcome = src.offer(ds)
	}
	if back == 0 {
		return true
	}
	r.open.Add(-int64(back))
	if outcome == proto.Gone {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, d := range ds {
			r.settled = proto.AppendSettled(r.settled, d.seq, outcome)
		}
	}
	return false
}

// reply delivers what the peer says to one of our reply addresses.
func (r *reader) reply(m *link.Message) error {
	d, to, err := r.inbound.delivery(m)
	if err != nil {
		return err
	}
	return r.server.c.deliverReply(to, d)
}
