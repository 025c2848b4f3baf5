package metrics

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestEveryDurationFallsIntoItsBucket(t *testing.T) {
	durations := []time.Duration{math.MinInt64, -1, 0, 1, math.MaxInt64}
	for i := range buckets {
		durations = append(durations, limit(i)-1, limit(i), limit(i)+1)
	}
	for _, d := range durations {
		i := bucket(d)
		if i < buckets-1 && d > limit(i) {
			t.Errorf("%d ns is in bucket %d, which ends at %d", d, i, limit(i))
		}
		if i > 0 && d <= limit(i-1) {
			t.Errorf("%d ns is in bucket %d, but the one before ends at %d", d, i, limit(i-1))
		}
	}
	if limit(5) != 2560 || buckets != 110 {
		t.Errorf("bucket 5 of %d ends at %d, the package comment says otherwise", buckets, limit(5))
	}
}

// Quantiles are compared with those of the sorted durations.
func TestQuantilesAreAtMostAQuarterTooLarge(t *testing.T) {
	var h Histogram
	var all []time.Duration
	var sum time.Duration
	r := rand.New(rand.NewPCG(1, 1))
	for range 10000 {
		d := time.Duration(math.Exp(r.Float64()*16)) * time.Microsecond // 1 µs to 9 s
		h.Observe(d)
		all, sum = append(all, d), sum+d
	}
	slices.Sort(all)
	s := h.Snapshot()
	if s.Count != 10000 || s.Sum != sum {
		t.Errorf("%d durations of %v, want 10000 of %v", s.Count, s.Sum, sum)
	}
	for _, q := range []float64{0, 0.0001, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := all[max(0, int(math.Ceil(q*10000))-1)]
		if got := s.Quantile(q); got < exact || got > max(1024, exact*5/4) {
			t.Errorf("quantile %v is %v, exactly %v", q, got, exact)
		}
	}
}

func TestQuantileOfNothingAndOfTheLongest(t *testing.T) {
	var h Histogram
	if s := h.Snapshot(); s.Quantile(0.5) != 0 {
		t.Errorf("median of nothing is %v", s.Quantile(0.5))
	}
	h.Observe(time.Hour)
	if s := h.Snapshot(); s.Quantile(1) != 1<<maxBits {
		t.Errorf("an hour counts as %v", s.Quantile(1))
	}
}

func TestMedianOfThree(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{1 << 30, 1 << 20, 1} {
		h.Observe(d)
	}
	if s := h.Snapshot(); s.Quantile(0.5) != 1<<20 {
		t.Errorf("median is %v, want %v", s.Quantile(0.5), time.Duration(1<<20))
	}
}

// What was observed between two snapshots is what a histogram of its own has.
func TestSubIsWhatWasObservedSince(t *testing.T) {
	var all, early, late Histogram
	for i := range 1000 {
		d := time.Duration(i*i) * time.Microsecond
		all.Observe(d)
		if i < 400 {
			early.Observe(d)
		} else {
			late.Observe(d)
		}
	}
	now, before, want := all.Snapshot(), early.Snapshot(), late.Snapshot()
	if got := now.Sub(before); got != want {
		t.Errorf("since: %d durations of %v, want %d of %v", got.Count, got.Sum, want.Count, want.Sum)
	}
	if got := want.Add(before); got != now {
		t.Errorf("together: %d durations of %v, want %d of %v", got.Count, got.Sum, now.Count, now.Sum)
	}
	if got := before.Sub(now); got != (Snapshot{}) {
		t.Errorf("less than before: %d durations of %v", got.Count, got.Sum)
	}
}

func TestUpToCountsWhatIsNotLonger(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{1, 1 << 20, 1<<20 + 1, 1 << 21, time.Hour} {
		h.Observe(d)
	}
	s := h.Snapshot()
	for d, want := range map[time.Duration]uint64{0: 0, 1 << 10: 1, 1 << 20: 2, 1 << 21: 4, 1 << maxBits: 4, math.MaxInt64: 4} {
		if got := s.UpTo(d); got != want {
			t.Errorf("up to %v: %d, want %d", d, got, want)
		}
	}
}

func TestManyGoroutinesCountAtOnce(t *testing.T) {
	var c Counter
	var h Histogram
	var g sync.WaitGroup
	for range 8 {
		g.Go(func() {
			for range 1000 {
				c.Add(2)
				h.Observe(time.Millisecond)
				h.Snapshot()
			}
		})
	}
	g.Wait()
	if s := h.Snapshot(); c.Load() != 16000 || s.Count != 8000 || s.Sum != 8*time.Second {
		t.Errorf("counted %d, and %d durations of %v", c.Load(), s.Count, s.Sum)
	}
}

func TestObservingDoesNotAllocate(t *testing.T) {
	var h Histogram
	if n := testing.AllocsPerRun(100, func() { h.Observe(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
