package zmq

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/patchbay-go/patchbay/messaging"
)

// Close implements messaging.Conn. Until ctx ends it waits for outcomes, and for
// servers that take over what was given back; then it says goodbye to all.
func (c *conn) Close(ctx context.Context) error {
	c.mu.Lock()
	first := !c.closing
	c.closing = true
	listeners := slices.Collect(maps.Keys(c.listeners))
	c.mu.Unlock()
	if !first {
		<-c.done
		return nil
	}
	close(c.leaving)
	c.client.drain(ctx)
	c.client.leave()
	c.server.leave(ctx)
	for _, l := range listeners {
		l.abandon(errLeaving)
	}
	c.mu.Lock()
	c.starting = false
	c.mu.Unlock()
	c.end()
	_ = c.discovery.Close(context.WithoutCancel(ctx)) // it ends its goroutines; more there is not to know
	c.running.Wait()
	close(c.done)
	return nil
}

// drainInterval is how often Close looks whether it may go on.
const drainInterval = 2 * time.Millisecond

// drain lets no more in, and waits until all that was handed over has an outcome
// and nothing waits that a server could take.
func (cl *client) drain(ctx context.Context) {
	cl.mu.Lock()
	cl.leaving = true
	cl.announce()
	cl.mu.Unlock()
	tick := time.NewTicker(drainInterval)
	defer tick.Stop()
	for {
		cl.mu.Lock()
		busy := cl.busy()
		cl.mu.Unlock()
		if !busy {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// busy reports whether there is something to wait for. mu is held.
func (cl *client) busy() bool {
	for _, p := range cl.peers {
		for x := range p.unsettled.all {
			if !x.accepted {
				return true
			}
		}
	}
	for _, rt := range cl.routes {
		for _, p := range rt.pools {
			if p.queue.Len() > 0 && slices.ContainsFunc(p.members, (*member).ready) {
				return true
			}
			for _, m := range p.members {
				if m.backlog.Len() > 0 && m.ready() {
					return true
				}
			}
		}
	}
	return false
}

// leave says goodbye to all peers, makes what has no outcome unknown, and ends the
// candidates.
func (cl *client) leave() {
	var told outcomes
	cl.mu.Lock()
	cl.on = false
	given := cl.lost
	for _, rt := range cl.routes {
		for _, p := range rt.pools {
			for e := p.queue.Front(); e != nil; {
				x, next := e.Value.(*parcel), e.Next()
				if x.sent == nil { // else its Send takes it out
					if x.accepted {
						given++
					}
					p.queue.Remove(e) // room may still come
					x.place = nil
					x.complete(&told, p.group, messaging.ErrNotSent, errLeaving)
				}
				e = next
			}
			for _, m := range p.members {
				given += m.backlog.Len()
			}
		}
	}
	for _, cd := range cl.candidates {
		cd.end() // its goroutine says goodbye
	}
	cl.mu.Unlock()
	told.tell()
	if given > 0 {
		cl.c.log.Warn("patchbay: closing with messages that were accepted and that no server took", "number", given)
	}
}

func isNotSent(err error) bool { return errors.Is(err, messaging.ErrNotSent) }
