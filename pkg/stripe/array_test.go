package stripe

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/chunk/chunktest"
)

func TestWriteReadFlushReopen(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for b := range uint64(20) {
			r.write(a, b, 1)
		}
		r.write(a, 3, 2)
		r.expect(a, 3, 2) // from memory
		r.flush(a)
		r.expect(a, 3, 2) // from the nodes
		r.expect(a, 40, 0)
		if err := a.Discard(r.Context(), 4); err != nil {
			t.Fatal(err)
		}
		r.expect(a, 4, 0)
		r.close(a)

		a = r.open()
		r.expect(a, 3, 2)
		r.expect(a, 4, 0)
		r.expect(a, 5, 1)
		r.expect(a, 40, 0)
		r.close(a)
	})
}

func TestReadAnyRange(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		model := make([]byte, 64*testBlock)
		for b := range uint64(30) {
			r.write(a, b, int(b))
			copy(model[b*testBlock:], content(b, int(b)))
		}
		r.flush(a)
		r.write(a, 7, 100)
		copy(model[7*testBlock:], content(7, 100))
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		for down := range 3 {
			for range 50 {
				off := rng.IntN(len(model))
				got := make([]byte, 1+rng.IntN(min(len(model)-off, 5*testBlock)))
				if err := a.ReadAt(r.Context(), got, int64(off)); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, model[off:off+len(got)]) {
					t.Fatalf("wrong bytes at %d+%d with %d nodes down", off, len(got), down)
				}
			}
			r.links[down].Cut()
		}
		r.links[0].Heal()
		r.links[1].Heal()
		r.links[2].Heal()
		time.Sleep(time.Second)
		r.close(a)
	})
}

// TestI7GatewayDeathLosesNoReply: a replied write, not flushed, survives the
// gateway: its holders have it in memory.
func TestI7GatewayDeathLosesNoReply(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.write(a, 1, 1)
		r.flush(a)
		r.write(a, 1, 2)
		r.write(a, 2, 1)
		r.abandon(a)
		a = r.open()
		r.expect(a, 1, 2)
		r.expect(a, 2, 1)
		if got := a.Incarnation(); got != 0 {
			t.Errorf("incarnation %d after the death of the gateway alone, want 0", got)
		}
		r.close(a)
	})
}

// TestI2PowerLossEverywhere: what was flushed is there, each block is one
// version that was written, and the incarnation tells of the loss.
func TestI2PowerLossEverywhere(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.write(a, 1, 1)
		r.write(a, 2, 1)
		r.flush(a)
		r.write(a, 1, 2)
		r.abandon(a)
		for i, s := range r.stores {
			s.Crash(i % 3) // each keeps another part of what was not synced
		}
		a = r.open()
		r.expect(a, 1, 1, 2)
		r.expect(a, 2, 1)
		if got := a.Incarnation(); got != 1 {
			t.Errorf("incarnation %d after power loss, want 1", got)
		}
		r.close(a)
	})
}

// TestI5DeposedGateway: after the second gateway's grants the first completes
// no write, and nothing of it is settled.
func TestI5DeposedGateway(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.write(a, 1, 1)
		b := r.open()
		r.write(b, 1, 2)
		if err := a.WriteBlock(r.Context(), 1, content(1, 3)); !errors.Is(err, ErrDeposed) {
			t.Errorf("write of the deposed gateway: %v", err)
		}
		got := make([]byte, testBlock)
		if err := a.ReadAt(r.Context(), got, testBlock); !errors.Is(err, ErrDeposed) {
			t.Errorf("read of the deposed gateway: %v", err)
		}
		r.expect(b, 1, 2)
		if err := a.Close(r.Context()); err == nil {
			t.Error("closing the deposed gateway succeeded")
		}
		r.close(b)
	})
}

// TestTrapThreeNodesRestartBetweenAckAndFlush: three of a stripe's six nodes lose what they
// acknowledged; the gateway sends it again before it replies to the flush.
func TestTrapThreeNodesRestartBetweenAckAndFlush(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.write(a, 1, 1)
		placed := a.place.Place(1)
		for _, n := range placed[:3] {
			r.stores[n].Crash(0)
		}
		r.flush(a)
		r.abandon(a)
		for _, s := range r.stores {
			s.Crash(0)
		}
		a = r.open()
		r.expect(a, 1, 1)
		r.close(a)
	})
}

