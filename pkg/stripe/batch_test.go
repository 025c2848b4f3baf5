package stripe

import (
	"context"
	"slices"
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

// Where many writes wait, a batch waits for more of them: until there are enough, and
// no longer than gatherTime. A write with few others waits for nobody.
func TestBatchesGatherWhereManyWait(t *testing.T) {
	inRig(t, 6, func(r *rig) {
		busy := make(chan struct{})
		r.opts.Nodes[5].Store = &meddled{Store: r.links[5], write: func(context.Context) error {
			<-busy
			return nil
		}}
		var began time.Time
		batches := make(chan time.Duration, 100)
		r.opts.Nodes[0].Store = &meddled{Store: r.links[0], write: func(context.Context) error {
			batches <- time.Since(began)
			return nil
		}}
		a := r.open()
		defer r.close(a)
		block := uint64(0)
		var writers sync.WaitGroup
		write := func(n int) (sent []time.Duration) {
			began = time.Now()
			for range n {
				b := block
				block++
				writers.Go(func() { r.write(a, b, 1) })
			}
			time.Sleep(10 * gatherTime)
			for len(batches) > 0 {
				sent = append(sent, <-batches)
			}
			return sent
		}
		check := func(n int, when string, want time.Duration) {
			if sent := write(n); !slices.Equal(sent, []time.Duration{want}) {
				r.Errorf("%d writes %s were sent after %v, want one batch after %v", n, when, sent, want)
			}
		}
		check(1, "alone", 0)
		write(2*gatherShare - 1) // and the one before, which node 5 holds up, too
		check(1, "where some wait", gatherTime)
		check(2, "where some wait", 0)
		write(gatherOps * gatherShare)
		check(gatherOps-1, "where many wait", gatherTime)
		check(gatherOps, "where many wait", 0)
		close(busy)
		writers.Wait()
		check(1, "alone again", 0)
		writers.Wait()
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
