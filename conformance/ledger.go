package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/patchbay-go/patchbay/messaging"
)

// fate is what became of a send, as far as its sender knows.
type fate uint8

const (
	pending fate = iota
	accepted
	rejected
	unroutable
	notSent
	unknown
	wrong // an error that is no outcome: a driver or the core broke the contract
)

func (f fate) String() string {
	return [...]string{"pending", "accepted", "rejected", "unroutable", "not sent", "unknown", "no outcome"}[f]
}

// fateOf reads the outcome from the error of a send. Exactly one must match.
func fateOf(err error) fate {
	if err == nil {
		return accepted
	}
	found := wrong
	for f, target := range map[fate]error{
		rejected: messaging.ErrRejected, unroutable: messaging.ErrNoRoute,
		notSent: messaging.ErrNotSent, unknown: messaging.ErrOutcomeUnknown,
	} {
		if errors.Is(err, target) {
			if found != wrong {
				return wrong
			}
			found = f
		}
	}
	return found
}

// receipt is one arrival of one message at one receiver.
type receipt struct {
	key         string
	who         string
	source      int
	redelivered bool
	count       int
}

func (r receipt) String() string {
	s := fmt.Sprintf("%s received %s from source %d", r.who, r.key, r.source)
	if r.redelivered {
		s += ", redelivered"
	}
	return s
}

// ledger records every send and every receipt of a case. It is safe for
// concurrent use.
type ledger struct {
	mu       sync.Mutex
	sent     map[string]fate
	got      []receipt
	copies   map[string]int // receipts of each key
	by       map[string]int // receipts of each receiver
	tail     []string
	next     int // in tail, once it is full
	changed  chan struct{}
	watchers int
}

const tailLength = 32

func newLedger() *ledger {
	return &ledger{sent: map[string]fate{}, copies: map[string]int{}, by: map[string]int{}, changed: make(chan struct{})}
}

// attempt notes that key is about to be sent.
func (l *ledger) attempt(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[key] = pending
	l.note("sending " + key)
}

// outcome notes what became of it.
func (l *ledger) outcome(key string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := fateOf(err)
	l.sent[key] = f
	l.note(key + " is " + f.String())
	l.broadcast()
}

// receive notes an arrival.
func (l *ledger) receive(r receipt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got = append(l.got, r)
	l.copies[r.key]++
	l.by[r.who]++
	if len(l.got) <= 4*tailLength || len(l.got)%64 == 0 {
		l.note(r.String())
	}
	l.broadcast()
}

// note appends to the tail, a ring. Called with mu held.
func (l *ledger) note(line string) {
	if len(l.tail) < tailLength {
		l.tail = append(l.tail, line)
		return
	}
	l.tail[l.next] = line
	l.next = (l.next + 1) % tailLength
}

func (l *ledger) broadcast() {
	if l.watchers > 0 {
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

// wait waits until cond holds or ctx ends. cond is called with mu held.
func (l *ledger) wait(ctx context.Context, cond func(*ledger) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers++
	defer func() { l.watchers-- }()
	for !cond(l) {
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
			l.mu.Lock()
		case <-ctx.Done():
			l.mu.Lock()
			return context.Cause(ctx)
		}
	}
	return nil
}

// arrivals counts what a receiver got, for the cond of wait.
func (l *ledger) arrivals(who string) int {
	n := 0
	for _, r := range l.got {
		if r.who == who {
			n++
		}
	}
	return n
}

// keysOf returns what a receiver got, in order.
func (l *ledger) keysOf(who string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	keys := []string{}
	for _, r := range l.got {
		if r.who == who {
			keys = append(keys, r.key)
		}
	}
	return keys
}

// receipts returns a copy of all receipts of a key.
func (l *ledger) receipts(key string) []receipt {
	l.mu.Lock()
	defer l.mu.Unlock()
	var rs []receipt
	for _, r := range l.got {
		if r.key == key {
			rs = append(rs, r)
		}
	}
	return rs
}

// received returns how often a key was received.
func (l *ledger) received(key string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.copies[key]
}

// Counts sums up the ledger of a case. Receipts count every copy of a fanout.
type Counts struct {
	Attempted  int `json:"attempted"`
	Accepted   int `json:"accepted"`
	Rejected   int `json:"rejected"`
	Unroutable int `json:"unroutable"`
	NotSent    int `json:"not_sent"`
	Unknown    int `json:"unknown"` // no outcome came, or the outcome is that it is unknown
	Received   int `json:"received"`
	Lost       int `json:"lost"`       // accepted and received by nobody
	Duplicated int `json:"duplicated"` // receipts of a message beyond the first
	Unexpected int `json:"unexpected"` // received and never sent
	Recovered  int `json:"recovered"`  // received although its send was unknown
}

// counts sums up. "Lost" and "duplicated" are facts, not verdicts: a fanout is
// received many times, and a message in a queue that is still full is not lost.
func (l *ledger) counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := Counts{Attempted: len(l.sent), Received: len(l.got)}
	for key, f := range l.sent {
		copies := l.copies[key]
		switch f {
		case accepted:
			c.Accepted++
			if copies == 0 {
				c.Lost++
			}
		case rejected:
			c.Rejected++
		case unroutable:
			c.Unroutable++
		case notSent:
			c.NotSent++
		default:
			c.Unknown++
			if copies > 0 {
				c.Recovered++
			}
		}
	}
	for key, copies := range l.copies {
		if _, ok := l.sent[key]; !ok {
			c.Unexpected += copies
		}
		c.Duplicated += copies - 1
	}
	return c
}

// lastLines returns the tail, oldest first.
func (l *ledger) lastLines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Concat(l.tail[l.next:], l.tail[:l.next])
}
