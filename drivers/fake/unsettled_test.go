package fake

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The tags of what was taken or forgotten find nothing, however often the places
// were used again; all others find theirs.
func TestUnsettledIsAMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var u unsettled
		want := map[uint64]*item{}
		var tags []uint64
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				it := &item{}
				tag := u.add(it)
				if slices.Contains(tags, tag) {
					t.Fatalf("tag %#x twice", tag)
				}
				tags = append(tags, tag)
				want[tag] = it
			},
			"take": func(t *rapid.T) {
				if len(tags) == 0 {
					return
				}
				tag := rapid.SampledFrom(tags).Draw(t, "tag")
				if it := u.take(tag); it != want[tag] {
					t.Fatalf("tag %#x: %p, want %p", tag, it, want[tag])
				}
				delete(want, tag)
			},
			"drain": func(t *rapid.T) {
				n := 0
				u.drain(func(*item) { n++ })
				if n != len(want) {
					t.Fatalf("drained %d, want %d", n, len(want))
				}
				clear(want)
			},
			"": func(t *rapid.T) {
				if u.len() != len(want) {
					t.Fatalf("len %d, want %d", u.len(), len(want))
				}
			},
		})
		if u.take(0) != nil || u.take(1<<63) != nil {
			t.Fatal("found what was never added")
		}
	})
}
