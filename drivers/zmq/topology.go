package zmq

import (
	"container/list"
	"slices"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

// route is where messages to one address go: to one member of each pool or, for a
// fanout, to every member. client.mu guards it.
type route struct {
	address messaging.Address
	pools   []*pool // by group; only notifications have several
}

// pool is the servers that share what is sent to an address.
type pool struct {
	route   *route
	group   string
	members []*member
	next    int       // whose turn it is among those with the fewest outstanding
	queue   list.List // of *parcel, the oldest first: what no member has room for
}

// member is one server's source, as seen from here. It stays while its link is
// being repaired.
type member struct {
	peer        *peer
	source      proto.Source
	pool        *pool
	outstanding int // parcels that it has and has not settled
	full        bool
	rooms       int       // parcels for which it keeps room, while it is full
	backlog     list.List // of *parcel: copies of fanouts that wait for room
	gone        bool      // it listens no more
}

// maxBacklog bounds the fanouts that are kept for a member which is behind.
const maxBacklog = 256

// maxOutstanding bounds what one member is given, whatever it announces.
const maxOutstanding = 1 << 16

// ready reports whether the member's link is there.
func (m *member) ready() bool { return m.peer.up && !m.gone }

// room reports whether a parcel can be sent to the member now.
func (m *member) room() bool {
	return m.ready() && m.peer.window() &&
		m.outstanding < min(int(m.source.Prefetch), maxOutstanding) &&
		(!m.full || m.rooms > 0)
}

// before reports whether m should get a message rather than o: it answers, or has
// fewer outstanding.
func (m *member) before(o *member) bool {
	if m.peer.mute != o.peer.mute {
		return o.peer.mute
	}
	return m.outstanding < o.outstanding
}

// pick returns the member with room that has the fewest outstanding, in turn among
// several. One whose process is stuck is chosen when there is no other.
func (p *pool) pick() *member {
	var best *member
	n := len(p.members)
	at := 0
	for i := range n {
		k := p.next + i
		if k >= n {
			k -= n
		}
		if m := p.members[k]; m.room() && (best == nil || m.before(best)) {
			best, at = m, k
		}
	}
	if best != nil {
		if p.next = at + 1; p.next >= n {
			p.next = 0
		}
	}
	return best
}

// waits reports whether a member may come back, so that there is something to
// wait for.
func (p *pool) waits() bool { return len(p.members) > 0 }

func (p *pool) remove(m *member) {
	if i := slices.Index(p.members, m); i >= 0 {
		p.members = slices.Delete(p.members, i, i+1)
		p.next = 0
	}
}

// insert puts a parcel into a queue by its age, which is most often an end of it.
func insert(q *list.List, p *parcel) {
	for e := q.Back(); e != nil; e = e.Prev() {
		if e.Value.(*parcel).order <= p.order {
			p.place = q.InsertAfter(p, e)
			return
		}
	}
	p.place = q.PushFront(p)
}

// insertFront is insert for what is most likely the oldest.
func insertFront(q *list.List, p *parcel) {
	for e := q.Front(); e != nil; e = e.Next() {
		if e.Value.(*parcel).order > p.order {
			p.place = q.InsertBefore(p, e)
			return
		}
	}
	p.place = q.PushBack(p)
}

// routes are all that is known of who listens where. client.mu guards them.
type routes map[messaging.Address]*route

// route returns the route to an address, made if need be.
func (r routes) route(a messaging.Address) *route {
	rt := r[a]
	if rt == nil {
		rt = &route{address: a}
		r[a] = rt
	}
	return rt
}

// pool returns the pool of a group, made if need be.
func (rt *route) pool(group string) *pool {
	for _, p := range rt.pools {
		if p.group == group {
			return p
		}
	}
	p := &pool{route: rt, group: group}
	rt.pools = append(rt.pools, p)
	return p
}

// tidy forgets a pool that nobody is in and nothing waits for.
func (r routes) tidy(p *pool) {
	if len(p.members) > 0 || p.queue.Len() > 0 {
		return
	}
	rt := p.route
	if i := slices.Index(rt.pools, p); i >= 0 {
		rt.pools = slices.Concat(rt.pools[:i], rt.pools[i+1:]) // who tidies may be going through them
	}
	if len(rt.pools) == 0 && r[rt.address] == rt {
		delete(r, rt.address)
	}
}
