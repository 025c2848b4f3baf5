package simulate

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
	"rozobox/pkg/repair"
)

// recovery bounds how long a volume may need until all is well again. The
// longest that repair leaves a flapping node alone is five minutes.
const recovery = 20 * time.Minute

// finish checks, with all nodes well again, that the volume heals itself, that
// every sector reads as the model says, and that nothing is left over.
func (h *history) finish(ctx context.Context) {
	g := h.current()
	if h.failed() || g == nil {
		h.abandon()
		return
	}
	for _, check := range []func(context.Context, *gateway) error{
		h.heal, h.scrubTwice, h.readAll, h.tidy,
	} {
		if err := check(ctx, g); err != nil {
			h.fail("at the end: %v", err)
			h.abandon()
			return
		}
	}
	if err := h.shut(g, time.Minute); err != nil {
		h.fail("at the end: %v", err)
		return
	}
	if g, err := h.open(ctx); err != nil {
		h.fail("at the end: %v", err)
	} else if err := h.readAll(ctx, g); err != nil {
		h.fail("at the end: %v", err)
	}
	h.abandon()
}

// abandon ends whatever gateway is left.
func (h *history) abandon() {
	for g := h.current(); g != nil; g = h.current() {
		h.kill(g)
	}
}

// until waits for a condition in the bubble's time.
func until(what string, condition func() bool) error {
	for start := time.Now(); !condition(); time.Sleep(100 * time.Millisecond) {
		if time.Since(start) > recovery {
			return fmt.Errorf("not within %s: %s", recovery, what)
		}
	}
	return nil
}

// heal waits until all nodes are in and repair has nothing to do.
func (h *history) heal(ctx context.Context, g *gateway) error {
	time.Sleep(latestStray)
	err := until("all nodes are in, and nothing lacks protection", func() bool {
		s, m := g.array.Status(), g.manager.Status()
		return s.Err != nil || s.Superblock.CountIn() == len(h.nodes) && m.Job.Kind == "" && m.UnderProtected == 0
	})
	if err != nil {
		return fmt.Errorf("%w: %s; repair %+v", err, describe(g.array.Status().Superblock), g.manager.Status())
	}
	then := h.model.start()
	if err := g.disk.Flush(ctx); err != nil {
		return err
	}
	h.model.flushed(then)
	return nil
}

// scrubTwice scrubs: the second time nothing is left to mend.
func (h *history) scrubTwice(ctx context.Context, g *gateway) error {
	var report repair.ScrubReport
	for range 2 {
		asked := time.Now()
		g.manager.Scrub()
		err := until("a scrub", func() bool {
			report = g.manager.Status().Scrub
			return !report.Started.Before(asked) && !report.Ended.IsZero()
		})
		if err != nil {
			return err
		}
		if len(report.Failed) > 0 {
			return fmt.Errorf("scrub failed: %s", report.Failed)
		}
	}
	if report.Mended > 0 {
		return fmt.Errorf("a second scrub mended %+v", report.Findings)
	}
	return nil
}

func (h *history) readAll(ctx context.Context, g *gateway) error {
	for first := 0; first < sectors; first += perBlock {
		if err := h.readSectors(ctx, g, first, perBlock); err != nil {
			return err
		}
	}
	return nil
}

// tidy checks what the cards hold: each chunk on its home and nowhere else, all
// chunks of a block at one version. Versions that it hides may still be there.
func (h *history) tidy(_ context.Context, g *gateway) error {
	placement := cluster.NewPlacement(h.volume, g.array.Status().Superblock.Nodes, geometry())
	newest := map[uint64]map[uint8]chunk.Version{}
	for i, n := range h.nodes {
		for _, e := range n.store.Held(h.volume) { // in the order of versions
			if int(placement.Place(e.Block)[e.Index]) != i {
				return fmt.Errorf("%s still holds chunk %d of block %d, version %s", n.id, e.Index, e.Block, e.Version)
			}
			if newest[e.Block] == nil {
				newest[e.Block] = map[uint8]chunk.Version{}
			}
			newest[e.Block][e.Index] = e.Version
		}
	}
	for block, chunks := range newest {
		for _, v := range chunks {
			if v != chunks[0] || len(chunks) != data+parity {
				return fmt.Errorf("block %d is held as %v", block, chunks)
			}
		}
	}
	return nil
}

// repeatable makes ids and nonces a function of the seed, so that a seed has
// the same placement each time. It returns how to undo that.
func repeatable(seed uint64) (undo func()) {
	var key [32]byte
	new(big.Int).SetUint64(seed).FillBytes(key[:])
	former := rand.Reader
	rand.Reader = &lockedReader{r: mathrand.NewChaCha8(key)}
	return func() { rand.Reader = former }
}

// lockedReader serves goroutines one after another.
type lockedReader struct {
	mu sync.Mutex // guards r
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}
