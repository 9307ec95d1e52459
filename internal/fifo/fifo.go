// Package fifo makes room in slices that are queues, as q[head:] is what waits.
package fifo

// Room returns q and head so that an append to q grows it only if at most half of it is
// free in front of head. Else what waits is moved there: once for many appends, however
// long a queue is that never becomes empty. What q held in front of what waits now is
// cleared.
func Room[T any](q []T, head int) ([]T, int) {
	if len(q) < cap(q) || head <= len(q)/2 {
		return q, head
	}
	n := copy(q, q[head:])
	clear(q[n:])
	return q[:n], 0
}
