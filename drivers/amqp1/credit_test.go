package amqp1

import (
	"testing"

	"pgregory.net/rapid"
)

// TestCredit: whatever is received and settled in whatever order, the peer never
// has more to use than the prefetch allows, and something as long as there is a
// free place.
func TestCredit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefetch := rapid.IntRange(1, 20).Draw(t, "prefetch")
		given, inHand := 0, 0 // as the peer sees it
		c := credit{prefetch: prefetch, issue: func(n uint32) error { given += int(n); return nil }}
		c.start()
		for range 200 {
			if given+inHand > prefetch {
				t.Fatalf("%d may come and %d are in hand, the prefetch is %d", given, inHand, prefetch)
			}
			if given == 0 && inHand < prefetch {
				t.Fatalf("nothing may come, though only %d of %d are in hand", inHand, prefetch)
			}
			if receive := rapid.Bool().Draw(t, "receive"); receive && given > 0 {
				given--
				inHand++
				c.received()
			} else if inHand > 0 {
				inHand--
				c.settled()
			}
		}
		before := given
		if !c.stop() || c.stop() {
			t.Fatal("stop does not tell the first from others")
		}
		for ; inHand > 0; inHand-- {
			c.settled()
		}
		if given != before {
			t.Fatal("credit was given after stop")
		}
	})
}

// TestCreditComesInBatches: each costs a frame.
func TestCreditComesInBatches(t *testing.T) {
	frames := 0
	c := credit{prefetch: 64, issue: func(uint32) error { frames++; return nil }}
	c.start()
	for range 640 {
		c.received()
		c.settled()
	}
	if frames > 45 {
		t.Errorf("%d frames for 640 messages", frames)
	}
}
