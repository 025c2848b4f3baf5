package stripe

import (
	"errors"
	"testing"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// resync does what the repair package does for one node.
func (r *rig) resync(a *Array, n int) {
	r.Helper()
	deadline := time.Now().Add(time.Minute)
	for a.Follow(n) != nil {
		if time.Now().After(deadline) {
			r.Fatalf("node %d cannot be resynced", n)
		}
		time.Sleep(beatEvery)
	}
	blocks, err := a.Behind(r.Context(), n, 0, 64)
	if err != nil {
		r.Fatal(err)
	}
	for _, b := range blocks {
		if _, _, err := a.Heal(r.Context(), b, Healing{Node: n}); err != nil {
			r.Fatal(err)
		}
	}
	if err := a.Join(r.Context(), n); err != nil {
		r.Fatal(err)
	}
}

// consistent checks that every block is whole: healing finds nothing to mend.
func (r *rig) consistent(a *Array) {
	r.Helper()
	for b := range uint64(64) {
		wounds, _, err := a.Heal(r.Context(), b, Healing{Node: AllNodes, Verify: true, Spares: true})
		if err != nil {
			r.Error(err)
		}
		for _, w := range wounds {
			if w.Cause != "not needed" {
				r.Errorf("%+v", w)
			}
		}
	}
}

// TestResyncBringsWhatWasMissed: a node is away while blocks are written,
// overwritten and trimmed; it returns while writes go on.
func TestResyncBringsWhatWasMissed(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for b := range uint64(40) {
			r.write(a, b, 1)
		}
		r.flush(a)
		r.links[3].Cut()
		time.Sleep(time.Second)
		for b := uint64(10); b < 30; b++ {
			r.write(a, b, 2)
		}
		if err := a.Discard(r.Context(), 35); err != nil {
			t.Fatal(err)
		}
		r.links[3].Heal()
		stop, done := make(chan struct{}), make(chan int)
		go func() {
			g := 3
			for ; ; g++ {
				select {
				case <-stop:
					done <- g
					return
				default:
					r.write(a, 12, g)
				}
			}
		}()
		r.resync(a, 3)
		close(stop)
		last := <-done - 1
		if m := a.superblock().Nodes[3]; m.State != cluster.In {
			t.Fatalf("node is %s", m.State)
		}
		r.flush(a)
		r.consistent(a)
		r.links[5].Cut()
		r.links[6].Cut()
		for b := range uint64(40) {
			switch {
			case b == 12:
				r.expect(a, b, last)
			case b == 35:
				r.expect(a, b, 0)
			case b >= 10 && b < 30:
				r.expect(a, b, 2)
			default:
				r.expect(a, b, 1)
			}
		}
		r.close(a)
	})
}

// TestI4UnknownVersionIsDropped: a node comes back with a version that nobody
// else knows. It must not become content.
func TestI4UnknownVersionIsDropped(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.write(a, 1, 1)
		r.flush(a)
		home := int(a.place.Place(1)[2])
		term := a.peers[home].term()
		r.links[home].Cut()
		time.Sleep(time.Second)
		alone := chunk.Op{Kind: chunk.OpPut, Block: 1, Index: 2, Version: 99 << 40, Data: make([]byte, testBlock/4)}
		if _, err := r.stores[home].Write(r.Context(), term, []chunk.Op{alone}); err != nil {
			t.Fatal(err)
		}
		r.links[home].Heal()
		r.resync(a, home)
		r.consistent(a)
		r.expect(a, 1, 1)
		r.close(a)
	})
}

// TestBlankCardIsFilled: a card is replaced while the gateway runs.
func TestBlankCardIsFilled(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for b := range uint64(40) {
			r.write(a, b, 1)
		}
		r.flush(a)
		r.stores[5].Wipe()
		time.Sleep(time.Second)
		if m := a.superblock().Nodes[5]; m.State != cluster.Out || m.Since != 0 {
			t.Fatalf("node with a blank card is %s since %s", m.State, m.Since)
		}
		r.resync(a, 5)
		r.consistent(a)
		hello, _ := r.stores[5].Hello(r.Context())
		if m := a.superblock().Nodes[5]; m.Store != hello.Store || m.State != cluster.In {
			t.Errorf("node is %s with store %s, want in with %s", m.State, m.Store, hello.Store)
		}
		r.links[0].Cut()
		r.links[1].Cut()
		for b := range uint64(40) {
			r.expect(a, b, 1)
		}
		r.close(a)
	})
}

// TestI9HealingHoldsUpNoWriter beyond node_timeout: a node falls silent while a
// block is healed, which a client wants to write.
func TestI9HealingHoldsUpNoWriter(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.write(a, 1, 1)
		r.flush(a)
		home := a.place.Place(1)[2]
		r.links[home].Freeze()
		healed := r.begin(func() error {
			_, _, err := a.Heal(r.Context(), 1, Healing{Node: AllNodes, Verify: true, Spares: true})
			return err
		})
		time.Sleep(beatEvery / 2)
		begin := time.Now()
		r.write(a, 1, 2)
		if took := time.Since(begin); took > a.opts.NodeTimeout*12/10 {
			t.Errorf("the write took %s", took)
		}
		if err := <-healed; !errors.Is(err, ErrInterrupted) {
			t.Errorf("healing without a home: %v", err)
		}
		r.links[home].Heal()
		r.close(a)
	})
}

// TestI9ABlockIsHeldNoLongerThanABatch of a client's may take, whatever is done to
// it, and however many requests that takes.
func TestI9ABlockIsHeldNoLongerThanABatch(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		begin := time.Now()
		held, release, err := a.quiet(r.Context(), []uint64{1})
		if err != nil {
			t.Fatal(err)
		}
		<-held.Done()
		release()
		if took := time.Since(begin); took > writePatience*a.opts.NodeTimeout {
			t.Errorf("a block may be held for %s", took)
		}
		r.close(a)
	})
}

// TestRebuildOntoSpares: two nodes are gone for good; after the rebuild two
// more may die.
func TestRebuildOntoSpares(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for b := range uint64(40) {
			r.write(a, b, 1)
		}
		r.flush(a)
		r.links[2].Cut()
		r.links[4].Cut()
		time.Sleep(time.Second)
		for b := range uint64(64) {
			if _, _, err := a.Heal(r.Context(), b, Healing{Node: AllNodes, Spares: true}); err != nil {
				t.Fatal(err)
			}
		}
		for b := range uint64(40) {
			for i, n := range a.duties(b) {
				if n == cluster.NoHolder {
					t.Errorf("chunk %d of block %d has no holder", i, b)
				}
			}
		}
		r.links[0].Cut()
		r.links[7].Cut()
		time.Sleep(200 * time.Millisecond)
		got := make([]byte, testBlock)
		for b := range uint64(40) {
			s := a.newSpan(b, 0, got)
			if err, _ := a.tryDecode(r.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		r.links[0].Heal()
		r.links[7].Heal()
		time.Sleep(time.Second)
		r.close(a)
	})
}
