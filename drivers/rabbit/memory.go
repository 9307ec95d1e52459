package rabbit

import (
	"sync"
	"time"
)

// memory is what the connections of a transport must know of each other: a
// subscription that listens again over another connection goes on where it was. It
// is bounded by what listens, and what did within the time that the broker itself
// remembers it.
type memory struct {
	keep time.Duration

	mu   sync.Mutex // protects the following
	kept map[string]*kept
}

// kept belongs to one queue of a subscription.
type kept struct {
	number   int       // of the name, of a managed queue; 0: it has none yet. Set under memory.mu
	taken    time.Time // since when somebody else is seen to have that; zero: nobody has
	position *position

	conn *conn     // the last one
	lost time.Time // when that was seen to be lost; zero: it was not
}

// waits notes that somebody has the number, and reports whether that may still be our
// last connection, which the broker takes so long to miss.
func (k *kept) waits(now time.Time, long time.Duration) bool {
	if k.taken.IsZero() {
		k.taken = now
	}
	return now.Sub(k.taken) < long
}

func newMemory(o *options) *memory {
	m := &memory{keep: o.transientTTL, kept: map[string]*kept{}}
	if m.keep <= 0 {
		m.keep = time.Hour
	}
	return m
}

// of returns what is known under a key.
func (m *memory) of(key string, c *conn) *kept {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep(time.Now())
	k, ok := m.kept[key]
	if !ok {
		k = &kept{position: newPosition()}
		m.kept[key] = k
	}
	k.conn, k.lost = c, time.Time{}
	return k
}

// sweep forgets what nobody came back for. mu is held.
func (m *memory) sweep(now time.Time) {
	for key, k := range m.kept {
		switch {
		case k.conn.Err() == nil:
		case k.lost.IsZero():
			k.lost = now
		case now.Sub(k.lost) > m.keep:
			delete(m.kept, key)
		}
	}
}

// claim gives k a number, unless another listener of the transport has it, be it that
// its connection is lost: the broker refuses a number to other connections only.
func (m *memory) claim(k *kept, number int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, other := range m.kept {
		if other != k && other.number == number {
			return false
		}
	}
	k.number = number
	return true
}

// disclaim takes k's number from it.
func (m *memory) disclaim(k *kept) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k.number, k.taken = 0, time.Time{}
}

// forget ends what belongs to a subscription that is over.
func (m *memory) forget(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.kept, key)
}
