package repair

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/cluster"
	"rozobox/pkg/stripe"
)

const (
	blockSize = 4096
	blocks    = 100
)

// rig is an open volume over eight stores in memory, with a manager at work.
type rig struct {
	*testing.T
	stores  []*chunktest.Memory
	links   []*chunktest.Link
	array   *stripe.Array
	manager *Manager
}

func inRig(t *testing.T, opts Options, f func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t}
		start := time.Now()
		so := stripe.Options{Clock: func() time.Duration { return time.Since(start) }}
		for i := range 8 {
			id := chunk.NodeID(fmt.Sprintf("n%d", i))
			store := chunktest.NewMemory(id)
			link := &chunktest.Link{Store: store}
			link.Delay(time.Millisecond)
			r.stores, r.links = append(r.stores, store), append(r.links, link)
			so.Nodes = append(so.Nodes, stripe.Node{ID: id, Store: link, Background: link})
		}
		r.open(so)
		r.manager = New(r.array, opts)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { r.manager.Run(ctx); close(done) }()
		f(r)
		stop()
		<-done
		if err := r.array.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func (r *rig) open(so stripe.Options) {
	geo := cluster.Geometry{Size: blocks * blockSize, BlockSize: blockSize, Data: 4, Parity: 2, Extent: 1}
	id, err := stripe.Create(r.Context(), so, "v", geo)
	if err == nil {
		r.array, err = stripe.Open(r.Context(), so, id)
	}
	if err != nil {
		r.Fatal(err)
	}
}

func content(block uint64, generation int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "b%06d g%06d\n", block, generation), blockSize/16)
}

func (r *rig) write(first, end uint64, generation int) {
	r.Helper()
	for b := first; b < end; b++ {
		if err := r.array.WriteBlock(r.Context(), b, content(b, generation)); err != nil {
			r.Fatal(err)
		}
	}
	if err := r.array.Flush(r.Context()); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) expect(first, end uint64, generation int) {
	r.Helper()
	got := make([]byte, blockSize)
	for b := first; b < end; b++ {
		if err := r.array.ReadAt(r.Context(), got, int64(b)*blockSize); err != nil {
			r.Fatal(err)
		}
		if !bytes.Equal(got, content(b, generation)) {
			r.Fatalf("block %d reads %.16q, want generation %d", b, got, generation)
		}
	}
}

// until waits for a condition, for no more than so long of fake time.
func (r *rig) until(limit time.Duration, what string, condition func() bool) {
	r.Helper()
	for start := time.Now(); !condition(); time.Sleep(lookEvery) {
		if time.Since(start) > limit {
			r.Fatalf("not within %s: %s (%+v)", limit, what, r.manager.Status())
		}
	}
}

func (r *rig) allIn() bool {
	s := r.array.Status()
	return s.Superblock.CountIn() == 8 && r.manager.Status().Job.Kind == ""
}

func (r *rig) underProtected() int { return r.manager.Status().UnderProtected }

// TestAwayNodesComeBackByThemselves: two nodes are away while blocks are
// written, and are resynced by what they missed only.
func TestAwayNodesComeBackByThemselves(t *testing.T) {
	inRig(t, Options{}, func(r *rig) {
		r.write(0, 80, 1)
		r.links[1].Cut()
		r.links[6].Freeze()
		time.Sleep(5 * time.Second)
		r.write(20, 30, 2)
		r.until(5*time.Second, "old blocks are under-protected", func() bool { return r.underProtected() > 0 })
		r.links[1].Heal()
		r.links[6].Heal()
		r.until(time.Minute, "all nodes are in", r.allIn)
		r.until(5*time.Second, "nothing is under-protected", func() bool { return r.underProtected() == 0 })
		r.links[3].Cut()
		r.links[4].Cut()
		r.expect(20, 30, 2)
		r.expect(30, 80, 1)
		r.links[3].Heal()
		r.links[4].Heal()
		time.Sleep(time.Minute)
	})
}

