package stripe

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"rozobox/pkg/chunk"
)

// unhurried makes the next write wait for its flush, whatever came before.
func (a *Array) unhurried() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.foresight.usual = 0
}

// syncing is a store that counts syncs of their own, and may refuse those that
// come with a write.
type syncing struct {
	chunk.Store
	alone  *atomic.Int64
	refuse bool
}

func (s syncing) Sync(ctx context.Context, term chunk.Term) (chunk.Ack, error) {
	s.alone.Add(1)
	return s.Store.Sync(ctx, term)
}

func (s syncing) Write(ctx context.Context, term chunk.Term, ops []chunk.Op) (chunk.Ack, error) {
	others, sync := chunk.SplitSync(ops)
	if !s.refuse || !sync {
		return s.Store.Write(ctx, term, ops)
	}
	ack, err := s.Store.Write(ctx, term, others)
	ack.Errs = append(slices.Grow(ack.Errs, len(ops))[:len(others)], chunk.ErrNoSpace)
	return ack, err
}

// A client that flushes after each write, or after every few, has its nodes
// sync in the same request; where they say that they could not, they are asked
// again (I1: what the flush has covered is durable on every holder).
func TestI1FlushedWritesAreSyncedWithTheirWrite(t *testing.T) {
	for name, c := range map[string]struct {
		writes uint64 // before each flush
		refuse bool
	}{"each": {writes: 1}, "every third": {writes: 3}, "refused": {writes: 1, refuse: true}} {
		t.Run(name, func(t *testing.T) {
			inRig(t, 6, func(r *rig) {
				var alone atomic.Int64
				for i := range r.opts.Nodes {
					r.opts.Nodes[i].Store = syncing{r.links[i], &alone, c.refuse}
				}
				r.opts.SyncEvery = time.Hour
				a := r.open()
				defer r.close(a)
				for round := range 5 {
					alone.Store(0)
					for b := range c.writes {
						r.write(a, b, round)
					}
					r.flush(a)
					for n, s := range r.stores {
						if ops := s.Unsynced(); len(ops) > 0 {
							t.Errorf("round %d: node %d has not synced %+v", round, n, ops)
						}
					}
					if n := alone.Load(); round > 0 && (n > 0) != c.refuse {
						t.Errorf("round %d: %d syncs of their own", round, n)
					}
				}
			})
		})
	}
}

// What is written without flushes is not synced with each write.
func TestWritesWithoutFlushAreNotSynced(t *testing.T) {
	inRig(t, 6, func(r *rig) {
		r.opts.SyncEvery = time.Hour
		a := r.open()
		defer r.close(a)
		r.flush(a)
		for b := range uint64(5) {
			r.write(a, b, 1)
		}
		for n, s := range r.stores {
			if len(s.Unsynced()) != 5 {
				t.Errorf("node %d has %d unsynced operations of 5", n, len(s.Unsynced()))
			}
		}
	})
}

// A node loses its power after two of the three writes that the flush will cover,
// and is back before anybody has noticed: what it syncs with the third says
// nothing of the two (I1).
func TestI1SyncWithAWriteIsThatOfOneStart(t *testing.T) {
	inRig(t, 6, func(r *rig) {
		r.opts.SyncEvery = time.Hour
		a := r.open()
		defer r.close(a)
		for round := range 2 {
			r.write(a, 0, round)
			r.write(a, 1, round)
			if round == 1 {
				r.stores[0].Crash(0)
			}
			r.write(a, 2, round)
			r.flush(a)
		}
		for block := range uint64(3) {
			want, _ := r.held(1, block)
			if got, _ := r.held(0, block); got.Version != want.Version {
				t.Errorf("block %d: the node has version %s of %s", block, got.Version, want.Version)
			}
		}
		if ops := r.stores[0].Unsynced(); len(ops) > 0 {
			t.Errorf("the node has not synced %+v", ops)
		}
	})
}
