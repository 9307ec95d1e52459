package zmq

import (
	"context"
	"fmt"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// settled waits until every endpoint that is known was tried once, so that what
// is not known then is not there. A node that does not send keeps no links: then
// they are opened first.
func (cl *client) settled(ctx context.Context) error {
	for {
		cl.mu.Lock()
		if cl.leaving {
			cl.mu.Unlock()
			return errLeaving
		}
		cl.used = true
		if cl.on && cl.trying == 0 {
			cl.mu.Unlock()
			return nil
		}
		if !cl.on {
			cl.start()
		}
		changed := cl.changed
		cl.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("linking to the servers: %w", context.Cause(ctx))
		}
	}
}

// muteTime is how long a node may take to receive a request before others are
// preferred.
const muteTime = 500 * time.Millisecond

// tick ends what has waited for too long, and tells of what was given up.
func (cl *client) tick() {
	var told outcomes
	now := time.Now()
	cl.mu.Lock()
	for _, rt := range cl.routes {
		for _, p := range rt.pools {
			for e := p.queue.Front(); e != nil; {
				x, next := e.Value.(*parcel), e.Next()
				_, alive := x.left()
				old := !x.held.IsZero() && now.Sub(x.held) > cl.c.o.resend
				if x.sent == nil && (!alive || old) {
					p.queue.Remove(e)
					x.place = nil
					cl.expire(x, &told)
					if old {
						cl.lost++
					}
				}
				e = next
			}
			cl.routes.tidy(p)
		}
	}
	for _, p := range cl.peers {
		p.forgetCalls(now)
		p.mute = p.acked < p.seq && now.Sub(p.heard) > muteTime
	}
	lost := cl.lost
	cl.lost = 0
	cl.mu.Unlock()
	told.tell()
	if lost > 0 {
		cl.c.log.Warn("patchbay: gave up messages that were accepted, no server took them over", "number", lost)
	}
}

// await waits until members can be reached at the address.
func (cl *client) await(ctx context.Context, to messaging.Address, members int) error {
	cl.mu.Lock()
	cl.awaiting++
	cl.mu.Unlock()
	defer func() {
		cl.mu.Lock()
		cl.awaiting--
		cl.mu.Unlock()
	}()
	if err := cl.settled(ctx); err != nil {
		return err
	}
	cl.mu.Lock()
	for _, cd := range cl.candidates {
		cd.poke() // not at the end of its wait
	}
	cl.mu.Unlock()
	for {
		cl.mu.Lock()
		n, changed, leaving := cl.count(to), cl.changed, cl.leaving
		cl.mu.Unlock()
		switch {
		case leaving:
			return errLeaving
		case n >= members:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d are linked: %w", n, members, context.Cause(ctx))
		}
	}
}

// count returns how many members of an address are linked. mu is held.
func (cl *client) count(to messaging.Address) (n int) {
	rt := cl.routes[to]
	if rt == nil {
		return 0
	}
	for _, p := range rt.pools {
		for _, m := range p.members {
			if m.ready() {
				n++
			}
		}
	}
	return n
}

// knows waits until we know ourselves what a listener of this node listens at, where
// links are kept: who has listened may send there at once.
func (cl *client) knows(ctx context.Context, l *listener) error {
	for {
		cl.mu.Lock()
		known := !cl.on || cl.leaving || cl.peers[cl.c.id].has(l.sources)
		changed := cl.changed
		cl.mu.Unlock()
		if known {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("linking to this node: %w", context.Cause(ctx))
		}
	}
}
