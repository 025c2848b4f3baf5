package stripe

import (
	"context"
	"errors"
	"fmt"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// Allocated tells which of n blocks from first on may hold data: false means
// that the block reads as zeroes. It asks as many nodes as needed so that each
// block has a home among them; the caller keeps writers away meanwhile, or can
// live with an answer from before their writes.
func (a *Array) Allocated(ctx context.Context, first uint64, n int) ([]bool, error) {
	if err := a.enter(ctx); err != nil {
		return nil, fmt.Errorf("map blocks from %d: %w", first, err)
	}
	for {
		allocated, err := a.tryAllocated(ctx, first, n)
		if err == nil || errors.Is(err, ErrDeposed) {
			return allocated, err
		}
		if stop := a.pause(ctx); stop != nil {
			return nil, fmt.Errorf("%w: %w", err, stop)
		}
	}
}

func (a *Array) tryAllocated(ctx context.Context, first uint64, n int) ([]bool, error) {
	unsettled := a.unsettled(first, n)
	newest := make([]chunk.Entry, n)
	asked, needed := 0, len(a.peers)-a.geo.Width()+1
	last := errors.New("the others do not answer")
	for _, p := range a.peers {
		if asked == needed {
			break
		}
		if !p.speaks() {
			continue
		}
		if err := p.mapBlocks(ctx, first, newest); err != nil {
			last = err
			continue
		}
		asked++
	}
	if asked < needed {
		return nil, fmt.Errorf("map blocks from %d: %d of %d nodes: %w: %w",
			first, asked, needed, ErrTooFewNodes, last)
	}
	return a.mergeMap(first, newest, unsettled), nil
}

// speaks reports whether the node's word on its own chunks counts.
func (p *peer) speaks() bool {
	p.array.mu.Lock()
	defer p.array.mu.Unlock()
	return p.up && p.array.sb.Nodes[p.n].State == cluster.In
}

// mapBlocks enters into newest what the node has, as a home.
func (p *peer) mapBlocks(ctx context.Context, first uint64, newest []chunk.Entry) error {
	a := p.array
	ctx, cancel := context.WithTimeout(ctx, a.opts.NodeTimeout) // a client waits
	defer cancel()
	req := chunk.ListRequest{
		After: chunk.Position{Block: first}, // versions are never 0, so this leaves nothing out
		End:   first + uint64(len(newest)), Limit: chunk.MaxListEntries,
	}
	for more := true; more; {
		var page []chunk.Entry
		var err error
		if page, more, err = p.list(ctx, req); err != nil {
			return err
		}
		for _, e := range page {
			req.After = e.Position
			home := int(e.Index) < a.geo.Width() && int(a.place.Place(e.Block)[e.Index]) == p.n
			if at := &newest[e.Block-first]; home && e.Version > at.Version {
				*at = e
			}
		}
	}
	return nil
}

// unsettled returns the versions of blocks that are not settled; nil where
// there is none.
func (a *Array) unsettled(first uint64, n int) []*write {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]*write, n)
	for i := range list {
		list[i] = a.ledger.latest[first+uint64(i)]
	}
	return list
}

// mergeMap puts what is not settled above what the nodes listed. That counts
// also where it was settled meanwhile: a node that restarted lists it late. A
// tombstone that is not on all holders yet is nothing to rely on.
func (a *Array) mergeMap(first uint64, newest []chunk.Entry, before []*write) []bool {
	allocated := make([]bool, len(newest))
	for i, w := range a.unsettled(first, len(newest)) {
		if w == nil {
			w = before[i]
		}
		allocated[i] = newest[i].Version != 0 && !newest[i].Tombstone
		if w != nil {
			allocated[i] = !w.tombstone() || !w.isReplied()
		}
	}
	return allocated
}
