package stripe

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What comes while two batches are under way to a node goes together in one.
func TestBatchesGatherWhatComesMeanwhile(t *testing.T) {
	inRig(t, 6, func(r *rig) {
		var batches atomic.Int32
		r.opts.Nodes[0].Store = &meddled{Store: r.links[0], write: func(context.Context) error {
			batches.Add(1)
			return nil
		}}
		a := r.open()
		defer r.close(a)
		var writers sync.WaitGroup
		for b := range uint64(30) {
			time.Sleep(10 * time.Microsecond) // the link takes a millisecond
			writers.Go(func() { r.write(a, b, 1) })
		}
		writers.Wait()
		if n := batches.Load(); n != eagerWindow+1 {
			t.Errorf("30 writes within a millisecond went in %d batches, want %d", n, eagerWindow+1)
		}
	})
}
