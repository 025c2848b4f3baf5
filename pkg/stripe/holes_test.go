package stripe

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// meddled is a store of which a test changes one thing.
type meddled struct {
	chunk.Store
	sync          func() (chunk.Ack, error)
	write         func(context.Context) error
	read          func()
	putSuperblock func() error
}

func (m *meddled) Sync(ctx context.Context, term chunk.Term) (chunk.Ack, error) {
	if m.sync != nil {
		return m.sync()
	}
	return m.Store.Sync(ctx, term)
}

func (m *meddled) Write(ctx context.Context, term chunk.Term, ops []chunk.Op) (chunk.Ack, error) {
	if m.write != nil {
		if err := m.write(ctx); err != nil {
			return chunk.Ack{}, err
		}
	}
	return m.Store.Write(ctx, term, ops)
}

func (m *meddled) Read(ctx context.Context, term chunk.Term, gets []chunk.Get) ([]chunk.Chunk, error) {
	if m.read != nil {
		m.read()
	}
	return m.Store.Read(ctx, term, gets)
}

func (m *meddled) PutSuperblock(ctx context.Context, term chunk.Term, sb chunk.Superblock) error {
	if m.putSuperblock != nil {
		if err := m.putSuperblock(); err != nil {
			return err
		}
	}
	return m.Store.PutSuperblock(ctx, term, sb)
}

// TestI1SyncThatBeganBeforeTheAcknowledgement:
//
//	take X (acknowledged by the old start) ── Sync begins ────────── Sync ends
//	            the node restarts, X is sent and acknowledged again ┘
//
// The Sync says nothing about X.
func TestI1SyncThatBeganBeforeTheAcknowledgement(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		a.mu.Lock()
		defer r.abandon(a)
		defer a.mu.Unlock()
		old, young := chunk.InstanceID{1}, chunk.InstanceID{2}
		l := newLedger(a.sb, a.place, 0)
		w := l.add(1, 1, payload{})
		n := int(a.place.Place(1)[0])
		l.nodes[n].instance = old
		l.acknowledge(n, l.take(n, batchOps, batchBytes), old)
		taken := l.takeUnsynced(n)
		l.restarted(n, young)
		l.unsync(n, taken) // the first Sync failed
		taken = l.takeUnsynced(n)
		l.acknowledge(n, l.take(n, batchOps, batchBytes), young)
		l.synced(n, taken, young, 0)
		if got := w.copies[0].state; got != acknowledged {
			t.Errorf("the copy is in state %d, want acknowledged", got)
		}
	})
}

// TestTrapInDeclaredOnAnUnsyncedCopy: the node restarts right before the Sync
// that its joining rests on, and nobody has noticed yet.
func TestTrapInDeclaredOnAnUnsyncedCopy(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		store := &meddled{Store: r.links[3]}
		r.opts.Nodes[3].Store = store
		a := r.open()
		r.links[3].Cut()
		time.Sleep(time.Second)
		r.write(a, 1, 1)
		r.links[3].Heal()
		for a.Follow(3) != nil {
			time.Sleep(beatEvery)
		}
		r.write(a, 1, 2)
		store.sync = func() (chunk.Ack, error) {
			return chunk.Ack{Instance: chunk.InstanceID{1}}, nil
		}
		if err := a.Join(r.Context(), 3); err == nil {
			t.Error("a node came in that had restarted before its sync")
		}
		store.sync = nil
		r.resync(a, 3)
		r.close(a)
	})
}

// TestIncomingIsFinishedOnceBegun: the caller of Join leaves while the record
// is on its way. The next gateway may have read it from some node: so the node
// counts until it stands.
func TestIncomingIsFinishedOnceBegun(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		var blocked atomic.Bool
		for i := range r.opts.Nodes {
			link := r.opts.Nodes[i].Store
			r.opts.Nodes[i].Store = &meddled{Store: link, putSuperblock: func() error {
				if blocked.Load() {
					return chunk.ErrUnavailable
				}
				return nil
			}}
		}
		a := r.open()
		r.links[3].Cut()
		time.Sleep(time.Second)
		r.links[3].Heal()
		for a.Follow(3) != nil {
			time.Sleep(beatEvery)
		}
		blocked.Store(true)
		if err := a.Join(r.patience(time.Second), 3); err == nil {
			t.Error("joined without a quorum")
		}
		a.Unfollow(3)
		if got := a.Status(); !got.Following[3] {
			t.Error("a node of which some record says in is no holder any more")
		}
		blocked.Store(false)
		time.Sleep(time.Second)
		if m := a.superblock().Nodes[3]; m.State != cluster.In {
			t.Errorf("the node is %s", m.State)
		}
		r.close(a)
	})
}

