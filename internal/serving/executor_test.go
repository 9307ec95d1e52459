package serving

import "testing"

// TestTasksThatAlwaysWait: while some task always waits, as under a load that does
// not end, what was begun takes no memory.
func TestTasksThatAlwaysWait(t *testing.T) {
	w := NewWorkers(4)
	w.count = w.size // all at work: the test takes the tasks
	ran := 0
	for range 10_000 {
		w.begin(func() { ran++ })
		if ran == 0 {
			w.begin(func() { ran++ })
		}
		w.mu.Lock()
		task := w.next()
		w.mu.Unlock()
		task()
	}
	if ran != 10_000 {
		t.Errorf("%d tasks were taken", ran)
	}
	if n := cap(w.tasks); n > 64 {
		t.Errorf("room is kept for %d tasks, 2 wait at most", n)
	}
}
