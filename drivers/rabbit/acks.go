package rabbit

import (
	"cmp"
	"slices"
	"sync"
)

// acks are the unsettled deliveries of one channel. Acknowledgements gather
// until flush, which covers the settled ones from the oldest on with one
// acknowledgement of them all. Past the first unsettled one each is
// acknowledged by itself, so that one slow handler does not use up the prefetch.
type acks struct {
	mu     sync.Mutex
	open   []delivered // in order of their tags
	acked  int         // of open
	gone   int         // of open
	frames []ack       // of the last flush, for reuse
}

type delivered struct {
	tag   uint64
	state settled
}

type settled uint8

const (
	unsettled settled = iota
	ackGiven          // and not yet written
	gone              // requeued or dropped, which was written at once
)

// maxGone is how many deliveries are remembered although they are gone: a
// consumer that acknowledges nothing never flushes.
const maxGone = 64

// ack is one acknowledgement to write.
type ack struct {
	tag      uint64
	multiple bool // all up to tag
}

// add notes a delivery, and returns how many are not settled. Tags grow.
func (a *acks) add(tag uint64) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open = append(a.open, delivered{tag: tag})
	return len(a.open) - a.gone
}

// ack notes that a delivery is to be acknowledged, and returns how many are.
func (a *acks) ack(tag uint64) int { return a.set(tag, ackGiven) }

// remove notes that the broker was told something else about a delivery: never
// before it was, or flush might acknowledge what is below.
func (a *acks) remove(tag uint64) { a.set(tag, gone) }

func (a *acks) set(tag uint64, s settled) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, ok := slices.BinarySearchFunc(a.open, tag, func(d delivered, t uint64) int { return cmp.Compare(d.tag, t) })
	if !ok || a.open[i].state != unsettled {
		return a.acked
	}
	a.open[i].state = s
	if s == ackGiven {
		a.acked++
		return a.acked
	}
	if a.gone++; a.gone > maxGone {
		a.open = slices.DeleteFunc(a.open, func(d delivered) bool { return d.state == gone })
		a.gone = 0
	}
	return a.acked
}

// flush returns what to write, in order, and forgets what it covers. The
// result is valid until the next flush.
func (a *acks) flush() []ack {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.frames = a.frames[:0]
	prefix, count := 0, 0
	var last uint64
	for prefix < len(a.open) && a.open[prefix].state != unsettled {
		if d := a.open[prefix]; d.state == ackGiven {
			last = d.tag
			count++
		} else {
			a.gone--
		}
		prefix++
	}
	if count > 0 {
		a.frames = append(a.frames, ack{tag: last, multiple: count > 1})
	}
	rest := a.open[prefix:]
	if a.acked > count {
		rest = a.single(rest)
		a.gone = 0
	}
	a.open = append(a.open[:0], rest...)
	a.acked = 0
	return a.frames
}

// single adds an acknowledgement for each one that is settled and returns the others.
func (a *acks) single(open []delivered) []delivered {
	n := 0
	for _, d := range open {
		switch d.state {
		case ackGiven:
			a.frames = append(a.frames, ack{tag: d.tag})
		case unsettled:
			open[n] = d
			n++
		case gone:
		}
	}
	return open[:n]
}
