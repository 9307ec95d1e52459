package fifo_test

import (
	"testing"

	"github.com/patchbay-go/patchbay/internal/fifo"
)

// TestRoom: a queue that is never empty keeps its order, does not grow without bound,
// and is moved now and then only.
func TestRoom(t *testing.T) {
	const waiting, rounds = 1000, 1 << 16
	var q []int
	head, moved, next := 0, 0, 0
	for i := range waiting + rounds {
		was := head
		if q, head = fifo.Room(q, head); head < was {
			moved++
		}
		q = append(q, i)
		if i < waiting {
			continue
		}
		if q[head] != next {
			t.Fatalf("%d is first, want %d", q[head], next)
		}
		next++
		head++
	}
	if cap(q) > 4*waiting {
		t.Errorf("room for %d while %d wait", cap(q), waiting)
	}
	if moved == 0 || moved > 2*rounds/waiting {
		t.Errorf("moved %d times in %d rounds while %d wait", moved, rounds, waiting)
	}
}

// TestRoomKeepsNothing of what was taken.
func TestRoomKeepsNothing(t *testing.T) {
	q := []*int{new(int), new(int), new(int), new(int)}
	all := q[:4:4]
	q, head := fifo.Room(all, 3)
	if len(q) != 1 || head != 0 || q[0] == nil {
		t.Errorf("%v wait, from %d on", q, head)
	}
	for i, p := range all[1:] {
		if p != nil {
			t.Errorf("%d is kept", i+1)
		}
	}
}
