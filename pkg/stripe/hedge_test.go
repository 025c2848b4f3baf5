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
