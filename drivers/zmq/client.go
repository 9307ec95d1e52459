package zmq

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/patchbay-go/patchbay/drivers/zmq/internal/proto"
	"github.com/patchbay-go/patchbay/messaging"
)

// client is the sending half of a node: links to all nodes that listen, who
// listens where, and what was sent and is not settled.
//
// Lock order: client.mu before that of a link. Completions are told without it.
type client struct {
	c       *conn
	parcels sync.Pool // of *parcel

	mu         sync.Mutex // protects the following
	routes     routes
	peers      map[proto.NodeID]*peer
	candidates map[string]*candidate
	endpoints  []string // of others, as discovery told last
	self       *server  // our own half that listens, once it is bound
	on         bool     // links are kept
	used       bool     // something was sent, or waited for
	trying     int      // candidates whose first attempt is not over
	awaiting   int      // calls of Await that wait
	leaving    bool
	order      uint64        // of the last parcel
	lost       int           // parcels that were accepted and given up, not logged yet
	changed    chan struct{} // closed and replaced when members or candidates have changed
}

func newClient(c *conn) *client {
	cl := &client{
		c: c, routes: routes{}, peers: map[proto.NodeID]*peer{}, candidates: map[string]*candidate{},
		changed: make(chan struct{}),
	}
	cl.parcels.New = func() any { return new(parcel) }
	return cl
}

// recycle keeps the memory of a parcel that nobody else holds.
func (cl *client) recycle(x *parcel) {
	if x.whole != nil || x.waited || cap(x.data) > keepParcel {
		return
	}
	*x = parcel{data: x.data[:0]}
	cl.parcels.Put(x)
}

// keepParcel bounds the memory of a parcel that is kept for the next.
const keepParcel = 4 << 10

// announce wakes who waits for a change. mu is held.
func (cl *client) announce() {
	close(cl.changed)
	cl.changed = make(chan struct{})
}

// send is Send for requests and notifications.
func (cl *client) send(ctx context.Context, to messaging.Address, m *messaging.Message, done messaging.Completion) error {
	p := cl.parcels.Get().(*parcel)
	p.fill(m, done)
	var told outcomes
	cl.mu.Lock()
	cl.used = true
	if !cl.on {
		cl.mu.Unlock()
		if err := cl.settled(ctx); err != nil {
			return err
		}
		cl.mu.Lock()
	}
	if cl.leaving {
		cl.mu.Unlock()
		return errLeaving
	}
	cl.order++
	p.order = cl.order
	switch rt := cl.routes[to]; {
	case to.Fanout:
		cl.fanOut(rt, m.Mandatory, p, &told)
	case to.Kind == messaging.KindNotify && (rt == nil || len(rt.pools) != 1 || !rt.pools[0].waits()):
		cl.notify(to, m.Mandatory, p, &told)
	default:
		cl.route(to, rt, p, &told)
	}
	sent := p.sent
	cl.mu.Unlock()
	told.tell()
	if sent == nil {
		return nil
	}
	return cl.wait(ctx, p, sent)
}

// route sends a parcel to one server of an address, whose route is known if there
// is one, or queues it until one has room. mu is held.
func (cl *client) route(to messaging.Address, rt *route, p *parcel, told *outcomes) {
	group := ""
	switch {
	case rt == nil:
		rt = cl.routes.route(to)
	case to.Kind == messaging.KindNotify:
		group = rt.pools[0].group // the only one
	}
	p.pool = rt.pool(group)
	if p.pool.queue.Len() == 0 && cl.hand(p.pool, p, false, told) {
		return
	}
	if !p.pool.waits() && cl.trying == 0 {
		p.complete(told, "", cl.noRoute(), nil)
		cl.routes.tidy(p.pool)
		return
	}
	p.sent, p.waited = make(chan struct{}), true
	insert(&p.pool.queue, p)
}

// hand gives a parcel to the best member of its pool, if one has room, and says
// whether more wait. mu is held.
func (cl *client) hand(p *pool, x *parcel, more bool, told *outcomes) bool {
	for {
		m := p.pick()
		if m == nil {
			return false
		}
		if m.peer.send(m, x, more, told) {
			return true
		}
	}
}

