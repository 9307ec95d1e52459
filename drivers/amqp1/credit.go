package amqp1

import "sync"

// credit is how many messages the peer may still send over a link. There is one
// for each place of the prefetch that no delivery holds, and it is given in
// batches: each costs a frame.
type credit struct {
	issue    func(n uint32) error
	prefetch int

	mu      sync.Mutex // protects what follows
	given   int        // to the peer, and not used yet
	free    int        // places that are free and not given
	stopped bool
}

// start gives all of it.
func (c *credit) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopped {
		c.free = c.prefetch
		c.give()
	}
}

// received notes that the peer used one.
func (c *credit) received() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given--
	c.give()
}

// settled notes that a delivery does not hold its place any more.
func (c *credit) settled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free++
	c.give()
}

// stop makes sure that no more is given, and reports whether it was the first to.
func (c *credit) stop() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := !c.stopped
	c.stopped = true
	return first
}

// give gives what is free, when that is a quarter of the prefetch, or the peer has
// used up all that it may. c.mu is held.
func (c *credit) give() {
	if c.stopped || c.free == 0 || c.free < c.prefetch/4 && c.given > 0 {
		return
	}
	if c.issue(uint32(c.free)) == nil { //nolint:gosec // 1 to maxPrefetch
		c.given += c.free
		c.free = 0
	}
}
