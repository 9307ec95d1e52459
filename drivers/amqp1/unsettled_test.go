package amqp1

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestUnsettled: each delivery is told once, in order, by a range or with its link,
// also where the numbers wrap around.
func TestUnsettled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var u unsettled
		var want []outgoing
		links := []*sender{{}, {}}
		next := rapid.SampledFrom([]uint32{0, 1<<31 - 20, 1<<32 - 20}).Draw(t, "first")
		for range 100 {
			var got, left []outgoing
			var gone func(o outgoing) bool
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				from := next - uint32(rapid.IntRange(0, 30).Draw(t, "from"))
				to := from + uint32(rapid.IntRange(0, 10).Draw(t, "to"))
				got = u.settle(from, to, nil)
				gone = func(o outgoing) bool { return o.id-from <= to-from }
			case 1:
				l := rapid.SampledFrom(links).Draw(t, "link")
				got = u.of(l, nil)
				gone = func(o outgoing) bool { return o.from == l }
			default:
				next += uint32(rapid.IntRange(1, 2).Draw(t, "step"))
				o := outgoing{id: next, from: rapid.SampledFrom(links).Draw(t, "link")}
				u.add(o)
				want = append(want, o)
				continue
			}
			for _, o := range want {
				if !gone(o) {
					left = append(left, o)
				} else if i := slices.IndexFunc(got, func(g outgoing) bool { return g.id == o.id && g.from == o.from }); i != 0 {
					t.Fatalf("%d is told as number %d of %v", o.id, i, got)
				} else {
					got = got[1:]
				}
			}
			if len(got) > 0 {
				t.Fatalf("also told: %v", got)
			}
			want = left
			if open := u.queue[u.head:]; len(want) == 0 && len(open) > 0 {
				t.Fatalf("%v are kept", open)
			}
		}
	})
}

// TestUnsettledGaps: an outcome that does not come, while others do, does not make
// what was told be kept, nor moved for each that is sent.
func TestUnsettledGaps(t *testing.T) {
	const window = 256
	var u unsettled
	for id := range uint32(100_000) {
		u.add(outgoing{id: id})
		if id >= window {
			u.settle(id-window+1, id-window+1, nil)
		}
	}
	if n := cap(u.queue); n > 8*window {
		t.Errorf("%d places for %d deliveries", n, window)
	}
	if got := u.settle(0, 0, nil); len(got) != 1 {
		t.Errorf("the first is told as %v", got)
	}
	if got := u.settle(0, 100_000, nil); len(got) != window-1 {
		t.Errorf("%d are left", len(got))
	}
}
