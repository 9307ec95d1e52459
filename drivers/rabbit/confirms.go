package rabbit

import (
	"sync"

	"github.com/patchbay-go/patchbay/internal/fifo"
	"github.com/patchbay-go/patchbay/messaging"
)

// sent is one publish whose outcome the broker has not told yet.
type sent struct {
	to    messaging.Address
	c     messaging.Completion // nil: nobody wants to know, or was told already
	id    string               // message-id, by which a return finds it; empty: not mandatory
	bytes int
	done  bool // confirmed before an earlier one was
}

// confirms are the publishes of one channel that wait for their outcome, in
// the order in which they were made; the broker numbers them from 1.
//
// Each is told its outcome once, by the return that says there is no route, by
// its confirmation, or by the end of the channel, whichever comes first.
type confirms struct {
	mu    sync.Mutex // protects what follows
	queue []sent     // queue[head:] waits; queue[head] has number first
	head  int
	first uint64
	ended bool // by the end of the channel
}

// add appends a publish that is about to be made and reports whether it could.
func (w *confirms) add(s sent) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return false
	}
	w.queue, w.head = fifo.Room(w.queue, w.head)
	w.queue = append(w.queue, s)
	return true
}

// remove takes back the last one added, which could not be made, and reports
// whether it was still there: if not, its outcome was told.
func (w *confirms) remove() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := len(w.queue) - 1
	if w.ended || last < w.head || w.queue[last].done { // a peer may confirm what it never got
		return false
	}
	w.queue[last] = sent{}
	w.queue = w.queue[:last]
	return true
}

// returned takes the completion of the first publish with that message-id, to where
// it came back from, that has not been told yet. Returns come in the order of the
// publishes, each before its confirmation. The id alone does not tell: a message may
// be sent to many.
func (w *confirms) returned(id string, from func(messaging.Address) bool) (sent, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := w.head; i < len(w.queue); i++ {
		if s := &w.queue[i]; s.id == id && id != "" && !s.done && from(s.to) {
			told := *s
			s.c, s.id = nil, ""
			return told, true
		}
	}
	return sent{}, false
}

// confirmed takes the publish with that number, or all up to it that are not
// done, and appends them to out. The broker may confirm the later one first.
func (w *confirms) confirmed(number uint64, multiple bool, out []sent) []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting := w.queue[w.head:]
	if n := w.first + uint64(len(waiting)); multiple && (number == 0 || number >= n) {
		number = n - 1 // 0 is all, by the specification
	}
	i := number - w.first
	if number < w.first || i >= uint64(len(waiting)) {
		return out // was never published, or is told
	}
	from := i
	if multiple {
		from = 0
	}
	for ; from <= i; from++ {
		if s := &waiting[from]; !s.done {
			out = append(out, *s)
			*s = sent{done: true}
		}
	}
	w.pass()
	return out
}

// pass forgets the first ones that are done. w.mu is held.
func (w *confirms) pass() {
	for w.head < len(w.queue) && w.queue[w.head].done {
		w.queue[w.head] = sent{}
		w.head++
		w.first++
	}
	if w.head == len(w.queue) {
		w.queue, w.head = w.queue[:0], 0
	}
}

// end removes and returns all that are not done; nothing can be added any more.
func (w *confirms) end() []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	var rest []sent
	for _, s := range w.queue[w.head:] {
		if !s.done {
			rest = append(rest, s)
		}
	}
	w.queue, w.head, w.ended = nil, 0, true
	return rest
}
