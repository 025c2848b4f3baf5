package stripe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// found is one version of one chunk, and the node that has it.
type found struct {
	chunk.Entry
	node int
}

// recover decides every block of which some node has a version newer than the
// highest W known, and writes each decision again, whole, as a new version of
// this epoch (design, section 8). Nothing is dropped: what was passed over is
// hidden by the newer version.
func (a *Array) recover(ctx context.Context, o *opening) error {
	blocks, err := a.listUnsettled(ctx, o)
	if err != nil {
		return err
	}
	r := &recovery{Array: a, opening: o}
	defer r.borrow()()
	for block, records := range blocks {
		if err := r.block(ctx, block, records); err != nil {
			return err
		}
	}
	if len(blocks) > 0 {
		a.opts.Logger.Info("recovered blocks", "volume", a.superblock().Name, "blocks", len(blocks))
	}
	if err := a.settleAll(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.recovering = false
	return nil
}

// listUnsettled lists, by block, what the nodes that granted have above W.
func (a *Array) listUnsettled(ctx context.Context, o *opening) (map[uint64][]found, error) {
	blocks := map[uint64][]found{}
	for i := range o.grants {
		req := chunk.ListRequest{Since: o.watermark, Limit: chunk.MaxListEntries}
		for more := true; more; {
			var page []chunk.Entry
			var err error
			page, more, err = a.peers[i].list(ctx, req)
			if err != nil {
				return nil, fmt.Errorf("list what node %s has: %w", o.nodes[i].ID, err)
			}
			for _, e := range page {
				if int(e.Index) >= a.geo.Width() || e.Block >= a.geo.Blocks() {
					return nil, fmt.Errorf("node %s lists chunk %d of block %d, which the volume does not have",
						o.nodes[i].ID, e.Index, e.Block)
				}
				blocks[e.Block] = append(blocks[e.Block], found{e, i})
				req.After = e.Position
			}
		}
	}
	return blocks, nil
}

// recovery decides blocks.
type recovery struct {
	*Array
	*opening
}

// borrow lets all nodes that are out, and have granted, take chunks of what
// recovery writes, where those that are in are fewer than a version needs. They
// come in later like others.
func (r *recovery) borrow() (giveBack func()) {
	var borrowed []int
	if sb := r.superblock(); sb.CountIn() < sb.WriteQuorum() {
		for n := range r.grants {
			if r.Follow(n) == nil {
				borrowed = append(borrowed, n)
			}
		}
	}
	return func() {
		for _, n := range borrowed {
			r.Unfollow(n)
		}
	}
}

// block decides one block and writes the decision.
func (r *recovery) block(ctx context.Context, block uint64, records []found) error {
	records, err := r.withSettled(ctx, block, records)
	if err != nil {
		return err
	}
	for {
		verdict, v := cluster.Decide(r.evidence(block, records))
		switch verdict {
		case cluster.Wait:
			return fmt.Errorf("block %d may have flushed content of version %s on nodes that are away (%s): %w",
				block, v, strings.Join(r.away(), ", "), ErrTooFewNodes)
		case cluster.Blank:
			return r.write(ctx, block, payload{}, mustFit)
		}
		chunks, damaged, err := r.fetch(ctx, block, v, records)
		if err != nil {
			return err
		}
		if !damaged {
			return r.write(ctx, block, payload{chunks: chunks}, mustFit)
		}
	}
}

// withSettled adds to records the newest version at or below W of each chunk
// that a node may hold.
func (r *recovery) withSettled(ctx context.Context, block uint64, records []found) ([]found, error) {
	if r.watermark == 0 {
		return records, nil
	}
	for n := range r.grants {
		gets := r.mayHold(n, block)
		for i := range gets {
			gets[i].AtMost = r.watermark
		}
		got, err := r.peers[n].read(ctx, gets)
		if err != nil {
			return nil, fmt.Errorf("ask node %s for block %d: %w", r.nodes[n].ID, block, err)
		}
		for i, c := range got {
			if c.State == chunk.Absent {
				continue
			}
			records = append(records, found{node: n, Entry: chunk.Entry{
				Position:  chunk.Position{Block: block, Index: gets[i].Index, Version: c.Version},
				Tombstone: c.State == chunk.Tombstone,
				Damaged:   c.State == chunk.Damaged,
			}})
		}
	}
	return records, nil
}

// mayHold asks for the chunks that a node may hold of a block: a home its own,
// a spare any.
func (a *Array) mayHold(n int, block uint64) (gets []chunk.Get) {
	slot := slices.Index(a.place.Place(block), uint8(n))
	for i := range a.geo.Width() {
		if slot == i || slot >= a.geo.Width() {
			gets = append(gets, chunk.Get{Block: block, Index: uint8(i)})
		}
	}
	return gets
}

func (r *recovery) evidence(block uint64, records []found) cluster.Evidence {
	placed := r.place.Place(block)
	nodes := r.opening.sb.Nodes
	e := cluster.Evidence{Data: r.geo.Data, Watermark: r.watermark, Complete: r.complete()}
	for i := range r.geo.Width() {
		n := int(placed[i])
		if _, answers := r.grants[n]; answers && nodes[n].State == cluster.In {
			e.Homes = append(e.Homes, uint8(i))
		}
	}
	for _, f := range records {
		e.Records = append(e.Records, cluster.Record{
			Index: f.Index, Version: f.Version, Tombstone: f.Tombstone, Damaged: f.Damaged,
			In:   nodes[f.node].State == cluster.In,
			Home: int(placed[f.Index]) == f.node,
		})
	}
	return e
}

// complete reports whether every member answers with its recorded card, and
// none that is out was replaced or behind.
func (r *recovery) complete() bool {
	for i, m := range r.opening.sb.Nodes {
		if m.State == cluster.Lost {
			continue
		}
		if g, answers := r.grants[i]; !answers || g.Store != m.Store || m.Behind {
			return false
		}
	}
	return true
}

func (r *recovery) away() (ids []string) {
	for i, m := range r.opening.sb.Nodes {
		if _, answers := r.grants[i]; !answers && m.State != cluster.Lost {
			ids = append(ids, string(m.ID))
		}
	}
	return ids
}

// fetch reads the whole content of version v, nil for a tombstone. A chunk
// that turns out damaged is marked in records, and the block decided anew.
func (r *recovery) fetch(
	ctx context.Context, block uint64, v chunk.Version, records []found,
) (chunks [][]byte, damaged bool, err error) {
	chunks = make([][]byte, r.geo.Width())
	have := 0
	for i := range records {
		f := &records[i]
		if f.Version != v || f.Damaged || f.Tombstone || chunks[f.Index] != nil {
			continue
		}
		data := make([]byte, r.geo.ChunkSize())
		get := chunk.Get{Block: block, Index: f.Index, AtMost: v, Dst: data}
		got, err := r.peers[f.node].read(ctx, []chunk.Get{get})
		if err != nil {
			return nil, false, fmt.Errorf("read block %d from node %s: %w", block, r.nodes[f.node].ID, err)
		}
		if got[0].State != chunk.Present || got[0].Version != v {
			f.Damaged, damaged = true, true
			continue
		}
		chunks[f.Index] = data
		if have++; have == r.geo.Data {
			return r.complement(chunks)
		}
	}
	return nil, damaged, nil
}

// complement computes the chunks that are missing from k.
func (r *recovery) complement(chunks [][]byte) ([][]byte, bool, error) {
	var errs []error
	for i := range chunks {
		errs = append(errs, r.restore(chunks, i))
	}
	return chunks, false, errors.Join(errs...)
}
