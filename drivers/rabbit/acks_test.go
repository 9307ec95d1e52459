package rabbit

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// brokerAcks is the broker's side of acknowledgements, as RabbitMQ does it.
type brokerAcks struct {
	open  []uint64 // unacknowledged, in order
	acked map[uint64]bool
}

func (b *brokerAcks) ack(t *rapid.T, a ack) {
	i := slices.Index(b.open, a.tag)
	if i < 0 {
		t.Fatalf("acknowledged %d, which is not open: the broker closes the channel", a.tag)
	}
	from := i
	if a.multiple {
		from = 0
	}
	for _, tag := range b.open[from : i+1] {
		b.acked[tag] = true
	}
	b.open = slices.Delete(b.open, from, i+1)
}

// TestAcks settles deliveries in any order and way and flushes now and then.
// What is acknowledged at the broker must be exactly what was, and after a
// flush nothing that was may be left.
func TestAcks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			a      acks
			b      = brokerAcks{acked: map[uint64]bool{}}
			inHand []uint64
			wanted = map[uint64]bool{}
			tag    uint64
		)
		flush := func() int {
			frames := a.flush()
			for _, f := range frames {
				b.ack(t, f)
			}
			for tag := range wanted {
				if !b.acked[tag] {
					t.Fatalf("%d was settled, and is not acknowledged after a flush", tag)
				}
			}
			return len(frames)
		}
		take := func(t *rapid.T) (tag uint64, ok bool) {
			if len(inHand) == 0 {
				return 0, false
			}
			i := rapid.IntRange(0, len(inHand)-1).Draw(t, "which")
			tag = inHand[i]
			inHand = slices.Delete(inHand, i, i+1)
			return tag, true
		}
		t.Repeat(map[string]func(*rapid.T){
			"deliver": func(*rapid.T) {
				tag++
				a.add(tag)
				b.open = append(b.open, tag)
				inHand = append(inHand, tag)
			},
			"ack": func(t *rapid.T) {
				if tag, ok := take(t); ok {
					wanted[tag] = true
					a.ack(tag)
				}
			},
			"requeue": func(t *rapid.T) {
				tag, ok := take(t)
				if !ok {
					return
				}
				i := slices.Index(b.open, tag)
				if i < 0 {
					t.Fatalf("%d was acknowledged and then requeued", tag)
				}
				b.open = slices.Delete(b.open, i, i+1)
				a.remove(tag)
			},
			"drop many": func(t *rapid.T) {
				for range rapid.IntRange(1, 2*maxGone).Draw(t, "how many") {
					tag++
					a.add(tag)
					a.remove(tag) // which the broker knows at once
				}
			},
			"flush": func(*rapid.T) { flush() },
			"": func(t *rapid.T) {
				if live := len(b.open); len(a.open) > live+maxGone {
					t.Fatalf("%d are remembered, of which %d are open", len(a.open), live)
				}
				for tag := range b.acked {
					if !wanted[tag] {
						t.Fatalf("%d was acknowledged without being settled", tag)
					}
				}
			},
		})
		for _, tag := range inHand {
			wanted[tag] = true
			a.ack(tag)
		}
		if n := flush(); n > 1 {
			t.Fatalf("%d acknowledgements for what one can say", n)
		}
		if len(b.open) > 0 || len(a.open) > 0 {
			t.Fatalf("left open: %v at the broker, %v here", b.open, a.open)
		}
	})
}

func TestAcksAreFew(t *testing.T) {
	for _, tt := range []struct {
		name         string
		acked, wants []uint64
		multiple     bool
	}{
		{"one", []uint64{1}, []uint64{1}, false},
		{"a prefix", []uint64{3, 1, 2}, []uint64{3}, true},
		{"past a gap", []uint64{2, 4}, []uint64{2, 4}, false},
		{"a prefix and past a gap", []uint64{1, 2, 4}, []uint64{2, 4}, true},
		{"none", nil, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var a acks
			for tag := range uint64(5) {
				a.add(tag + 1)
			}
			for _, tag := range tt.acked {
				a.ack(tag)
			}
			var got []uint64
			for i, f := range a.flush() {
				got = append(got, f.tag)
				if f.multiple != (tt.multiple && i == 0) {
					t.Errorf("acknowledgement %+v", f)
				}
			}
			if !slices.Equal(got, tt.wants) {
				t.Errorf("acknowledged %v, want %v", got, tt.wants)
			}
			if again := a.flush(); len(again) > 0 {
				t.Errorf("a second flush wrote %v", again)
			}
		})
	}
}

func BenchmarkAcks(b *testing.B) {
	var a acks
	tag := uint64(0)
	for range 64 {
		tag++
		a.add(tag)
	}
	b.ReportAllocs()
	for b.Loop() {
		tag++
		a.add(tag)
		a.ack(tag - 64)
		if tag%8 == 0 {
			a.flush()
		}
	}
}
