// Package inbox holds what was received until somebody polls it.
package inbox

import (
	"sync"

	"github.com/patchbay-go/patchbay/internal/fifo"
)

// Inbox is a queue whose Put does not wait. It has no bound of its own: what a peer
// may send without an answer is the bound. It is safe for concurrent use; New makes
// one.
type Inbox[T any] struct {
	ready chan struct{} // has a token while there is something, but for moments

	mu    sync.Mutex // protects what follows
	queue []T        // queue[head:] waits
	head  int
}

// New returns an empty Inbox.
func New[T any]() *Inbox[T] { return &Inbox[T]{ready: make(chan struct{}, 1)} }

// Put adds x at the end.
func (b *Inbox[T]) Put(x T) {
	b.mu.Lock()
	b.queue, b.head = fifo.Room(b.queue, b.head)
	b.queue = append(b.queue, x)
	b.mu.Unlock()
	b.signal()
}

func (b *Inbox[T]) signal() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// Ready returns a channel from which can be received when Take may find something.
// Who received from it must call Take, or another who waits is not woken.
func (b *Inbox[T]) Ready() <-chan struct{} { return b.ready }

// Len returns how many wait.
func (b *Inbox[T]) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue) - b.head
}

// Take removes the first, if there is one.
func (b *Inbox[T]) Take() (T, bool) {
	var none T
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.head == len(b.queue) {
		return none, false
	}
	x := b.queue[b.head]
	b.queue[b.head] = none
	b.head++
	if b.head == len(b.queue) {
		b.queue, b.head = b.queue[:0], 0
	} else {
		b.signal() // for the next one: who took the token has this one
	}
	return x, true
}
