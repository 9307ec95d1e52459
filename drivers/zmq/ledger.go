package zmq

// ledger is the parcels that a peer has and has not settled, by their number on the
// link. Numbers follow each other and are settled in nearly that order, so that most
// have a place in a ring of their own. What stays while newer ones come and go, and
// would make the ring grow with them, is in a map. The zero value is empty.
type ledger struct {
	ring []*parcel // by the last bits of the number
	late map[uint64]*parcel
	size int // in both
}

// minLedger is the size of the first ring, a power of two.
const minLedger = 64

// put adds a parcel, whose number is greater than all before.
func (l *ledger) put(x *parcel) {
	if l.size >= len(l.ring)/2 {
		l.grow()
	}
	l.size++
	at := &l.ring[x.seq&uint64(len(l.ring)-1)]
	if *at != nil {
		if l.late == nil {
			l.late = map[uint64]*parcel{}
		}
		l.late[(*at).seq] = *at
	}
	*at = x
}

// grow makes a ring with room for as many again as there are.
func (l *ledger) grow() {
	old := l.ring
	l.ring = make([]*parcel, max(minLedger, 2*len(old)))
	for _, x := range old {
		if x != nil { // no two of them have the same place in the larger one
			l.ring[x.seq&uint64(len(l.ring)-1)] = x
		}
	}
}

// find returns the parcel of that number, or nil.
func (l *ledger) find(seq uint64) *parcel {
	if l.size == 0 {
		return nil
	}
	if x := l.ring[seq&uint64(len(l.ring)-1)]; x != nil && x.seq == seq {
		return x
	}
	return l.late[seq]
}

// take takes out the parcel of that number, and returns it, or nil.
func (l *ledger) take(seq uint64) *parcel {
	x := l.find(seq)
	if x == nil {
		return nil
	}
	l.size--
	if at := &l.ring[seq&uint64(len(l.ring)-1)]; *at == x {
		*at = nil
	} else {
		delete(l.late, seq)
	}
	return x
}

// all yields all parcels, in any order. The ledger must not change meanwhile.
func (l *ledger) all(yield func(*parcel) bool) {
	for _, x := range l.ring {
		if x != nil && !yield(x) {
			return
		}
	}
	for _, x := range l.late {
		if !yield(x) {
			return
		}
	}
}
