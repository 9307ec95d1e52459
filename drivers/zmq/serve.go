package zmq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

// serve reads the link of a peer until it ends, and draws the consequences.
func (cd *candidate) serve(p *peer) {
	c := cd.client.c
	lk := p.link
	local := cd.endpoint == localEndpoint
	if !local {
		c.links.Up()
	}
	late := time.AfterFunc(time.Hour, func() { _ = lk.Close() })
	late.Stop()
	left := context.AfterFunc(cd.life, func() {
		bye(lk, "leaving") // it hangs up when it has read that, and all that came before
		late.Reset(farewellTime)
	})
	err := p.read(lk)
	orderly := errors.Is(err, errLeft) || !left()
	late.Stop()
	cd.down(p, lk, err, orderly)
	lk.Abort(err)
	if !local {
		if orderly {
			err = nil
		} else {
			err = &messaging.OpError{Op: "talking to", Addr: cd.name(), Err: lostError(err)}
		}
		c.links.Down(cd.name(), err)
	}
}

// down notes the end of a link.
func (cd *candidate) down(p *peer, lk *link.Link, why error, orderly bool) {
	cl := cd.client
	var told outcomes
	cl.mu.Lock()
	if p.link != lk {
		cl.mu.Unlock()
		return
	}
	number := p.number
	if orderly {
		why = errLeft
	}
	lost := p.lose(lostError(why), &told)
	p.link = nil
	if orderly || cl.leaving || cl.peers[p.id] != p {
		p.end(&told)
	} else {
		cd.broken, cd.since = p, time.Now()
		cl.announce()
	}
	cl.sweep(&told)
	cl.mu.Unlock()
	cl.c.forget(number)
	told.tell()
	for id, call := range lost {
		cl.c.loseReply(call.replyTo, id, lostError(why))
	}
}

// read handles what the peer says until the link ends.
func (p *peer) read(lk *link.Link) error {
	in := inbound{c: p.client.c, number: p.number}
	var m link.Message
	for {
		if err := lk.Read(&m); err != nil {
			return err
		}
		head, err := parse(&m)
		if err == nil {
			err = p.handle(&head, &m, &in)
		}
		if err != nil {
			return err
		}
	}
}

// handle handles one message.
func (p *peer) handle(head *proto.Head, m *link.Message, in *inbound) error {
	switch head.Kind {
	case proto.Reply:
		return p.reply(m, in)
	case proto.Bye:
		return errLeft
	}
	cl := p.client
	var told outcomes
	cl.mu.Lock()
	err := p.note(head, m, &told)
	cl.mu.Unlock()
	told.tell()
	return err
}

// note handles what changes the state of the client. client.mu is held.
func (p *peer) note(head *proto.Head, m *link.Message, told *outcomes) error {
	switch head.Kind {
	case proto.Received:
		return p.received(head.Seq, told)
	case proto.Settled:
		return proto.ParseSettled(m.Second, func(seq uint64, o proto.Outcome) { p.settled(seq, o, told) })
	case proto.Room:
		p.room(head.Source, head.Count, told)
	case proto.Listen:
		sources, err := proto.ParseSources(m.Second)
		if err != nil {
			return err
		}
		p.add(sources, told)
	case proto.Unlisten:
		numbers, err := proto.ParseNumbers(m.Second)
		if err != nil {
			return err
		}
		for _, n := range numbers {
			p.drop(n, head.Flags&proto.Closed != 0, told)
		}
	default:
		return fmt.Errorf("%w: %s from who accepted the link", proto.ErrMalformed, head.Kind)
	}
	return nil
}

// reply delivers a reply to one of our calls.
func (p *peer) reply(m *link.Message, in *inbound) error {
	d, to, err := in.delivery(m)
	if err != nil {
		return err
	}
	if d.message.ReplyTo == "" { // else it is a sign of life, and the call goes on
		p.client.mu.Lock()
		delete(p.calls, d.message.CorrelationID)
		p.client.mu.Unlock()
	}
	return p.client.c.deliverReply(to, d)
}