// TestLeaseFrozenGateway: a gateway that was stopped for 10 s must not take
// the heartbeats of before for fresh (I5).
func TestLeaseEndsWithoutQuorum(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.write(a, 1, 1)
		r.flush(a)
		for _, l := range r.links[:3] {
			l.Freeze()
		}
		time.Sleep(2500 * time.Millisecond)
		got := make([]byte, testBlock)
		err := a.ReadAt(r.patience(time.Second), got, testBlock)
		if !errors.Is(err, ErrTooFewNodes) {
			t.Errorf("read without a quorum: %v", err)
		}
		for _, l := range r.links[:3] {
			l.Heal()
		}
		r.expect(a, 1, 1)
		r.close(a)
	})
}

// TestI1SparesStandIn: two nodes die, one by a closed connection, one frozen.
// Writes wait for no longer than it takes to declare them out, and get all six
// chunks.
func TestI1SparesStandIn(t *testing.T) {
	for _, test := range []struct {
		name  string
		harm  func(*chunktest.Link)
		pause time.Duration
	}{
		{"killed", (*chunktest.Link).Cut, 150 * time.Millisecond},
		{"frozen", (*chunktest.Link).Freeze, 1200 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			inRig(t, 8, func(r *rig) {
				a := r.open()
				for b := range uint64(20) {
					r.write(a, b, 1)
				}
				test.harm(r.links[2])
				test.harm(r.links[6])
				longest := time.Duration(0)
				for b := range uint64(30) {
					start := time.Now()
					r.write(a, b, 2)
					longest = max(longest, time.Since(start))
				}
				if longest > test.pause {
					t.Errorf("longest pause %s, want at most %s", longest, test.pause)
				}
				r.flush(a)
				if n := a.Status().UnderProtected; n != 0 {
					t.Errorf("%d versions under-protected", n)
				}
				for b := range uint64(30) {
					r.expect(a, b, 2)
				}
				r.close(a)
			})
		})
	}
}

// TestFrozenNodeDoesNotDelayReads: the first reads that hit it are hedged, the
// next ones go around it, long before it is declared out.
func TestFrozenNodeDoesNotDelayReads(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for b := range uint64(60) {
			r.write(a, b, 1)
		}
		r.flush(a)
		for range 3 {
			for b := range uint64(60) {
				r.expect(a, b, 1) // learn how long reads take
			}
		}
		r.links[1].Freeze()
		r.links[4].Freeze()
		longest := time.Duration(0)
		for b := range uint64(60) {
			start := time.Now()
			r.expect(a, b, 1)
			longest = max(longest, time.Since(start))
		}
		if longest > 50*time.Millisecond {
			t.Errorf("longest pause %s", longest)
		}
		if n := a.Status().Hedged; n == 0 || n > 2*suspectAfter {
			t.Errorf("%d reads hedged for two nodes, want at most %d", n, 2*suspectAfter)
		}
		r.close(a)
	})
}

// TestTrapAllCardsBlinkTogether: more nodes than may fail go away at once.
// Writes wait, nobody is declared out, and all goes on when they return.
func TestTrapAllCardsBlinkTogether(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for _, l := range r.links {
			l.Cut()
		}
		done := make(chan error, 1)
		go func() { done <- a.WriteBlock(r.Context(), 1, content(1, 1)) }()
		time.Sleep(time.Minute)
		select {
		case err := <-done:
			t.Fatalf("write returned while all nodes were away: %v", err)
		default:
		}
		for _, l := range r.links {
			l.Heal()
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if n := a.superblock().CountIn(); n != 8 {
			t.Errorf("%d of 8 nodes are in", n)
		}
		r.expect(a, 1, 1)
		r.close(a)
	})
}

func TestNoSpaceIsSaidBeforeAVersionIsTaken(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.write(a, 1, 1)
		r.flush(a)
		for _, s := range r.stores {
			s.SetCapacity(1500)
		}
		time.Sleep(time.Second)
		if err := a.WriteBlock(r.Context(), 2, content(2, 1)); !errors.Is(err, ErrNoSpace) {
			t.Errorf("write to a full cluster: %v", err)
		}
		r.expect(a, 1, 1)
		r.expect(a, 2, 0)
		if err := a.Discard(r.Context(), 1); err != nil {
			t.Errorf("trim on a full cluster: %v", err)
		}
		for _, s := range r.stores {
			s.SetCapacity(1 << 30)
		}
		time.Sleep(time.Second)
		r.write(a, 2, 1)
		r.close(a)
	})
}

// TestWhatIsSupersededIsFreedSoon: also where nothing more is written.
func TestWhatIsSupersededIsFreedSoon(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for generation := range 3 {
			r.write(a, 1, generation+1)
			r.flush(a)
		}
		time.Sleep(3 * a.opts.SyncEvery)
		for n, s := range r.stores {
			if held := s.Held(r.volume); len(held) > 1 {
				t.Errorf("node %d holds %d versions", n, len(held))
			}
		}
		r.close(a)
	})
}