// TestWMovesWhenTheNodeItWaitedForGoesOut: without a spare nothing else is to
// be synced then.
func TestWMovesWhenTheNodeItWaitedForGoesOut(t *testing.T) {
	inRig(t, 6, func(r *rig) {
		a := r.open()
		r.write(a, 1, 1)
		r.links[2].Freeze()
		if err := a.Flush(r.patience(1200 * time.Millisecond)); err != nil {
			t.Error(err)
		}
		r.links[2].Heal()
		time.Sleep(time.Second)
		r.close(a)
	})
}

// TestI10ReadsShowWhatAllHoldersHave: a write whose client has given up is not
// shown while the gateway's death could undo it.
func TestI10ReadsShowWhatAllHoldersHave(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.write(a, 1, 1)
		r.flush(a)
		for _, n := range a.place.Place(1)[:3] {
			r.links[n].Freeze()
		}
		if err := a.WriteBlock(r.patience(100*time.Millisecond), 1, content(1, 2)); err == nil {
			t.Fatal("replied without its holders")
		}
		got := make([]byte, testBlock)
		if err := a.ReadAt(r.patience(100*time.Millisecond), got, testBlock); err == nil {
			t.Error("a version was shown that holders lack")
		}
		allocated, err := a.Allocated(r.Context(), 1, 1)
		if err != nil || !allocated[0] {
			t.Errorf("allocated: %v, %v", allocated, err)
		}
		for _, l := range r.links {
			l.Heal()
		}
		r.expect(a, 1, 2)
		r.close(a)
	})
}

// TestReadOnlyCardGoesOut: its writes would wait for ever.
func TestReadOnlyCardGoesOut(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.stores[4].FailSync()
		for b := range uint64(10) {
			if err := a.WriteBlock(r.patience(2*time.Second), b, content(b, 1)); err != nil {
				t.Fatal(err)
			}
		}
		r.flush(a)
		if m := a.superblock().Nodes[4]; m.State != cluster.Out || m.Behind {
			t.Errorf("the node is %s, behind %v", m.State, m.Behind)
		}
		r.close(a)
	})
}

// TestI6OldImageOfReclaimedTombstone: all others have forgotten the tombstone.
func TestI6OldImageOfReclaimedTombstone(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.write(a, 1, 1)
		r.flush(a)
		r.write(a, 2, 1)
		r.flush(a)
		a.mark()
		home := int(a.place.Place(1)[0])
		old := r.stores[home].Image()
		if err := a.Discard(r.Context(), 1); err != nil {
			t.Fatal(err)
		}
		r.flush(a)
		a.mark()
		r.flush(a)
		a.mark()
		found, err := a.Tombstones(r.Context(), 0, 64)
		if err != nil || len(found) != 1 {
			t.Fatalf("tombstones %v, %v", found, err)
		}
		if err := a.Reclaim(r.Context(), found); err != nil {
			t.Fatal(err)
		}
		r.links[home].Cut()
		time.Sleep(time.Second)
		r.stores[home].Load(old)
		r.links[home].Heal()
		r.resync(a, home)
		for _, e := range r.stores[home].Held(r.volume) {
			if e.Block == 1 {
				t.Errorf("it still holds %+v", e)
			}
		}
		r.expect(a, 1, 0)
		r.close(a)
	})
}

// TestDamagedTombstoneReadsAsZeroes: the damaged record answers first.
func TestDamagedTombstoneReadsAsZeroes(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.write(a, 1, 1)
		if err := a.Discard(r.Context(), 1); err != nil {
			t.Fatal(err)
		}
		r.flush(a)
		for i, n := range a.place.Place(1)[:6] {
			r.links[n].Delay(time.Duration(i+1) * time.Millisecond)
		}
		r.stores[a.place.Place(1)[0]].Damage(r.volume, 1, 0)
		r.expect(a, 1, 0)
		r.close(a)
	})
}

// TestDegradedReadWaitsForNodesThatAreAway: several answers of a spare are not
// the answers of several nodes.
func TestDegradedReadWaitsForNodesThatAreAway(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.write(a, 1, 1)
		r.flush(a)
		placed := a.place.Place(1)
		r.links[placed[0]].Cut()
		r.links[placed[1]].Cut()
		time.Sleep(time.Second) // both go out
		r.stores[placed[2]].Damage(r.volume, 1, 2)
		got := make([]byte, testBlock)
		if err := a.ReadAt(r.patience(time.Second), got, testBlock); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the read did not wait: %v", err)
		}
		r.links[placed[0]].Heal()
		r.expect(a, 1, 1)
		r.close(a)
	})
}

// TestOpenWithFewerInThanAWriteNeeds: recovery must not wait for nodes that may
// come in only after it.
func TestOpenWithFewerInThanAWriteNeeds(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for _, link := range r.links[:2] {
			link.Cut()
		}
		time.Sleep(time.Second)
		for _, link := range r.links[:2] {
			link.Heal()
		}
		for _, link := range r.links[2:4] {
			link.Cut()
		}
		time.Sleep(2 * time.Second)
		if n := a.superblock().CountIn(); n != 4 {
			t.Fatalf("%d nodes are in, want 4", n)
		}
		r.links[2].Heal()
		r.links[3].Heal()
		put := chunk.Op{Kind: chunk.OpTombstone, Block: 1, Index: 0, Version: chunk.MakeVersion(a.epoch, 1000)}
		n := int(a.place.Place(1)[0])
		if _, err := r.stores[n].Write(r.Context(), a.peers[n].term(), []chunk.Op{put}); err != nil {
			t.Fatal(err)
		}
		r.abandon(a)
		b, err := Open(r.patience(10*time.Second), r.opts, r.volume)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 4 {
			r.resync(b, n)
		}
		r.close(b)
	})
}

