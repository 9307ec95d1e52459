package rabbit

import (
	"sync"

	"github.com/patchbay-go/patchbay/messaging"
)

// polled is a delivery on its way to Poll.
type polled struct {
	d *messaging.Delivery
	s *session
}

// inbox holds what was received and not polled. It has no bound of its own:
// what the broker may send without a settlement is the prefetch's.
type inbox struct {
	ready chan struct{} // has a token while there is something, but for moments

	mu    sync.Mutex // protects what follows
	queue []polled   // queue[head:] waits
	head  int
}

func newInbox() *inbox { return &inbox{ready: make(chan struct{}, 1)} }

// put adds a delivery and returns how many wait.
func (b *inbox) put(p polled) int {
	b.mu.Lock()
	if b.head > 0 && len(b.queue) == cap(b.queue) { // move instead of growing
		n := copy(b.queue, b.queue[b.head:])
		clear(b.queue[n:])
		b.queue, b.head = b.queue[:n], 0
	}
	b.queue = append(b.queue, p)
	n := len(b.queue) - b.head
	b.mu.Unlock()
	b.signal()
	return n
}

func (b *inbox) signal() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// take removes the first delivery, if there is one. Whoever took the token
// takes, and so hands it on if there is more.
func (b *inbox) take() (polled, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.head == len(b.queue) {
		return polled{}, false
	}
	p := b.queue[b.head]
	b.queue[b.head] = polled{}
	b.head++
	if b.head == len(b.queue) {
		b.queue, b.head = b.queue[:0], 0
	} else {
		b.signal()
	}
	return p, true
}
