package messaging

import "sync"

// maxDedupID bounds the ids that are remembered: a longer one is no id of ours
// or of oslo.messaging, and remembering it would let a stranger fill memory.
const maxDedupID = 128

// dedup drops messages that a stream has had before: because a sender resent
// what had arrived, or a broker redelivered what was handled while its
// acknowledgement was lost. It knows which messages are still being handled: if
// such a one comes again, over a new connection or a new channel of it, the new
// delivery is the one to settle in the end.
type dedup struct {
	mu    sync.Mutex
	known map[string]*Incoming // being handled; nil: handled, the last len(ring) ids
	ring  []string
	next  int
}

func newDedup(n int) *dedup {
	if n <= 0 {
		return nil
	}
	return &dedup{known: make(map[string]*Incoming), ring: make([]string, n)}
}

// verdict is what begin says of a delivery.
type verdict uint8

const (
	fresh   verdict = iota // handle it
	handled                // it was handled before: acknowledge and drop it
	adopted                // it is being handled: its handler will settle this delivery
)

// begin notes that in is being handled, unless its id is known.
func (s *dedup) begin(in *Incoming) verdict {
	if s == nil || in.ID == "" || len(in.ID) > maxDedupID {
		return fresh
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.known[in.ID]; ok {
		if r == nil {
			return handled
		}
		if r.generation == in.generation && !in.Redelivered {
			return handled // two copies at once: no redelivery, but a message sent twice
		}
		in.delivery.replaced = r.delivery
		r.delivery, r.generation = in.delivery, in.generation
		return adopted
	}
	s.known[in.ID] = in
	in.tracked = true
	return fresh
}

// finish notes what became of in and returns the delivery to settle. Those that
// it replaced are to be settled, too: they are most likely dead, and if not they
// hold a place of the prefetch.
func (s *dedup) finish(in *Incoming, o Outcome) *Delivery {
	if !in.tracked {
		return in.delivery
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o == Requeue {
		delete(s.known, in.ID)
		return in.delivery
	}
	if oldest := s.ring[s.next]; oldest != "" {
		delete(s.known, oldest)
	}
	s.ring[s.next] = in.ID // which is no part of a large body, by the Codec's contract
	s.known[in.ID] = nil
	if s.next++; s.next == len(s.ring) {
		s.next = 0
	}
	return in.delivery
}