// TestI4ResyncNeedsTheNodesAnswer: the node that is resynced refuses a chunk for
// want of space, and is left alone until its next heartbeat. A block that was
// healed meanwhile was not healed there.
func TestI4ResyncNeedsTheNodesAnswer(t *testing.T) {
	inRig(t, 6, func(r *rig) {
		a := r.open()
		r.links[2].Cut()
		time.Sleep(time.Second)
		r.write(a, 1, 1)
		r.flush(a)
		r.stores[2].SetCapacity(0)
		r.links[2].Heal()
		for a.Follow(2) != nil {
			time.Sleep(beatEvery)
		}
		a.mu.Lock()
		a.peers[2].up = false // as after a refusal
		a.mu.Unlock()
		_, _, err := a.Heal(r.Context(), 1, Healing{Node: 2})
		if !errors.Is(err, ErrInterrupted) {
			t.Errorf("healing a node that was not asked: %v", err)
		}
		a.Unfollow(2)
		r.resync(a, 2)
		r.consistent(a)
		r.close(a)
	})
}

// TestI1NothingSettlesBelowTheWriteQuorum: the version was accepted while six
// nodes were in; now four are. A flush waits until a fifth chunk is durable, on
// a node that is being resynced at the earliest, and older versions stay.
func TestI1NothingSettlesBelowTheWriteQuorum(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		r.opts.SyncEvery = time.Hour
		a := r.open()
		defer r.abandon(a)
		r.write(a, 1, 1)
		r.flush(a)
		for _, link := range r.links[:2] {
			link.Cut()
		}
		time.Sleep(time.Second)
		a.unhurried()
		r.write(a, 1, 2)
		for _, link := range r.links[:2] {
			link.Heal()
		}
		for _, link := range r.links[2:4] {
			link.Cut()
		}
		time.Sleep(3 * time.Second) // for a moment too few answered, so the others have time to return
		if n := a.superblock().CountIn(); n != 4 {
			t.Fatalf("%d nodes are in, want 4", n)
		}
		if err := a.Flush(r.patience(30 * time.Second)); !errors.Is(err, ErrTooFewNodes) {
			t.Errorf("flushed with chunks on four nodes: %v", err)
		}
		for n := range 4 {
			r.links[n].Heal()
		}
		for n := range 4 {
			r.resync(a, n)
			r.flush(a)
		}
		r.expect(a, 1, 2)
		r.consistent(a)
	})
}

// TestTrapFullCardIsNotDeclaredOut: a card is full that was thought to have room.
// It takes the chunk into its reserve, and stays in.
func TestTrapFullCardIsNotDeclaredOut(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		defer r.close(a)
		r.write(a, 1, 1)
		r.flush(a)
		home := a.place.Place(1)[0]
		r.stores[home].SetCapacity(1)
		r.write(a, 1, 2)
		r.flush(a)
		time.Sleep(2 * time.Second)
		if state := a.superblock().Nodes[home].State; state != cluster.In {
			t.Errorf("it is %s", state)
		}
		r.expect(a, 1, 2)
	})
}

// TestTrapSuperblockUpdateThatReachedOneNode: a home dies, and that it is out is
// recorded on one node only. No write may do without it, and whatever the next
// gateway finds, it reads one version for ever (I1, I10).
func TestTrapSuperblockUpdateThatReachedOneNode(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		var failing atomic.Bool
		for i := range r.opts.Nodes[1:] {
			r.opts.Nodes[i+1].Store = &meddled{Store: r.links[i+1], putSuperblock: func() error {
				if failing.Load() {
					return chunk.ErrUnavailable
				}
				return nil
			}}
		}
		a := r.open()
		r.write(a, 1, 1)
		r.flush(a)
		failing.Store(true)
		home := a.place.Place(1)[0]
		if home == 0 {
			home = a.place.Place(1)[1]
		}
		r.links[home].Cut()
		if err := a.WriteBlock(r.patience(3*time.Second), 1, content(1, 2)); !errors.Is(err, ErrTooFewNodes) {
			t.Errorf("a write without a holder: %v", err)
		}
		r.abandon(a)
		failing.Store(false)
		r.links[home].Heal()
		for range 2 {
			a = r.open()
			generation := r.expect(a, 1, 1, 2)
			r.flush(a)
			r.links[home].Freeze()
			r.expect(a, 1, generation)
			r.links[home].Heal()
			r.close(a)
		}
	})
}
