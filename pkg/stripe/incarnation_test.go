package stripe

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"rozobox/pkg/chunk"
)

// deafToWrites lets writes to the nodes hang while the flag is set.
func (r *rig) deafToWrites(flag *atomic.Bool) {
	for i := range r.opts.Nodes {
		r.opts.Nodes[i].Store = &meddled{Store: r.links[i], write: func(ctx context.Context) error {
			if flag.Load() {
				<-ctx.Done()
				return fmt.Errorf("%w: %w", chunk.ErrUnavailable, ctx.Err())
			}
			return nil
		}}
	}
}

// TestI7IncarnationTellsOfRepliedWritesLost: more than m nodes lose what they
// had in memory, and the gateway dies before it was sent to them again, though
// not before the superblock was written. What was replied to is there, or the
// incarnation says that it may not be.
func TestI7IncarnationTellsOfRepliedWritesLost(t *testing.T) {
	t.Run("while serving", func(t *testing.T) {
		inRig(t, 8, func(r *rig) {
			var deaf atomic.Bool
			r.deafToWrites(&deaf)
			r.opts.SyncEvery = time.Hour
			a := r.open()
			r.write(a, 1, 1)
			deaf.Store(true)
			for _, n := range a.place.Place(1)[:3] {
				r.stores[n].Crash(0)
			}
			time.Sleep(2 * beatEvery)
			if err := a.update(r.Context(), asItIs); err != nil {
				t.Fatal(err)
			}
			r.abandon(a)
			deaf.Store(false)
			r.lostOrThere()
		})
	})
	t.Run("while opening", func(t *testing.T) {
		inRig(t, 8, func(r *rig) {
			var deaf atomic.Bool
			r.deafToWrites(&deaf)
			r.opts.SyncEvery = time.Hour
			a := r.open()
			r.write(a, 1, 1)
			r.abandon(a)
			placed := a.place.Place(1)
			for _, n := range placed[:2] {
				r.stores[n].Crash(0)
			}
			deaf.Store(true)
			if _, err := Open(r.patience(3*time.Second), r.opts, r.volume); err == nil {
				t.Fatal("opened although no node takes a write")
			}
			deaf.Store(false)
			for _, n := range placed[2:4] {
				r.stores[n].Crash(0)
			}
			r.lostOrThere()
		})
	})
}

// TestI7IncarnationTellsOfThinWritesLost: two of six nodes are out, and answer, when
// a write is replied to: it stands on the other four. One of these restarts, and the
// gateway dies. (Seed 17 of the simulator, in another order.)
func TestI7IncarnationTellsOfThinWritesLost(t *testing.T) {
	inRig(t, 6, func(r *rig) {
		r.opts.SyncEvery = time.Hour
		a := r.open()
		placed := a.place.Place(1)
		for _, n := range placed[:2] {
			r.links[n].Cut()
		}
		time.Sleep(2 * time.Second)
		for _, n := range placed[:2] {
			r.links[n].Heal()
		}
		time.Sleep(2 * beatEvery)
		r.write(a, 1, 1)
		r.stores[placed[5]].Crash(0)
		r.abandon(a)
		r.lostOrThere()
	})
}

// lostOrThere opens the volume and reads block 1, whose generation 1 was replied
// to.
func (r *rig) lostOrThere() {
	r.Helper()
	a := r.open()
	defer r.close(a)
	if got := r.expect(a, 1, 0, 1); got == 0 && a.Incarnation() == 0 {
		r.Error("a replied write is lost, and the incarnation does not tell")
	}
}

// TestAMarkIsOfTheRecordedStart: a node restarts, and has more synced since; the
// superblock is updated while it cannot take note of the new start. The next
// opening must not compare what that start found on the card with what it has
// synced later, and take the node for one that lacks something.
func TestAMarkIsOfTheRecordedStart(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		r.opts.SyncEvery = time.Hour
		a := r.open()
		r.write(a, 1, 1)
		r.flush(a)
		for _, s := range r.stores {
			s.Restart()
		}
		time.Sleep(time.Second) // they are known again
		for range 3 {
			r.write(a, 1, 2)
			r.flush(a)
		}
		a.mark()
		a.mu.Lock()
		a.recovering = true
		a.mu.Unlock()
		if err := a.update(r.Context(), asItIs); err != nil {
			t.Fatal(err)
		}
		r.abandon(a)
		a = r.open()
		defer r.close(a)
		if n := a.superblock().CountIn(); n != 8 {
			t.Errorf("%d of 8 nodes are in", n)
		}
		r.expect(a, 1, 2)
	})
}
