package zmq

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/link"
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

// peer is another node that listens, and the link to it that we opened. It
// outlives a lost link for as long as that is being repaired. client.mu guards
// it.
type peer struct {
	client  *client
	id      proto.NodeID
	name    string
	host    string
	most    int64 // bytes of body that it takes; 0: it does not say
	members map[uint32]*member

	link      *link.Link // the present one; nil: it was lost, and down has seen to that
	number    uint64     // of the link, for reply addresses
	up        bool
	seq       uint64    // of the last request on the link
	acked     uint64    // the last that it has received
	heard     time.Time // when it last received something or, if nothing was on its way, was sent something
	mute      bool      // it has not received anything for a while, and should have
	unsettled ledger
	kept      []*parcel // unsettled ones of the lost link, which may be sent again
	calls     map[string]call
}

// call is a call that the peer has and has not answered.
type call struct {
	replyTo string
	expires time.Time // zero: never
}

// window reports whether another request may be sent before earlier ones were
// received.
func (p *peer) window() bool { return p.seq-p.acked < uint64(p.client.c.window) }

// send sends a parcel to a member, unless that is too late or too large for it. It
// returns false when the link broke: then nothing was sent. client.mu is held.
func (p *peer) send(m *member, x *parcel, more bool, told *outcomes) bool {
	if p.most > 0 && int64(x.size) > p.most {
		x.complete(told, m.name(), messaging.ErrRejected,
			fmt.Errorf("%w: %d bytes, %s takes %d", messaging.ErrTooLarge, x.size, p.host, p.most))
		x.release()
		return true
	}
	ttl, alive := x.left()
	if !alive { // as a time to live, none is for ever
		x.complete(told, m.name(), messaging.ErrNotSent, errExpired)
		x.release()
		return true
	}
	head := proto.Head{Kind: proto.Request, Source: m.source.Number, Seq: p.seq + 1, TTL: ttl, Count: x.count}
	if x.again {
		head.Flags |= proto.Redelivered
	}
	rooms, full := m.rooms, m.full
	if full {
		head.Flags |= proto.UsesRoom
		if rooms--; rooms == 0 {
			if more {
				head.Flags |= proto.WantsRoom
			} else {
				full = false
			}
		}
	}
	x.address(&head)
	p.link.Ahead(len(x.data)) // credits bound it, so that we go on reading meanwhile
	var err error
	if x.done != nil { // somebody waits for it
		err = p.link.Append(x.data)
		told.kick(p.link)
	} else {
		err = p.link.Write(x.data)
	}
	if err != nil {
		p.up = false // its reader tells why
		return false
	}
	if p.acked == p.seq {
		p.heard = time.Now()
	}
	p.seq++
	m.rooms, m.full = rooms, full
	m.outstanding++
	x.member, x.seq = m, p.seq
	p.unsettled.put(x)
	if x.call != "" {
		p.calls[x.call] = call{x.replyTo, x.expires}
	}
	x.release()
	return true
}

// command writes a message of one frame. client.mu is held.
func (p *peer) command(h proto.Head) {
	_ = p.link.Write(h.Append(link.AppendFrameHeader(nil, proto.HeadSize, false))) // its reader tells of a broken link
}

// maxSources bounds what one node may listen at.
const maxSources = 1 << 16

// add takes in sources that the peer listens at. client.mu is held.
func (p *peer) add(sources []proto.Source, told *outcomes) {
	for _, s := range sources {
		if !p.wants(&s) {
			continue
		}
		m := &member{peer: p, source: s}
		m.pool = p.client.routes.route(s.Address).pool(s.Group)
		m.pool.members = append(m.pool.members, m)
		p.members[s.Number] = m
		p.client.dispatch(m.pool, told)
	}
	p.client.announce()
}

// wants reports whether a source is to be taken in. client.mu is held.
func (p *peer) wants(s *proto.Source) bool {
	return p.members[s.Number] == nil && len(p.members) < maxSources &&
		s.Address.Topic != "" && s.Address.Kind <= messaging.KindNotify && s.Prefetch > 0
}

// has reports whether all sources that are to be taken in were. client.mu is held.
func (p *peer) has(sources []*source) bool {
	return p != nil && !slices.ContainsFunc(sources, func(s *source) bool { return p.wants(&s.wire) })
}

// drop takes a source out. Parcels that it has stay its own until it settles
// them, or closed says that it will not. client.mu is held.
func (p *peer) drop(number uint32, closed bool, told *outcomes) {
	if m := p.members[number]; m != nil {
		m.leave(told)
		delete(p.members, number)
	}
	if !closed {
		return
	}
	var unsettled []*parcel
	for x := range p.unsettled.all {
		if x.member.source.Number == number {
			unsettled = append(unsettled, x)
		}
	}
	for _, x := range unsettled {
		p.unsettled.take(x.seq)
		p.arrived(x)
	}
	p.again(unsettled, told)
}

// again gives parcels that a server may have seen to others. client.mu is held.
func (p *peer) again(xs []*parcel, told *outcomes) {
	slices.SortFunc(xs, func(a, b *parcel) int { return int(int64(a.order - b.order)) })
	pools := map[*pool]bool{}
	for _, x := range xs {
		x.complete(told, x.member.name(), nil, nil) // it was received, or it could not be given back
		x.again = true
		x.count++
		delete(p.calls, x.call)
		p.client.back(x, told)
		pools[x.pool] = true
	}
	for pl := range pools {
		p.client.dispatch(pl, told)
	}
}