// TestI1RebuildThenTwoMoreMayDie: after RebuildAfter the chunks of two dead
// nodes stand on the others.
func TestI1RebuildThenTwoMoreMayDie(t *testing.T) {
	inRig(t, Options{RebuildAfter: time.Minute}, func(r *rig) {
		r.write(0, 80, 1)
		r.links[2].Cut()
		r.links[5].Cut()
		time.Sleep(30 * time.Second)
		if r.underProtected() == 0 {
			t.Error("rebuilt before its time")
		}
		for start := time.Now(); r.manager.Status().Job.Kind != string(rebuild); time.Sleep(time.Millisecond) {
			if time.Since(start) > time.Minute {
				t.Fatal("no rebuild began")
			}
		}
		if node := r.manager.Status().Job.Node; node != "n2" && node != "n5" {
			t.Errorf("the rebuild is of %q", node)
		}
		r.until(time.Minute, "nothing is under-protected", func() bool { return r.underProtected() == 0 })
		r.expect(0, 80, 1)
		if err := r.manager.Lose(r.Context(), 0); !errors.Is(err, stripe.ErrRefused) {
			t.Errorf("giving up a node that is in: %v", err)
		}
		for _, n := range []int{2, 5} {
			if err := r.manager.Lose(r.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		r.links[0].Cut()
		r.links[7].Cut()
		r.expect(0, 80, 1)
		r.write(80, 90, 1)
		r.links[0].Heal()
		r.links[7].Heal()
		r.until(time.Minute, "the others are in", func() bool { return r.array.Status().Superblock.CountIn() == 6 })
		r.until(2*time.Minute, "what was written meanwhile has all its chunks", func() bool {
			return r.underProtected() == 0
		})
		r.links[2].Heal()
		r.stores[5].Wipe()
		r.links[5].Heal()
		for _, n := range []int{2, 5} {
			if err := r.manager.Replace(r.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		r.until(time.Minute, "all nodes are in", r.allIn)
		r.expect(0, 80, 1)
		time.Sleep(time.Minute)
		r.tidy()
	})
}

// tidy checks that spares hold nothing any more that homes have again.
func (r *rig) tidy() {
	r.Helper()
	if err := r.array.Flush(r.Context()); err != nil {
		r.Fatal(err)
	}
	if chunks := r.held(); chunks != 90*6 {
		r.Errorf("%d chunks are held, want %d", chunks, 90*6)
	}
}

// held counts the records on all nodes.
func (r *rig) held() (chunks uint64) {
	r.Helper()
	for _, s := range r.stores {
		stat, err := s.Stat(r.Context())
		if err != nil {
			r.Fatal(err)
		}
		chunks += stat.Chunks
	}
	return chunks
}

// TestWhatLateWritesStrewIsDropped: a node is late for a moment, so spares are sent
// its chunks too. Soon after they hold nothing that they need not.
func TestWhatLateWritesStrewIsDropped(t *testing.T) {
	inRig(t, Options{}, func(r *rig) {
		r.write(0, 80, 1)
		time.Sleep(5 * time.Second) // what the last gateway might have left is seen to
		r.links[2].Delay(50 * time.Millisecond)
		for b := range uint64(8) {
			if err := r.array.WriteBlock(r.Context(), b, content(b, 2)); err != nil {
				t.Fatal(err)
			}
		}
		r.links[2].Delay(time.Millisecond)
		r.write(0, 0, 0)
		if r.array.Status().Strewn == 0 {
			t.Error("no spare was sent anything")
		}
		time.Sleep(2 * tidyEvery)
		if n := r.held(); n != 80*6 {
			t.Errorf("%d chunks are held, want %d", n, 80*6)
		}
		r.expect(0, 8, 2)
	})
}

// TestScrubMendsDamage: bits flip in two chunks of each stripe.
func TestScrubMendsDamage(t *testing.T) {
	inRig(t, Options{}, func(r *rig) {
		r.write(0, 80, 1)
		volume := r.array.Status().Superblock.Volume
		for b := range uint64(80) {
			for n := range 8 {
				r.stores[n].Damage(volume, b, uint8(b%6))
				r.stores[n].Damage(volume, b, uint8((b+3)%6))
			}
		}
		r.manager.Scrub()
		r.until(time.Minute, "scrubbed", func() bool { return !r.manager.Status().Scrub.Ended.IsZero() })
		if s := r.manager.Status().Scrub; s.Mended != 160 || len(s.Failed) != 0 || s.Blocks != 80 {
			t.Errorf("scrub of 80 blocks with 160 bad chunks: %d mended, %d failed, %d blocks",
				s.Mended, len(s.Failed), s.Blocks)
		}
		r.manager.Scrub()
		r.until(time.Minute, "scrubbed again", func() bool {
			s := r.manager.Status().Scrub
			return !s.Ended.IsZero() && s.Mended == 0
		})
		r.links[0].Cut()
		r.links[1].Cut()
		r.expect(0, 80, 1)
		r.links[0].Heal()
		r.links[1].Heal()
		r.until(time.Minute, "all nodes are in", r.allIn)
	})
}

// TestReadMendsDamageOnTheSpot: no scrub is needed where clients read.
func TestReadMendsDamageOnTheSpot(t *testing.T) {
	inRig(t, Options{}, func(r *rig) {
		r.write(0, 10, 1)
		volume := r.array.Status().Superblock.Volume
		for b := range uint64(10) {
			for n := range 8 {
				r.stores[n].Damage(volume, b, 1)
			}
		}
		r.expect(0, 10, 1)
		time.Sleep(5 * time.Second)
		r.manager.Scrub()
		r.until(time.Minute, "scrubbed", func() bool { return !r.manager.Status().Scrub.Ended.IsZero() })
		if s := r.manager.Status().Scrub; s.Mended != 0 {
			t.Errorf("the scrub had to mend %d chunks", s.Mended)
		}
	})
}

// TestI6TombstonesAreReclaimedWhenAllAreIn: while a node is away, it may hold
// what a tombstone hides; afterwards nothing is left of a trimmed block.
func TestI6TombstonesAreReclaimedWhenAllAreIn(t *testing.T) {
	inRig(t, Options{ReclaimEvery: 20 * time.Second}, func(r *rig) {
		r.write(0, 20, 1)
		r.links[2].Cut()
		time.Sleep(time.Second)
		for b := range uint64(20) {
			if err := r.array.Discard(r.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		if r.held() == 0 {
			t.Error("tombstones were dropped while a node was away")
		}
		r.links[2].Heal()
		r.until(time.Minute, "all nodes are in", r.allIn)
		time.Sleep(time.Minute)
		if n := r.held(); n != 0 {
			t.Errorf("%d records are held of trimmed blocks", n)
		}
	})
}

// TestFlappingNodeWaitsLonger: a node that goes out again and again is taken
// back with increasing delays.
func TestFlappingNodeWaitsLonger(t *testing.T) {
	inRig(t, Options{}, func(r *rig) {
		r.write(0, 20, 1)
		var took []time.Duration
		for range 5 {
			r.links[3].Cut()
			time.Sleep(2 * time.Second)
			start := time.Now()
			r.links[3].Heal()
			r.until(10*time.Minute, "node is in", r.allIn)
			took = append(took, time.Since(start))
		}
		if took[4] < 5*time.Second {
			t.Errorf("came back after %v, want growing delays", took)
		}
	})
}

func TestPauseAndResume(t *testing.T) {
	inRig(t, Options{}, func(r *rig) {
		r.write(0, 20, 1)
		r.manager.Pause()
		r.links[3].Cut()
		time.Sleep(2 * time.Second)
		r.links[3].Heal()
		time.Sleep(time.Minute)
		if r.allIn() {
			t.Error("a node was resynced while repair is paused")
		}
		r.manager.Resume()
		r.until(time.Minute, "all nodes are in", r.allIn)
	})
}

// A card that froze is out before its heartbeat is late: a resync that began
// then would fail seconds later.
func TestANodeThatWentOutIsGivenTimeToBeSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h health
		if h.wentOut(false); time.Until(h.retryAt) != settled {
			t.Errorf("it may be resynced after %v", time.Until(h.retryAt))
		}
	})
}

// Somebody pulls a card out and plugs it in again, all the time.
func TestANodeThatComesAndGoesDoesNotWaitForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h health
		for range 20 {
			h.joinedAt = time.Now()
			time.Sleep(20 * time.Second)
			if h.wentOut(false); time.Until(h.retryAt) > briefDelay {
				t.Fatalf("it may be resynced after %v", time.Until(h.retryAt))
			}
			time.Sleep(briefDelay)
		}
		if time.Until(h.retryAt) != 0 {
			t.Errorf("it waits for %v less than it may", -time.Until(h.retryAt))
		}
	})
}

