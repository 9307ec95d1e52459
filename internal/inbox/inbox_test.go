package inbox

import (
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// TestOrder: what is taken is what was put, in order, and nothing is left behind.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := New[int]()
		put, taken := 0, 0
		for range 300 {
			if rapid.Bool().Draw(t, "put") {
				b.Put(put)
				put++
				continue
			}
			x, ok := b.Take()
			if ok != (taken < put) || ok && x != taken {
				t.Fatalf("took %d, %v after %d of %d", x, ok, taken, put)
			}
			if ok {
				taken++
			}
		}
		if b.Len() != put-taken {
			t.Fatalf("%d are held, %d were put and %d taken", b.Len(), put, taken)
		}
	})
}

// TestNobodySleepsOverWork: pollers that wait for the token get all that is put.
func TestNobodySleepsOverWork(*testing.T) {
	const pollers, items = 8, 10_000
	b := New[int]()
	var left atomic.Int64
	left.Store(items)
	over := make(chan struct{})
	var all sync.WaitGroup
	for range pollers {
		all.Go(func() {
			for {
				if _, ok := b.Take(); ok {
					if left.Add(-1) == 0 {
						close(over)
					}
					continue
				}
				select {
				case <-b.Ready():
				case <-over:
					return
				}
			}
		})
	}
	for i := range items {
		b.Put(i)
	}
	all.Wait()
}

// TestBacklogIsNotMovedForEach: a long queue that neither grows nor shrinks is moved
// once in a while, not for each that comes.
func TestBacklogIsNotMovedForEach(t *testing.T) {
	b := New[int]()
	for len(b.queue) < 1<<12 || len(b.queue) < cap(b.queue) {
		b.Put(0)
	}
	const rounds = 1 << 14
	moved := 0
	for range rounds {
		b.Take()
		b.Put(0)
		if b.head == 0 {
			moved++
		}
	}
	if moved > rounds>>10 {
		t.Errorf("moved %d times in %d rounds", moved, rounds)
	}
}
