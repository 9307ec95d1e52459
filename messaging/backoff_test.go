package messaging

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBackoffIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := backoff{
			min: time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "min")),
			max: time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "max")),
		}
		for n := range 70 {
			bound := b.max
			if n < 20 {
				bound = min(b.max, b.min<<n)
			}
			if d := b.next(); d < 0 || d > bound {
				t.Fatalf("wait %d is %v, the bound is %v", n, d, bound)
			}
		}
	})
}

// Clients that lost the same broker must not come back in step.
func TestBackoffSpreads(t *testing.T) {
	const clients = 1000
	var quarters [4]int
	for range clients {
		b := backoff{min: time.Second, max: time.Minute, tries: 3} // up to 8 s
		quarters[min(3, b.next()/(2*time.Second))]++
	}
	for i, n := range quarters {
		if n < clients/8 {
			t.Errorf("only %d of %d clients wait in quarter %d: %v", n, clients, i, quarters)
		}
	}
}