// TestSlowNodeDoesNotFlap: a node that takes long for what clients write goes
// out. It is tried again ever more seldom, and stays in when it is well.
func TestSlowNodeDoesNotFlap(t *testing.T) {
	inRig(t, Options{RebuildAfter: time.Hour}, func(r *rig) {
		r.write(0, blocks, 1)
		r.links[3].Delay(40 * time.Millisecond)
		block := r.stores[3].Held(r.array.Status().Superblock.Volume)[0].Block
		var outs []time.Duration // for how long each time
		in, went := true, time.Now()
		work := func(long time.Duration) {
			for start := time.Now(); time.Since(start) < long; time.Sleep(100 * time.Millisecond) {
				r.write(block, block+1, 1)
				isIn := r.array.Status().Superblock.Nodes[3].State == cluster.In
				if in && !isIn {
					went = time.Now()
				} else if isIn && !in {
					outs = append(outs, time.Since(went))
				}
				in = isIn
			}
		}
		work(10 * time.Minute)
		if len(outs) < 3 || len(outs) > 4 {
			t.Errorf("in ten minutes it was out for %s", outs)
			return
		}
		for i, d := range outs {
			if least := slowDelay << i; d < least || d > least+5*time.Second {
				t.Errorf("the %d. time it was out for %s, want %s", i+1, d, least)
			}
		}
		r.links[3].Delay(time.Millisecond)
		work(lastDelay)
		if outs = nil; !in {
			t.Errorf("it is well, and out for %s", time.Since(went))
		}
		if work(5 * time.Minute); !in || len(outs) > 0 {
			t.Errorf("it is well, and was out for %s", outs)
		}
	})
}
