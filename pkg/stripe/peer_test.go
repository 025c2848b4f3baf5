package stripe

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rozobox/pkg/chunk"
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

// A write does not wait for a batch that its nodes are syncing (I9): here that
// takes a second, as on a card that is busy.
func TestI9WriteBesideASync(t *testing.T) {
	inRig(t, 6, func(r *rig) {
		for i := range r.opts.Nodes {
			r.opts.Nodes[i].Store = sluggish{r.links[i]}
		}
		r.opts.SyncEvery = time.Hour
		a := r.open()
		defer r.close(a)
		r.write(a, 0, 1)
		r.flush(a)
		var flushing sync.WaitGroup
		flushing.Go(func() { r.write(a, 0, 2) }) // a flush is expected to follow
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		r.write(a, 1, 1)
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("a write beside a sync took %v", took)
		}
		flushing.Wait()
		r.flush(a)
	})
}

// sluggish takes a second for each sync that comes with a write.
type sluggish struct{ chunk.Store }

func (s sluggish) Write(ctx context.Context, term chunk.Term, ops []chunk.Op) (chunk.Ack, error) {
	if _, sync := chunk.SplitSync(ops); sync {
		time.Sleep(time.Second)
	}
	return s.Store.Write(ctx, term, ops)
}
