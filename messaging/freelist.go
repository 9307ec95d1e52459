package messaging

// freelist keeps a bounded number of values for their next use. It is for what has a
// timer: a sync.Pool drops its values without a word, and nobody would stop theirs.
// It is not safe for concurrent use.
type freelist[T any] struct{ free []T }

// maxFree bounds a freelist.
const maxFree = 64

func (f *freelist[T]) get() (v T, ok bool) {
	last := len(f.free) - 1
	if last < 0 {
		return v, false
	}
	v, f.free[last] = f.free[last], v
	f.free = f.free[:last]
	return v, true
}

// put reports whether v is kept.
func (f *freelist[T]) put(v T) bool {
	if len(f.free) >= maxFree {
		return false
	}
	f.free = append(f.free, v)
	return true
}
