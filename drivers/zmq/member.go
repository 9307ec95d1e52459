package zmq

import (
	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

// name is what errors call the member.
func (m *member) name() string {
	switch {
	case m.source.Address.Server != "":
		return m.source.Address.Server
	case m.source.Member != "":
		return m.source.Member
	}
	return m.peer.host
}

// enqueue sends a copy of a fanout, or keeps it until there is room. client.mu is
// held.
func (m *member) enqueue(x *parcel, told *outcomes) {
	switch {
	case m.backlog.Len() == 0 && m.room() && m.peer.send(m, x, false, told):
	case m.backlog.Len() < maxBacklog:
		insert(&m.backlog, x)
		x.complete(told, "", nil, nil)
	default:
		x.complete(told, m.name(), messaging.ErrNotSent, errBehind)
	}
}

// flush sends what was kept, as far as there is room. client.mu is held.
func (m *member) flush(told *outcomes) {
	for e := m.backlog.Front(); e != nil && m.room(); e = m.backlog.Front() {
		x := e.Value.(*parcel)
		m.backlog.Remove(e)
		x.place = nil
		if _, alive := x.left(); !alive {
			x.complete(told, m.name(), messaging.ErrNotSent, errExpired)
			continue
		}
		if !m.peer.send(m, x, m.backlog.Len() > 0, told) {
			insertFront(&m.backlog, x)
			return
		}
	}
	if m.backlog.Len() == 0 && m.pool.route.address.Fanout {
		m.pass()
	}
}

// pass gives back room that nothing is there for. client.mu is held.
func (m *member) pass() {
	if m.rooms > 0 && m.ready() {
		m.peer.command(proto.Head{Kind: proto.Pass, Source: m.source.Number, Count: uint32(m.rooms)})
		m.rooms, m.full = 0, false
	}
}

// leave takes the member out of its pool. client.mu is held.
func (m *member) leave(told *outcomes) {
	m.gone = true
	for e := m.backlog.Front(); e != nil; e = e.Next() {
		e.Value.(*parcel).complete(told, "", nil, nil) // who left is owed nothing
	}
	m.backlog.Init()
	m.pool.remove(m)
	m.peer.client.dispatch(m.pool, told)
}
