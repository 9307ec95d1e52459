package bench

import (
	"math/bits"
	"time"
)

// latencies count durations in buckets that are 1/32 of their value wide at
// most, so that a percentile is off by 3 % at most, whatever the number of
// operations. Each worker has its own.
type latencies struct {
	counts [buckets]int64
	total  int64
}

const (
	exact   = 64 // durations below it, in nanoseconds, have a bucket each
	half    = exact / 2
	buckets = (63-6)*half + exact
)

func bucket(d time.Duration) int {
	v := uint64(max(d, 0))
	shift := max(bits.Len64(v)-6, 0) // leaves 6 bits, of which the first is set
	return shift*half + int(v>>shift)
}

// value returns the middle of a bucket.
func value(bucket int) time.Duration {
	if bucket < exact {
		return time.Duration(bucket)
	}
	shift := bucket/half - 1
	low := uint64(bucket-shift*half) << shift
	return time.Duration(low + uint64(1)<<shift/2)
}

func (l *latencies) add(d time.Duration) {
	l.counts[bucket(d)]++
	l.total++
}

func (l *latencies) merge(o *latencies) {
	for i, n := range o.counts {
		l.counts[i] += n
	}
	l.total += o.total
}

// percentile returns the duration that p percent of them do not exceed; 0 when
// there are none.
func (l *latencies) percentile(p float64) time.Duration {
	rank := int64(p / 100 * float64(l.total))
	for i, n := range l.counts {
		if n == 0 {
			continue
		}
		if rank < n {
			return value(i)
		}
		rank -= n
	}
	return 0
}
