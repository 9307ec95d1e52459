package rabbit

import "time"

// group learns the outcomes of a lane without confirmations. It asks the broker
// a question, channel.flow, whose answer says that all which was published before
// is routed: a channel is worked through in order, and what has no route is
// returned before it goes on. An answer for many messages costs the broker, and
// us, a fraction of a confirmation for each.
//
// It is as good as confirmations where a queue has no disk and no copies to wait
// for, but for one thing: it does not know when a queue refuses a message, by a
// policy of "overflow: reject-publish". ADR 0007 weighs that.
//
// One question is on its way at a time. Its fields are protected by lane.mu, like
// all calls but answered.
type group struct {
	l      *lane
	asking bool        // the answer is on its way
	asked  uint64      // the last publish that the last question was about
	urgent uint64      // the last publish whose outcome somebody waits for
	late   *time.Timer // when to ask about the others
}

const (
	// groupSize is how many messages, whose outcomes nobody waits for, make a
	// question worth while.
	groupSize = 32

	// groupTime is how long they wait for each other: what is not known when the
	// connection is lost is a call of unknown outcome.
	groupTime = 5 * time.Millisecond
)

func newGroup(l *lane) *group {
	g := &group{l: l, late: time.NewTimer(groupTime)}
	g.late.Stop()
	return g
}

// published notes one more publish.
func (g *group) published(unawaited bool) {
	n := g.l.number
	if !unawaited {
		g.urgent = n
	}
	switch {
	case g.asking: // see answered
	case g.urgent > g.asked, n-g.asked >= groupSize:
		g.ask()
	case n == g.asked+1:
		g.late.Reset(groupTime)
	}
}

// ask asks about all that was published, unless an answer is on its way.
func (g *group) ask() {
	if g.asking || g.l.number == g.asked {
		return
	}
	g.asking, g.asked = true, g.l.number
	g.l.buf = appendFlow(g.l.buf[:0], g.l.ch.number)
	_ = g.l.ch.f.send(g.l.ch, g.l.buf) // else the end of the channel tells
}

// answered is told that the question was answered.
func (g *group) answered() {
	l := g.l
	l.mu.Lock()
	number := g.asked
	if g.asking = false; l.number > number {
		if g.urgent > number || l.number-number >= groupSize {
			g.ask()
		} else {
			g.late.Reset(groupTime)
		}
	}
	l.mu.Unlock()
	l.confirmed(number, true, true)
}
