package stripe

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"rozobox/pkg/chunk"
)

// dawdler lets the writes of some nodes take longer once it is told to.
type dawdler struct {
	*rig
	late []atomic.Int64 // by node, how much longer
}

const dawdle = 400 * time.Millisecond

func newDawdler(r *rig) *dawdler {
	d := &dawdler{rig: r, late: make([]atomic.Int64, len(r.links))}
	r.opts.SyncEvery = time.Hour
	for i := range r.opts.Nodes {
		r.opts.Nodes[i].Store = &meddled{Store: r.links[i], write: func(ctx context.Context) error {
			if !rest(ctx, time.Duration(d.late[i].Load())) {
				return fmt.Errorf("%w: %w", chunk.ErrUnavailable, ctx.Err())
			}
			return nil
		}}
	}
	return d
}

// learnt opens the volume and lets it learn how long writes take.
func (d *dawdler) learnt() *Array {
	a := d.open()
	for b := range uint64(32) {
		d.write(a, b, 1)
	}
	d.flush(a)
	return a
}

// lateAt makes the home of a chunk of block 1 late, and writes the block.
func (d *dawdler) lateAt(a *Array, index int) (home int, took time.Duration) {
	home = int(a.place.Place(1)[index])
	d.late[home].Store(int64(dawdle))
	begin := time.Now()
	d.write(a, 1, 2)
	return home, time.Since(begin)
}

// TestI7StandInsOutliveTheGateway: a write is replied to though a home is late.
// The gateway dies, and any two nodes lose what was not synced.
func TestI7StandInsOutliveTheGateway(t *testing.T) {
	for first := range 8 {
		for second := range first {
			inRig(t, 8, func(r *rig) {
				d := newDawdler(r)
				a := d.learnt()
				home, took := d.lateAt(a, 2)
				r.abandon(a)
				if took > dawdle/4 {
					t.Fatalf("the write took %s", took)
				}
				d.late[home].Store(0)
				r.stores[first].Crash(0)
				r.stores[second].Crash(0)
				a = r.open()
				r.expect(a, 1, 2)
				r.close(a)
			})
		}
	}
}

// TestI1AFlushWaitsForTheHolderItself, not for one that stands in: a home that is
// in is trusted to have what was flushed.
func TestI1AFlushWaitsForTheHolderItself(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		d := newDawdler(r)
		a := d.learnt()
		home, _ := d.lateAt(a, 2)
		r.flush(a)
		if e, _ := r.held(home, 1); e.Version != a.Status().Watermark {
			t.Errorf("W is %s, the home has %s", a.Status().Watermark, e.Version)
		}
		r.close(a)
	})
}

// TestAPatchUponAVersionThatAHomeLacks: it is sent whole, so nothing is refused,
// and no more is late than the write before.
func TestAPatchUponAVersionThatAHomeLacks(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		d := newDawdler(r)
		a := d.learnt()
		home, _ := d.lateAt(a, 2)
		d.late[home].Store(0)
		begin := time.Now()
		if err := a.Update(r.Context(), 1, 0, 8, func(p []byte) bool { copy(p, content(1, 3)); return true }); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > dawdle/4 {
			t.Errorf("the small write took %s", took)
		}
		a.mu.Lock()
		if a.ledger.patches != 0 {
			t.Error("it was sent as a patch")
		}
		a.mu.Unlock()
		r.flush(a)
		r.close(a)
	})
}

// TestI9StandInsAreBounded: one node is late each fourth time, and that is learnt;
// where more nodes are late than may be lost there are none.
func TestI9StandInsAreBounded(t *testing.T) {
	const writes = 128
	for name, c := range map[string]struct {
		late, least, most int
	}{"one": {1, 1, writes / 8}, "four": {4, 0, 0}} {
		t.Run(name, func(t *testing.T) {
			inRig(t, 8, func(r *rig) {
				d := newDawdler(r)
				a := d.learnt()
				for i := range writes {
					for _, n := range a.place.Place(1)[:c.late] {
						d.late[n].Store(int64(i%4/3) * int64(50*time.Millisecond))
					}
					r.write(a, 1, 2)
				}
				if n := a.strewnVersions(); n < c.least || n > c.most {
					t.Errorf("%d of %d writes had stand-ins, want %d to %d", n, writes, c.least, c.most)
				}
				r.abandon(a)
			})
		})
	}
}

// strewnVersions counts the versions not settled that had stand-ins.
func (a *Array) strewnVersions() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.ledger.writes {
		if w.strewn {
			n++
		}
	}
	return n
}

// TestStandInsAreDropped: once the holder has the version too, healing the block
// leaves nothing on the spare.
func TestStandInsAreDropped(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		d := newDawdler(r)
		a := d.learnt()
		home, _ := d.lateAt(a, 2)
		d.late[home].Store(0)
		r.flush(a)
		blocks := a.Strewn()
		if len(blocks) != 1 || blocks[0] != 1 || a.Status().Strewn != 0 {
			t.Fatalf("blocks %v are strewn, and %d more; want block 1 alone", blocks, a.Status().Strewn)
		}
		spares := func() (n int) {
			for _, s := range a.place.Place(1)[6:] {
				if _, has := r.held(int(s), 1); has {
					n++
				}
			}
			return n
		}
		if spares() != 1 {
			t.Errorf("%d spares have block 1, want one", spares())
		}
		wounds, _, err := a.Heal(r.Context(), 1, Healing{Node: AllNodes, Spares: true})
		if err != nil || len(wounds) != 1 || spares() != 0 {
			t.Errorf("healed %v, %v: %d spares have block 1", wounds, err, spares())
		}
		r.close(a)
	})
}
