package rabbit

import (
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// TestConfirms publishes, returns and confirms in any order that a broker may,
// and checks that each publish comes out once, in order, and that a return
// finds the right one.
func TestConfirms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := confirms{first: 1}
		var published, confirmed, returned int // numbers, from 1
		told := map[int]bool{}
		id := func(n int) string { return strconv.Itoa(n % 3) } // ids may repeat
		out := func(rest []sent) {
			for _, s := range rest {
				confirmed++
				if s.bytes != confirmed {
					t.Fatalf("publish %d came out, want %d", s.bytes, confirmed)
				}
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
			"return": func(t *rapid.T) { // the next that can be; the broker skips some
				returned = max(returned, confirmed) + 1
				if returned > published {
					returned--
					return
				}
				first := 0 // told are those with that id which were not yet
				for n := confirmed + 1; n <= published && first == 0; n++ {
					if !told[n] && id(n) == id(returned) {
						first = n
					}
				}
				s, ok := w.returned(id(returned))
				if !ok || s.bytes != first {
					t.Fatalf("returned id %s found %d, %v; want %d", id(returned), s.bytes, ok, first)
				}
				told[first] = true
			},
			"confirm": func(t *rapid.T) {
				if confirmed == published {
					return
				}
				n := rapid.IntRange(confirmed+1, published).Draw(t, "number")
				out(w.confirmed(uint64(n), nil))
				if confirmed != n {
					t.Fatalf("%d came out, want all up to %d", confirmed, n)
				}
			},
		})
		out(w.end())
		if confirmed != published {
			t.Fatalf("%d of %d came out", confirmed, published)
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
		if s, ok := w.returned(id); ok {
			t.Errorf("id %q found %+v", id, s)
		}
	}
}
