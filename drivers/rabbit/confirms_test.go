package rabbit

import (
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchbay-go/patchbay/messaging"
)

func anywhere(messaging.Address) bool { return true }

// TestConfirms publishes, returns and confirms in any order that a broker may,
// and checks that each publish comes out once, and that a return finds the
// right one.
func TestConfirms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := confirms{first: 1}
		published := 0 // numbers, from 1
		out, told := map[int]bool{}, map[int]bool{}
		id := func(n int) string { return strconv.Itoa(n % 3) } // ids may repeat
		come := func(rest []sent) {
			for _, s := range rest {
				if out[s.bytes] {
					t.Fatalf("publish %d came out again", s.bytes)
				}
				out[s.bytes] = true
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				published++
				if !w.add(sent{id: id(published), bytes: published}) {
					t.Fatal("not added")
				}
			},
			"publish in vain": func(t *rapid.T) {
				if !w.add(sent{id: id(published + 1)}) || !w.remove() {
					t.Fatal("not added and removed")
				}
			},
			"return": func(t *rapid.T) {
				wanted, first := id(rapid.IntRange(0, 2).Draw(t, "id")), 0
				for n := 1; n <= published && first == 0; n++ {
					if !out[n] && !told[n] && id(n) == wanted {
						first = n
					}
				}
				s, ok := w.returned(wanted, anywhere)
				if ok != (first > 0) || s.bytes != first {
					t.Fatalf("returned id %s found %d, %v; want %d", wanted, s.bytes, ok, first)
				}
				told[first] = true
			},
			"confirm": func(t *rapid.T) {
				var waits []int
				for n := 1; n <= published; n++ {
					if !out[n] {
						waits = append(waits, n)
					}
				}
				if len(waits) == 0 {
					return
				}
				n, multiple := rapid.SampledFrom(waits).Draw(t, "number"), rapid.Bool().Draw(t, "multiple")
				took := w.confirmed(uint64(n), multiple, nil)
				come(took)
				want := 1
				if multiple {
					want = 0
					for _, waiting := range waits {
						if waiting <= n {
							want++
						}
					}
				}
				if len(took) != want || !out[n] {
					t.Fatalf("confirming %d, multiple %v: %d came out, want %d", n, multiple, len(took), want)
				}
				if again := w.confirmed(uint64(n), false, nil); len(again) > 0 {
					t.Fatalf("%d came out again", n)
				}
			},
		})
		come(w.end())
		if len(out) != published {
			t.Fatalf("%d of %d came out", len(out), published)
		}
		if w.add(sent{}) || w.remove() {
			t.Fatal("added after the end")
		}
	})
}

func TestReturnOfNothing(t *testing.T) {
	w := confirms{first: 1}
	w.add(sent{})
	for _, id := range []string{"", "unheard of"} {
		if s, ok := w.returned(id, anywhere); ok {
			t.Errorf("id %q found %+v", id, s)
		}
	}
}

func TestConfirmationsOfNothing(t *testing.T) {
	w := confirms{first: 1}
	for _, multiple := range []bool{false, true} {
		for _, number := range []uint64{0, 1, 1 << 63} {
			if out := w.confirmed(number, multiple, nil); len(out) > 0 {
				t.Errorf("number %d: %d came out", number, len(out))
			}
		}
	}
	w.add(sent{bytes: 1})
	w.add(sent{bytes: 2})
	for _, number := range []uint64{0, 3, 1 << 63} {
		if out := w.confirmed(number, false, nil); len(out) > 0 {
			t.Errorf("number %d: %d came out", number, len(out))
		}
	}
	if out := w.confirmed(0, true, nil); len(out) != 2 { // all, by the specification
		t.Errorf("%d came out, want 2", len(out))
	}
}

// TestConfirmedBeforeItWasMade: a peer may say what it likes of a publish whose write is
// about to fail. Its outcome was told then, and is not told again.
func TestConfirmedBeforeItWasMade(t *testing.T) {
	for _, multiple := range []bool{false, true} {
		for before := range 2 {
			w := confirms{first: 1}
			for range before {
				w.add(sent{})
			}
			w.add(sent{})
			out := w.confirmed(uint64(before+1), multiple, nil)
			if len(out) == 0 || w.remove() {
				t.Errorf("multiple %v, %d before: %d came out, and the last one could be taken back", multiple, before, len(out))
			}
			if rest := w.end(); len(out)+len(rest) != before+1 {
				t.Errorf("multiple %v, %d before: %d came out", multiple, before, len(out)+len(rest))
			}
		}
	}
}

// TestPublishesAreNotMovedForEach: a full window whose first publish is confirmed when
// the next is made costs no more than a small one.
func TestPublishesAreNotMovedForEach(t *testing.T) {
	w := confirms{first: 1}
	for len(w.queue) < 1<<12 || len(w.queue) < cap(w.queue) {
		w.add(sent{})
	}
	const rounds = 1 << 14
	moved := 0
	for i := range rounds {
		if told := w.confirmed(uint64(i+1), false, nil); len(told) != 1 {
			t.Fatalf("%d are told by one confirmation", len(told))
		}
		w.add(sent{})
		if w.head == 0 {
			moved++
		}
	}
	if moved > rounds>>10 {
		t.Errorf("moved %d times in %d rounds", moved, rounds)
	}
}