// TestTrimMakesRoomOnSlowCards: they free what a tombstone hides when they have
// heard of W and synced it, and tell so later. No space is said only after that.
func TestTrimMakesRoomOnSlowCards(t *testing.T) {
	inRig(t, 6, func(r *rig) {
		a := r.open()
		r.write(a, 1, 1)
		r.write(a, 2, 1)
		r.flush(a)
		for i, s := range r.stores {
			s.SetCapacity(3000) // for two chunks
			r.links[i].Delay(300 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		if err := a.WriteBlock(r.Context(), 3, content(3, 1)); !errors.Is(err, ErrNoSpace) {
			t.Errorf("write to a full cluster: %v", err)
		}
		if err := a.Discard(r.Context(), 1); err != nil {
			t.Fatal(err)
		}
		r.write(a, 3, 1)
		r.close(a)
	})
}

func TestManyWritersBoundedMemory(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		r.opts.Memory = 8 * testBlock * 6 / 4
		a := r.open()
		for g := 1; g <= 5; g++ {
			errs := make(chan error, 64)
			for b := range uint64(64) {
				go func() { errs <- a.WriteBlock(r.Context(), b, content(b, g)) }()
			}
			for range 64 {
				if err := <-errs; err != nil {
					t.Fatal(err)
				}
				if n := a.Status().UnsettledBytes; n > r.opts.Memory {
					t.Fatalf("%d bytes unsettled, bound is %d", n, r.opts.Memory)
				}
			}
		}
		for b := range uint64(64) {
			r.expect(a, b, 5)
		}
		r.close(a)
	})
}

// TestIdleMovesW: what nobody flushes is made durable all the same.
func TestIdleMovesW(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.write(a, 1, 1)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := a.Status().UnsettledBytes; n != 0 {
			t.Errorf("%d bytes still unsettled", n)
		}
		r.close(a)
	})
}

func TestAllocated(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for _, b := range []uint64{0, 5, 6, 63} {
			r.write(a, b, 1)
		}
		r.flush(a)
		r.write(a, 9, 1)
		if err := a.Discard(r.Context(), 6); err != nil {
			t.Fatal(err)
		}
		got, err := a.Allocated(r.Context(), 5, 59)
		if err != nil {
			t.Fatal(err)
		}
		for i, have := range got {
			b := i + 5
			if want := b == 5 || b == 9 || b == 63; have != want {
				t.Errorf("block %d allocated: %v, want %v", b, have, want)
			}
		}
		r.close(a)
	})
}

func TestOpenWithTwoNodesAway(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for b := range uint64(30) {
			r.write(a, b, 1)
		}
		r.abandon(a)
		r.links[2].Cut()
		r.links[5].Freeze()
		a = r.open()
		for b := range uint64(30) {
			r.expect(a, b, 1)
			r.write(a, b, 2)
		}
		r.flush(a)
		if n := a.Status().UnderProtected; n != 0 {
			t.Errorf("%d versions under-protected, want 0: there are spares", n)
		}
		for b := range uint64(30) {
			r.expect(a, b, 2)
		}
		r.close(a)
	})
}

func TestVolumes(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		geo := r.geometry()
		if _, err := Create(r.Context(), r.opts, "v", geo); !errors.Is(err, ErrExists) {
			t.Errorf("create of a name that exists: %v", err)
		}
		if err := Delete(r.Context(), r.opts, r.volume); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(r.Context(), r.opts, r.volume); !errors.Is(err, ErrNotFound) {
			t.Errorf("open of a deleted volume: %v", err)
		}
		if found, err := Find(r.Context(), r.opts); err != nil || len(found) != 0 {
			t.Errorf("found %v, %v", found, err)
		}
		if _, err := Create(r.Context(), r.opts, "v", geo); err != nil {
			t.Errorf("create after delete: %v", err)
		}
	})
}

// TestI6DeletionReachesNodesThatWereAway: a node that returns with a deleted
// volume gives it up.
func TestI6DeletionReachesNodesThatWereAway(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for b := range uint64(20) {
			r.write(a, b, 1)
		}
		r.close(a)
		r.links[3].Cut()
		if err := Delete(r.Context(), r.opts, r.volume); err != nil {
			t.Fatal(err)
		}
		r.links[3].Heal()
		if err := FinishDeletions(r.Context(), r.opts); err != nil {
			t.Fatal(err)
		}
		stat, err := r.stores[3].Stat(r.Context())
		if err != nil || stat.Chunks != 0 {
			t.Errorf("the node still holds %d chunks (%v)", stat.Chunks, err)
		}
	})
}
