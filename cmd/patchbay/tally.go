package main

import (
	"context"
	"fmt"
	"sync"
)

// tally counts by name. It is safe for concurrent use.
type tally struct {
	mu      sync.Mutex
	counts  map[string]int // guarded by mu, like all below
	total   int
	changed chan struct{} // closed and replaced by add
}

func newTally() *tally {
	return &tally{counts: map[string]int{}, changed: make(chan struct{})}
}

func (t *tally) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[name]++
	t.total++
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *tally) of(name string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[name]
}

func (t *tally) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.counts)
	t.total = 0
}

// wait returns when n were counted.
func (t *tally) wait(ctx context.Context, n int) error {
	for {
		t.mu.Lock()
		total, changed := t.total, t.changed
		t.mu.Unlock()
		if total >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %d requests to be handled, after %d: %w", n, total, ctx.Err())
		}
	}
}

// expect returns an error unless n were counted.
func (t *tally) expect(n int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.total != n {
		return fmt.Errorf("%d requests were handled %d times", n, t.total)
	}
	return nil
}
