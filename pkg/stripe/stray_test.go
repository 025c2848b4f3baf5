package stripe

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/cluster"
)

// tardy is a link on which changes take so much longer as it says, and are made
// although nobody waits for them.
type tardy struct {
	*chunktest.Link
	late atomic.Int64
}

func (r *rig) tardy(n int) *tardy {
	l := &tardy{Link: &chunktest.Link{Store: r.stores[n]}}
	l.Fates = func() chunktest.Fate { return chunktest.Fate{Late: time.Duration(l.late.Load()), Adrift: true} }
	l.Delay(time.Millisecond)
	return l
}

// placed returns where a block's chunks belong.
func (r *rig) placed(block uint64) []uint8 {
	a := r.open()
	defer r.close(a)
	return a.place.Place(block)
}

// reclaim drops a block's tombstone, as soon as it is all that the nodes hold.
func (r *rig) reclaim(a *Array, block uint64) error {
	r.Helper()
	for range 20 {
		found, err := a.Tombstones(r.Context(), block, block+1)
		if err != nil {
			return err
		}
		if len(found) > 0 {
			return a.Reclaim(r.Context(), found)
		}
		time.Sleep(beatEvery)
		a.mark()
	}
	return errors.New("there is no tombstone")
}

// TestI6LateRepairAfterReclaim: a repair is given up, the block is trimmed and
// its tombstone dropped, and the request is carried out after all.
func TestI6LateRepairAfterReclaim(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		home := int(r.placed(1)[0])
		back := r.tardy(home)
		defer back.Close()
		r.opts.Nodes[home].Background = back
		a := r.open()
		defer r.abandon(a)
		r.write(a, 1, 1)
		r.flush(a)
		r.stores[home].Damage(r.volume, 1, 0)
		back.late.Store(int64(5 * time.Second))
		_, _, err := a.Heal(r.patience(time.Second), 1, Healing{Node: AllNodes, Verify: true})
		if !errors.Is(err, chunk.ErrUnavailable) {
			t.Fatalf("healing with a late node: %v", err)
		}
		back.late.Store(0)
		if err := a.Discard(r.Context(), 1); err != nil {
			t.Fatal(err)
		}
		r.flush(a)
		if err := r.reclaim(a, 1); !errors.Is(err, errStray) {
			t.Errorf("reclaiming while a repair is under way: %v", err)
		}
		time.Sleep(10 * time.Second)
		r.expect(a, 1, 0)
		if err := r.reclaim(a, 1); err != nil {
			t.Errorf("reclaiming when nothing is under way any more: %v", err)
		}
		r.expect(a, 1, 0)
	})
}

// TestTrapLateDropAfterRebuild: what a spare held is to be dropped, which takes
// long. Meanwhile the home goes out again, and the spare stands in for it with
// the very same copy.
func TestTrapLateDropAfterRebuild(t *testing.T) {
	inRig(t, 7, func(r *rig) {
		placed := r.placed(1)
		home, spare := int(placed[0]), int(placed[6])
		back := r.tardy(spare)
		defer back.Close()
		r.opts.Nodes[spare].Background = back
		a := r.open()
		defer r.abandon(a)
		r.links[home].Cut()
		time.Sleep(time.Second)
		r.write(a, 1, 1)
		r.flush(a)
		r.links[home].Heal()
		r.resync(a, home)
		rebuild := func(ctx context.Context) error {
			_, _, err := a.Heal(ctx, 1, Healing{Node: AllNodes, Spares: true})
			return err
		}
		back.late.Store(int64(3 * time.Second))
		if err := rebuild(r.patience(time.Second)); err == nil {
			t.Fatal("the late drop was awaited")
		}
		back.late.Store(0)
		r.links[home].Cut()
		time.Sleep(500 * time.Millisecond)
		if m := a.superblock().Nodes[home]; m.State != cluster.Out {
			t.Fatalf("the home is %s", m.State)
		}
		for rebuild(r.Context()) != nil {
			time.Sleep(beatEvery)
		}
		for range 2 {
			if lacking, err := a.Lacking(r.Context(), 1, 2); err != nil || len(lacking) != 0 {
				t.Errorf("after the rebuild %v lack chunks, %v", lacking, err)
			}
			time.Sleep(5 * time.Second)
		}
	})
}

// TestI6LateChunkFromTheReserve: a client's chunk found no space and is sent
// again with leave to use the reserve, which takes long. Its node goes out and
// comes back meanwhile, and the block is trimmed.
func TestI6LateChunkFromTheReserve(t *testing.T) {
	inRig(t, 6, func(r *rig) {
		home := int(r.placed(1)[0])
		front := r.tardy(home)
		defer front.Close()
		r.opts.Nodes[home].Store = front
		a := r.open()
		defer r.abandon(a)
		r.write(a, 2, 1)
		r.flush(a)
		time.Sleep(beatEvery)
		chunks, err := a.encode(content(1, 1))
		if err != nil {
			t.Fatal(err)
		}
		front.late.Store(int64(8 * time.Second))
		a.mu.Lock()
		w := a.enterWriteLocked(1, payload{chunks: chunks})
		for _, it := range a.ledger.nodes[home].queue {
			it.urgent = true
		}
		a.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
		front.late.Store(0)
		front.Freeze()
		<-w.replied
		if m := a.superblock().Nodes[home]; m.State != cluster.Out {
			t.Fatalf("the home is %s", m.State)
		}
		front.Heal()
		r.resync(a, home)
		if err := a.Discard(r.Context(), 1); err != nil {
			t.Fatal(err)
		}
		r.flush(a)
		if err := r.reclaim(a, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if m := a.superblock().Nodes[home]; m.State != cluster.In {
			r.resync(a, home)
		}
		r.expect(a, 1, 0)
		r.consistent(a)
	})
}
