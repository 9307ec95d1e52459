package rabbit

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

// resumeWait is how long a stream may be silent where it was read before, until it
// counts as another one; less where heartbeats are more frequent.
const resumeWait = 10 * time.Second

// position is how far a listener has read a stream. A stream keeps its messages, so
// what was not settled when a channel or a connection was lost is read again, and
// this is where to go on. It outlives both.
//
// An offset alone does not tell where that is: if the stream was deleted and made
// again, it does not reach that far, and its reader would wait for ever. So reading
// goes on at a message that is known, the last one whose settlement is certain: if
// that is not what comes, or nothing does, this is another stream, and all of it is
// new.
type position struct {
	seed maphash.Seed

	mu       sync.Mutex // protects the following
	since    time.Time  // when it was first read; zero: it was not
	another  bool       // it is a stream that was not there then
	next     int64      // behind the last offset that came
	known    *landmark  // the message before all of open; nil: there is none
	open     []reading  // in order of their offsets
	expected *landmark  // of the present session: what must come first
	drop     bool       // and not be delivered
	turn     int64      // of the present session: what one before it read has no meaning any more
}

// landmark is a message by which a stream is known.
type landmark struct {
	offset int64
	sum    uint64 // of its body
}

// reading is a message that is not settled.
type reading struct {
	landmark
	last landmark // before the next one that is not settled: itself, or one that is
}

func newPosition() *position { return &position{seed: maphash.MakeSeed()} }

// begin returns where a session reads, the argument x-stream-offset, and the number
// of its turn.
func (p *position) begin(now time.Time) (from any, turn int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn++
	return p.start(now), p.turn
}

// start returns where to read from. p.mu is held.
func (p *position) start(now time.Time) any {
	p.expected, p.drop = nil, false
	switch {
	case p.since.IsZero():
		p.since = now
		return "next" // what was sent before is not for this listener
	case p.another:
		p.another = false
		return "first"
	case p.known != nil:
		p.expected, p.drop = p.known, true
	case len(p.open) > 0:
		p.expected = &p.open[0].landmark
	default:
		return p.since // nothing came so far
	}
	return p.expected.offset
}

// began reports whether it was read.
func (p *position) began() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.since.IsZero()
}

// giveUp reports whether the session of a turn has not seen yet that this is its
// stream, and is over.
func (p *position) giveUp(turn int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if turn != p.turn || p.expected == nil {
		return false
	}
	p.forget()
	return true
}

// restart makes the next session read another stream from its beginning.
func (p *position) restart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget()
}

// forget ends the turn and forgets the stream. p.mu is held.
func (p *position) forget() {
	p.turn++
	p.another, p.next, p.known, p.open, p.expected = true, 0, nil, nil, nil
}

// standing is what a message that came is to its reader.
type standing uint8

const (
	isNew         standing = iota
	openBefore             // it came before, and is not settled
	settledBefore          // it came before, and is over
	foreign                // it belongs to another stream; the turn is over
	stale                  // its turn was over
)

// read notes a message and says what becomes of it. Called in the order of arrival.
func (p *position) read(turn, offset int64, body []byte) standing {
	sum := maphash.Bytes(p.seed, body)
	p.mu.Lock()
	defer p.mu.Unlock()
	if turn != p.turn {
		return stale
	}
	if e := p.expected; e != nil {
		p.expected = nil
		switch {
		case offset < e.offset, offset == e.offset && sum != e.sum:
			p.forget()
			return foreign
		case offset == e.offset && p.drop:
			return settledBefore
		}
	}
	if offset >= p.next {
		p.next = offset + 1
		it := landmark{offset, sum}
		p.open = append(p.open, reading{it, it})
		return isNew
	}
	if p.find(offset) >= 0 {
		return openBefore
	}
	return settledBefore
}

// settle notes that a message of a turn is over.
func (p *position) settle(turn, offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if turn != p.turn {
		return // it comes again
	}
	i := p.find(offset)
	if i < 0 {
		return
	}
	last := p.open[i].last
	p.open = slices.Delete(p.open, i, i+1)
	if i > 0 {
		p.open[i-1].last = last
	} else {
		p.known = &last
	}
}

func (p *position) find(offset int64) int {
	i, ok := slices.BinarySearchFunc(p.open, offset, func(r reading, o int64) int { return cmp.Compare(r.offset, o) })
	if !ok {
		return -1
	}
	return i
}
