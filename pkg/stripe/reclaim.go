package stripe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// A tombstone may go when nobody has what it hides. A node that was away may:
// so every node must be in, must have said that it holds nothing older of the
// block, and have nothing under way that could bring it (stray.go). Then all
// drop it; a node that misses that keeps a tombstone, which reads as the same
// zeroes (I6).

// errNotAllIn means that some node could still hold what a tombstone hides.
var errNotAllIn = errors.New("not all nodes are in")

// Tombstones returns the blocks from first on, below end, of which every node
// is in and holds nothing but one settled tombstone. There are none while a
// node is not in.
func (a *Array) Tombstones(ctx context.Context, first, end uint64) (map[uint64]chunk.Version, error) {
	settled := a.Status().Watermark
	found, mixed := map[uint64]chunk.Version{}, map[uint64]bool{}
	for n, p := range a.peers {
		if !p.speaks() {
			return nil, nil
		}
		entries, err := a.list(ctx, n, 0, first, end)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			v, known := found[e.Block]
			if !e.Tombstone || e.Damaged || e.Version > settled || known && v != e.Version {
				mixed[e.Block] = true
			}
			found[e.Block] = e.Version
		}
	}
	for block := range mixed {
		delete(found, block)
	}
	return found, nil
}

// ReclaimBatch is how many tombstones Reclaim takes at most.
const ReclaimBatch = chunk.MaxOps

// Reclaim drops the tombstones, by block, of the versions that Tombstones has
// found from all nodes.
func (a *Array) Reclaim(ctx context.Context, tombstones map[uint64]chunk.Version) error {
	ctx, release, err := a.quiet(ctx, slices.Sorted(maps.Keys(tombstones)))
	if err != nil {
		return fmt.Errorf("reclaim: %w", err)
	}
	defer release()
	if err := a.allIn(); err != nil {
		return fmt.Errorf("reclaim: %w", err)
	}
	var drops []chunk.Op
	for block, v := range tombstones {
		drops = append(drops, chunk.Op{Kind: chunk.OpDrop, Block: block, Index: chunk.AllIndexes, Version: v})
	}
	for _, p := range a.peers {
		if _, err := p.change(ctx, drops); err != nil {
			return fmt.Errorf("reclaim on node %s: %w", p.ID, err)
		}
	}
	return nil
}

func (a *Array) allIn() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n, p := range a.peers {
		switch {
		case !p.up || a.sb.Nodes[n].State != cluster.In:
			return errNotAllIn
		case p.strays > 0:
			return fmt.Errorf("node %s: %w", p.ID, errStray)
		}
	}
	return nil
}
