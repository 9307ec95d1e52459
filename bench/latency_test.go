package bench

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBucketsAreNarrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Min(0).Draw(t, "duration"))
		b := bucket(d)
		if b < 0 || b >= buckets {
			t.Fatalf("bucket(%d) = %d of %d", d, b, buckets)
		}
		if off := math.Abs(float64(value(b)) - float64(d)); off > float64(d)/32 {
			t.Fatalf("%d is taken for %d", d, value(b))
		}
		if value(b) != value(bucket(value(b))) {
			t.Fatalf("the middle of bucket %d is not in it", b)
		}
	})
}

func TestPercentiles(t *testing.T) {
	var l, other latencies
	if got := l.percentile(50); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
	for i := range 50 {
		l.add(time.Duration(i)) // below 64 ns a bucket holds one value
	}
	other.add(-time.Second) // a clock that was set back
	other.add(time.Hour)
	l.merge(&other)
	for _, tt := range []struct {
		p    float64
		want time.Duration
	}{{0, 0}, {50, 25}, {90, 45}, {98, 49}} {
		if got := l.percentile(tt.p); got != tt.want {
			t.Errorf("percentile %v: %d, want %d", tt.p, got, tt.want)
		}
	}
	if got := l.percentile(99); got < time.Hour*31/32 || got > time.Hour*33/32 {
		t.Errorf("the longest is %v", got)
	}
}
