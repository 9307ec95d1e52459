package zmq

import (
	"math/rand/v2"
	"testing"
)

// TestLedger compares a ledger with a map, while some parcels stay far longer than
// others.
func TestLedger(t *testing.T) {
	var l ledger
	want := map[uint64]*parcel{}
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test's
	check := func(seq uint64) {
		t.Helper()
		if got := l.find(seq); got != want[seq] {
			t.Fatalf("find(%d) = %v, want %v", seq, got, want[seq])
		}
	}
	for seq := uint64(1); seq <= 20_000; seq++ {
		x := &parcel{seq: seq}
		l.put(x)
		want[seq] = x
		for older := range want {
			if len(want) < 300 || older%97 == 0 && r.IntN(50) > 0 { // those of 97 stay
				break
			}
			check(older)
			if got := l.take(older); got != want[older] {
				t.Fatalf("take(%d) = %v, want %v", older, got, want[older])
			}
			delete(want, older)
			check(older)
		}
		check(seq - uint64(r.IntN(500)))
		if l.size != len(want) {
			t.Fatalf("size %d, want %d", l.size, len(want))
		}
	}
	if len(l.late) == 0 {
		t.Error("no parcel stayed longer than the ring has places: the test is too small")
	}
	if len(l.ring) > 4096 {
		t.Errorf("a ring of %d for %d parcels", len(l.ring), l.size)
	}
	for x := range l.all {
		if want[x.seq] != x {
			t.Errorf("%d is yielded, and is not there or twice", x.seq)
		}
		delete(want, x.seq)
	}
	if len(want) > 0 {
		t.Errorf("%d parcels are not yielded", len(want))
	}
}
