package stripe

import (
	"testing"
	"time"
)

// TestFrozenNodeDoesNotDelayReadsWithoutBudget: when slow nodes have used up the
// budget of hedges, frozen ones still do not keep a reader for node_timeout.
func TestFrozenNodeDoesNotDelayReadsWithoutBudget(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for b := range uint64(60) {
			r.write(a, b, 1)
		}
		r.flush(a)
		r.links[1].Freeze()
		r.links[4].Freeze()
		longest := time.Duration(0)
		for b := range uint64(60) {
			a.mu.Lock()
			a.hedges = 0
			a.mu.Unlock()
			start := time.Now()
			r.expect(a, b, 1)
			longest = max(longest, time.Since(start))
		}
		if longest > 100*time.Millisecond {
			t.Errorf("longest pause %s", longest)
		}
		r.close(a)
	})
}

// TestLateReadsDoNotMoveTheDelay: where a tenth of a node's reads are late, they
// still are late; where all take longer, that becomes usual.
func TestLateReadsDoNotMoveTheDelay(t *testing.T) {
	var l latency
	for i := range 1000 {
		l.observe(2*time.Millisecond + time.Duration(i%3)*time.Millisecond)
		if i%10 == 0 {
			l.observe(100 * time.Millisecond)
		}
		if late := l.late(); i > 10 && late > 20*time.Millisecond {
			t.Fatalf("after %d reads one is late after %s", i, late)
		}
	}
	for range 3000 {
		l.observe(10 * time.Millisecond) // now it hardly deviates
	}
	for range 20 {
		l.observe(100 * time.Millisecond)
	}
	if late := l.late(); late < 100*time.Millisecond {
		t.Errorf("after twenty of 100 ms, one is late after %s", late)
	}
}
