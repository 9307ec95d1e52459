package amqp1

import (
	"slices"
	"sort"

	"github.com/patchbay-go/patchbay/messaging"
)

// outgoing is a message that is on its way, until its outcome is told.
type outgoing struct {
	id     uint32 // of the delivery
	told   bool   // it is not here any more
	from   *sender
	to     messaging.Address
	c      messaging.Completion // nil: nobody wants to know
	bytes  int                  // what it counts for in the window
	must   bool                 // that it has nowhere to go is ErrNoRoute
	queue  string               // that was declared for it; empty: none
	result error                // for who tells it
}

// tell tells the outcome.
func (o *outgoing) tell() {
	if o.c == nil {
		return
	}
	if o.result != nil {
		o.c.Complete(&messaging.OpError{Op: "sending to", Addr: o.to.String(), Err: o.result})
		return
	}
	o.c.Complete(nil)
}

// unsettled are the deliveries of a session whose outcome the peer has not told, in
// order of their numbers, which wrap around.
type unsettled struct {
	queue []outgoing // queue[head:] waits, but for those that are told
	head  int
	open  int // how many are not told
}

func (u *unsettled) empty() bool { return u.head == len(u.queue) }

// add appends the delivery with the largest number.
func (u *unsettled) add(o outgoing) {
	if len(u.queue) == cap(u.queue) && u.open <= len(u.queue)/2 { // move instead of growing, but not for each
		// Behind one whose outcome does not come there may be any number of those that
		// are told.
		u.queue = slices.DeleteFunc(u.queue, func(o outgoing) bool { return o.told })
		u.head = 0
	}
	u.queue = append(u.queue, o)
	u.open++
}

// settle appends those with numbers from first to last to out and forgets them.
func (u *unsettled) settle(first, last uint32, out []outgoing) []outgoing {
	open := u.queue[u.head:]
	for i := sort.Search(len(open), func(i int) bool { return !before(open[i].id, first) }); i < len(open); i++ {
		if before(last, open[i].id) {
			break
		}
		if !open[i].told {
			out = append(out, open[i])
			open[i] = outgoing{id: open[i].id, told: true}
			u.open--
		}
	}
	u.pass()
	return out
}

// of appends those of a link to out and forgets them.
func (u *unsettled) of(l *sender, out []outgoing) []outgoing {
	open := u.queue[u.head:]
	for i := range open {
		if open[i].from == l {
			out = append(out, open[i])
			open[i] = outgoing{id: open[i].id, told: true}
			u.open--
		}
	}
	u.pass()
	return out
}

// pass drops the first ones that are told.
func (u *unsettled) pass() {
	for u.head < len(u.queue) && u.queue[u.head].told {
		u.queue[u.head] = outgoing{told: true}
		u.head++
	}
	if u.head == len(u.queue) {
		u.queue, u.head = u.queue[:0], 0
	}
}

// before compares two numbers that wrap around.
func before(a, b uint32) bool { return int32(a-b) < 0 } //nolint:gosec // RFC 1982