// wait waits until a queued parcel was sent, its outcome was told, or nothing is
// to wait for any more.
func (cl *client) wait(ctx context.Context, p *parcel, sent chan struct{}) error {
	var expired <-chan time.Time
	if until, ok := ctx.Deadline(); !p.expires.IsZero() && (!ok || p.expires.Before(until.Add(-10*time.Millisecond))) {
		timer := time.NewTimer(time.Until(p.expires))
		defer timer.Stop()
		expired = timer.C
	}
	var why error
	select {
	case <-sent:
		return nil
	case <-ctx.Done():
		why = fmt.Errorf("waiting for a server with room: %w", context.Cause(ctx))
	case <-expired:
		why = errExpired
	case <-cl.c.leaving:
		why = errLeaving
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if p.sent == nil {
		return nil // meanwhile
	}
	p.pool.queue.Remove(p.place)
	p.place, p.sent = nil, nil
	p.accepted = true // nothing is told any more
	cl.routes.tidy(p.pool)
	return why
}

// fanOut sends a copy to every member, and keeps copies for those which are
// behind. mu is held.
func (cl *client) fanOut(rt *route, mandatory bool, p *parcel, told *outcomes) {
	f := &fanout{done: p.done, open: 1} // one for this function
	if rt != nil {
		for _, pl := range rt.pools {
			for _, m := range pl.members {
				f.members++
				f.open++
				x := p.copyFor(f)
				x.pool, x.member, x.order = pl, m, p.order
				m.enqueue(x, told)
			}
		}
	}
	if f.members == 0 && mandatory {
		told.add(p.done, cl.noRoute())
		return
	}
	f.finish(told, 1)
}

// notify sends a copy to one listener of each group. mu is held.
func (cl *client) notify(to messaging.Address, mandatory bool, p *parcel, told *outcomes) {
	rt := cl.routes[to]
	f := &fanout{done: p.done, open: 1}
	if rt != nil {
		for _, pl := range rt.pools {
			if !pl.waits() {
				continue
			}
			f.members++
			f.open++
			x := p.copyFor(f)
			x.pool, x.order = pl, p.order
			switch {
			case pl.queue.Len() == 0 && cl.hand(pl, x, false, told):
			case pl.queue.Len() < maxBacklog:
				insert(&pl.queue, x)
				x.complete(told, pl.group, nil, nil)
			default:
				x.complete(told, pl.group, messaging.ErrNotSent, errBehind)
			}
		}
	}
	if f.members == 0 && mandatory {
		told.add(p.done, cl.noRoute())
		return
	}
	f.finish(told, 1)
}

// dispatch hands out what waits in a pool, as far as there is room. mu is held.
func (cl *client) dispatch(p *pool, told *outcomes) {
	for e := p.queue.Front(); e != nil; e = p.queue.Front() {
		x := e.Value.(*parcel)
		if _, alive := x.left(); !alive {
			cl.expire(x, told)
		} else if !cl.hand(p, x, p.queue.Len() > 1, told) {
			break
		}
		p.queue.Remove(e)
		x.place = nil
	}
	if p.queue.Len() == 0 {
		for _, m := range p.members {
			m.pass()
		}
	}
	if !p.waits() && cl.trying == 0 {
		cl.giveUp(p, told)
	}
	cl.routes.tidy(p)
}

// expire ends a parcel whose time is over. mu is held.
func (cl *client) expire(x *parcel, told *outcomes) {
	x.complete(told, "", messaging.ErrNotSent, errExpired)
	x.release()
}

// release lets a Send that waits for the parcel go. client.mu is held.
func (x *parcel) release() {
	if x.sent != nil {
		close(x.sent)
		x.sent = nil
	}
}

// giveUp ends what waits for an address where nobody is any more. A cast that was
// accepted before is kept for a while: who comes back gets it. A call is not: its
// caller waits, and one that begins now is told that nobody is there. mu is held.
func (cl *client) giveUp(p *pool, told *outcomes) {
	now := time.Now()
	for e := p.queue.Front(); e != nil; {
		x, next := e.Value.(*parcel), e.Next()
		switch {
		case !x.accepted:
			p.queue.Remove(e)
			x.place = nil
			x.complete(told, p.group, cl.noRoute(), nil)
			x.release()
		case x.call != "":
			p.queue.Remove(e)
			x.place = nil
			told.lose(cl.c, x, cl.givenBack(x))
		case x.held.IsZero():
			x.held = now
		}
		e = next
	}
}

// givenBack is why a call is lost that a server gave back: ErrNoRoute too, if
// certainly nobody has begun it. mu is held.
func (cl *client) givenBack(x *parcel) error {
	if x.again {
		return errGivenBack
	}
	return fmt.Errorf("%w: %w", errGivenBack, cl.noRoute())
}

// back queues a parcel that a server did not take, gave back or lost, so that
// another gets it. mu is held.
func (cl *client) back(x *parcel, told *outcomes) {
	m := x.member
	if x.whole != nil && x.pool.route.address.Fanout {
		if m.gone {
			x.complete(told, m.name(), nil, nil) // who left is owed nothing
			return
		}
		insertFront(&m.backlog, x)
		m.flush(told)
		return
	}
	x.member, x.held = nil, time.Time{}
	x.pool = cl.routes.route(x.pool.route.address).pool(x.pool.group)
	insertFront(&x.pool.queue, x)
}
