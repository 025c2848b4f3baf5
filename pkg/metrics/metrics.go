package metrics

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// Counter counts events or bytes since its owner was made.
type Counter struct{ n atomic.Uint64 }

// Add counts n more.
func (c *Counter) Add(n uint64) { c.n.Add(n) }

// Load returns the count.
func (c *Counter) Load() uint64 { return c.n.Load() }

const (
	// minBits: durations up to 2^10 ns, about 1 µs, are all alike; nothing
	// that is measured here is faster.
	minBits = 10
	// maxBits: 2^37 ns are 137 s, longer than any time limit.
	maxBits = 37
	// stepBits: 2^2 buckets to a power of two.
	stepBits = 2

	// buckets is one for the shortest, those between, and one for the longest.
	buckets = 1 + (maxBits-minBits)<<stepBits + 1
)

// Histogram counts durations by size.
type Histogram struct {
	counts [buckets]atomic.Uint64
	sum    atomic.Int64
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	h.counts[bucket(d)].Add(1)
	h.sum.Add(int64(d))
}

// Snapshot returns what was observed so far. It may be taken while others
// observe, and then has or has not what they observe meanwhile.
func (h *Histogram) Snapshot() Snapshot {
	s := Snapshot{Sum: time.Duration(h.sum.Load())}
	for i := range h.counts {
		s.counts[i] = h.counts[i].Load()
		s.Count += s.counts[i]
	}
	return s
}

// Snapshot is a histogram at one moment.
type Snapshot struct {
	Count  uint64        // of durations
	Sum    time.Duration // of durations
	counts [buckets]uint64
}

// Quantile returns the duration that the share q of all, from 0 to 1, did not
// exceed, rounded up to the end of its bucket; 0 when there are none.
func (s *Snapshot) Quantile(q float64) time.Duration {
	if s.Count == 0 {
		return 0
	}
	rank := max(1, uint64(math.Ceil(q*float64(s.Count))))
	i, seen := 0, s.counts[0]
	for seen < rank && i < buckets-1 {
		i++
		seen += s.counts[i]
	}
	return limit(i)
}

// Add returns what s and t have observed together.
func (s *Snapshot) Add(t Snapshot) Snapshot {
	sum := Snapshot{Count: s.Count + t.Count, Sum: s.Sum + t.Sum}
	for i := range sum.counts {
		sum.counts[i] = s.counts[i] + t.counts[i]
	}
	return sum
}

// Sub returns what was observed since before, a snapshot of the same histogram.
// Where more was counted before than now, as when one of several histograms
// that were added up is no more, nothing was observed.
func (s *Snapshot) Sub(before Snapshot) (since Snapshot) {
	for i := range since.counts {
		since.counts[i] = s.counts[i] - min(s.counts[i], before.counts[i])
		since.Count += since.counts[i]
	}
	since.Sum = max(0, s.Sum-before.Sum)
	return since
}

// UpTo returns how many durations were not longer than d; exactly so where d is
// the end of a bucket, as each power of two nanoseconds is.
func (s *Snapshot) UpTo(d time.Duration) (n uint64) {
	for i := 0; i < buckets-1 && limit(i) <= d; i++ {
		n += s.counts[i]
	}
	return n
}

// bucket returns the first bucket whose limit is not below d.
func bucket(d time.Duration) int {
	if d <= 1<<minBits {
		return 0
	}
	n := uint64(d - 1)
	power := bits.Len64(n) - 1
	if power >= maxBits {
		return buckets - 1
	}
	step := int(n>>(power-stepBits)) & (1<<stepBits - 1)
	return 1 + (power-minBits)<<stepBits + step
}

// limit returns the longest duration of a bucket, of the last its shortest.
func limit(bucket int) time.Duration {
	if bucket == 0 {
		return 1 << minBits
	}
	if bucket == buckets-1 {
		return 1 << maxBits
	}
	power := minBits + (bucket-1)>>stepBits
	step := (bucket - 1) & (1<<stepBits - 1)
	return time.Duration(1<<stepBits+step+1) << (power - stepBits)
}