// received notes that the peer has all requests up to seq. client.mu is held.
func (p *peer) received(seq uint64, told *outcomes) error {
	if seq < p.acked || seq > p.seq {
		return fmt.Errorf("%w: it received request %d, between %d and %d are on their way", proto.ErrMalformed, seq, p.acked, p.seq)
	}
	if p.acked < seq {
		p.heard, p.mute = time.Now(), false
	}
	full := !p.window()
	for p.acked < seq {
		if x := p.unsettled.find(p.acked + 1); x != nil {
			p.arrived(x)
			x.complete(told, "", nil, nil)
		}
		p.acked++
	}
	if full {
		for _, m := range p.members {
			p.client.dispatch(m.pool, told)
			m.flush(told)
		}
	}
	return nil
}

// arrived notes that the peer has read a request that is on its way. client.mu is
// held.
func (p *peer) arrived(x *parcel) {
	if x.seq > p.acked {
		p.link.Ahead(-len(x.data))
	}
}

// settled notes what became of a request. client.mu is held.
func (p *peer) settled(seq uint64, o proto.Outcome, told *outcomes) {
	x := p.unsettled.take(seq)
	if x == nil {
		return
	}
	p.arrived(x)
	m := x.member
	m.outstanding--
	switch o {
	case proto.Requeue:
		p.again([]*parcel{x}, told)
		return
	case proto.Full, proto.Gone:
		// Nobody has seen it, so it waits as though it had never been sent.
		delete(p.calls, x.call)
		if o == proto.Full {
			m.full = true
		} else if !m.gone {
			m.leave(told)
			delete(p.members, m.source.Number)
		}
		p.client.back(x, told)
		p.client.dispatch(x.pool, told)
		return
	case proto.Drop:
		delete(p.calls, x.call)
	}
	x.complete(told, "", nil, nil)
	p.client.recycle(x)
	if m.gone {
		return
	}
	if m.backlog.Len() > 0 {
		m.flush(told)
	}
	if m.pool.queue.Len() > 0 || m.rooms > 0 { // who it came for may have given up before there was room here
		p.client.dispatch(m.pool, told)
	}
}

// room notes that the peer keeps room for n requests to a source. client.mu is held.
func (p *peer) room(number uint32, n uint32, told *outcomes) {
	m := p.members[number]
	if m == nil {
		return // it left meanwhile, and its room with it
	}
	m.rooms = min(m.rooms+int(min(n, maxOutstanding)), maxOutstanding)
	m.full = true
	m.flush(told)
	p.client.dispatch(m.pool, told)
}

// forgetCalls forgets calls whose callers do not wait any more. client.mu is held.
func (p *peer) forgetCalls(now time.Time) {
	for id, c := range p.calls {
		if !c.expires.IsZero() && now.After(c.expires) {
			delete(p.calls, id)
		}
	}
}

// lose settles what the end of the link means for what was sent over it: what was
// not received is of unknown outcome, calls are lost, and casts wait to be sent
// again. It returns the calls to be told of. client.mu is held.
func (p *peer) lose(why error, told *outcomes) (lost map[string]call) {
	p.up = false
	lost = p.calls
	p.calls = map[string]call{}
	for x := range p.unsettled.all {
		m := x.member
		name := m.name()
		switch {
		case !x.accepted && x.call != "":
			delete(lost, x.call)
			x.complete(told, name, messaging.ErrOutcomeUnknown, fmt.Errorf("%w: %w", messaging.ErrServerLost, why))
		case !x.accepted:
			x.complete(told, name, messaging.ErrOutcomeUnknown, why)
		case x.call != "": // its caller is told
		case m.source.AtMostOnce:
			p.client.lost++
		default:
			p.kept = append(p.kept, x)
		}
	}
	p.unsettled = ledger{}
	slices.SortFunc(p.kept, func(a, b *parcel) int { return int(int64(a.order - b.order)) })
	for _, m := range p.members {
		m.outstanding, m.rooms, m.full = 0, 0, false
	}
	return lost
}

// end takes the peer out, and gives what it had to others. client.mu is held.
func (p *peer) end(told *outcomes) {
	kept := p.kept
	p.kept = nil
	for number, m := range p.members {
		m.leave(told)
		delete(p.members, number)
	}
	p.again(kept, told)
	if p.client.peers[p.id] == p {
		delete(p.client.peers, p.id)
	}
	p.client.announce()
}

// resume goes on over a new link to the same node: it listens at these sources
// now, and gets once more what it has not settled, which it may have still.
// client.mu is held.
func (p *peer) resume(sources []proto.Source, told *outcomes) {
	for number, m := range p.members {
		if !slices.ContainsFunc(sources, func(s proto.Source) bool { return s.Number == number }) {
			m.leave(told)
			delete(p.members, number)
		}
	}
	kept := p.kept
	p.kept = nil
	var others []*parcel
	for _, x := range kept {
		m := x.member
		x.again = true
		x.count++
		if m.gone || !p.up || !p.send(m, x, false, told) {
			x.count--
			others = append(others, x)
		}
	}
	p.again(others, told)
	p.add(sources, told)
	for _, m := range p.members {
		m.flush(told)
		p.client.dispatch(m.pool, told)
	}
}

var errNoHello = errors.New("its first message is no greeting")
