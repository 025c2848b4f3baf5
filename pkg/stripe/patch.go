package stripe

import (
	"context"
	"crypto/subtle"
	"fmt"
	"slices"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

const (
	// maxLineage bounds the patches that stand upon each other: a read of their
	// block applies them all.
	maxLineage = 16

	// manyPatches is with how many unsettled patches W is to move. When a node
	// dies, three quarters of them need a whole chunk for a spare, for each of
	// which k chunks are read: some tenths of a second for 1024. With 512 random
	// writes are fewer by 5 %, as each sync holds up its card.
	manyPatches = 1024

	// writeOverhead is what a version takes in memory beside its payload, for
	// the bound on both: its write, and its copies.
	writeOverhead = 1 << 10
)

// payload is what a version makes of its block: whole chunks, or a patch of the
// version before. The zero value is a tombstone. It is never changed, but that of a
// swap becomes known.
type payload struct {
	chunks  [][]byte // by chunk index
	patched *patch
	swap    *swap // that tells one of the two
}

// known is called with Array.mu held where the version may be a swap; tombstone
// may be called without, since it looks at nothing else of one.
func (c *payload) known() bool { return c.swap == nil || c.chunks != nil || c.patched != nil }

func (c *payload) tombstone() bool { return c.swap == nil && c.chunks == nil && c.patched == nil }

// memory is what the payload takes while it is not settled.
func (c payload) memory() int64 {
	n := int64(writeOverhead)
	for _, b := range c.chunks {
		n += int64(len(b))
	}
	if c.patched != nil {
		for _, b := range c.patched.differences {
			n += int64(len(b))
		}
	}
	if c.swap != nil {
		n += int64(len(c.swap.data))
	}
	return n
}

// patch is how a version differs from its base, the version before: in the same
// range of every chunk that differs, by exclusive or. The code is linear, so the
// differences of the parity chunks are the parity of the differences of the
// data chunks.
type patch struct {
	base        chunk.Version
	off         int      // within each chunk
	differences [][]byte // by chunk index; nil where a chunk stays as it is
}

func (p *patch) differenceOf(index uint8) (off uint32, data []byte) {
	if data = p.differences[index]; data == nil {
		return 0, nil
	}
	return uint32(p.off), data
}

// apply changes dst, bytes of a chunk from off on, as the patch does.
func (p *patch) apply(index uint8, off int, dst []byte) {
	difference := p.differences[index]
	lo, hi := max(off, p.off), min(off+len(dst), p.off+len(difference))
	if lo < hi {
		dst = dst[lo-off : hi-off]
		subtle.XORBytes(dst, dst, difference[lo-p.off:])
	}
}

// lineage is what a version that is not settled comes of: patches of a version
// that is whole in memory, root, or else of one that the nodes have settled,
// base.
type lineage struct {
	root    *write
	base    chunk.Version
	patches []*patch // in any order
}

// lineage is followed with Array.mu held: it ends where W is.
func (w *write) lineage() (l lineage) {
	for ; w != nil && w.patched != nil; w = w.older {
		l.patches = append(l.patches, w.patched)
		l.base = w.patched.base
	}
	l.root = w
	return l
}

// choosePatches has those copies of a new version sent as patches whose nodes
// have its base: homes that are in.
func (l *ledger) choosePatches(w *write) {
	placed := l.place.Place(w.block)
	for _, c := range w.copies {
		home := int8(placed[c.index]) == c.node
		c.patch = w.patched != nil && home && l.members[c.node].State == cluster.In
	}
}

// Update changes bytes of a block, those from lo up to hi: edit gets what they
// are, changes them, and reports whether it did. Where that is cheaper the nodes
// are sent the difference, not whole chunks. It returns as WriteBlock does.
// Errors are those of ReadAt and of WriteBlock.
func (a *Array) Update(
	ctx context.Context, block uint64, lo, hi int, edit func(p []byte) (changed bool),
) error {
	if err := a.enter(ctx); err != nil {
		return fmt.Errorf("write block %d: %w", block, err)
	}
	s := a.newSpan(block, lo, make([]byte, hi-lo))
	patchable, err := a.patchable(ctx, s)
	if err != nil {
		return err
	}
	if !patchable {
		return a.rewrite(ctx, s, edit)
	}
	if err := a.readSpans(ctx, []*span{s}); err != nil {
		return err
	}
	if s.version == 0 {
		return a.replace(ctx, s, make([]byte, a.geo.BlockSize), edit)
	}
	p, err := a.difference(s, edit)
	if err != nil {
		return fmt.Errorf("write block %d: %w", block, err)
	}
	if p == nil {
		return nil
	}
	return a.write(ctx, block, payload{patched: p}, mayBeFull)
}

// rewrite reads the whole block and writes it, changed.
func (a *Array) rewrite(ctx context.Context, s *span, edit func(p []byte) bool) error {
	buf := make([]byte, a.geo.BlockSize)
	if err := a.ReadAt(ctx, buf, int64(s.block)*int64(len(buf))); err != nil {
		return fmt.Errorf("read before write: %w", err)
	}
	return a.replace(ctx, s, buf, edit)
}

// replace changes buf, the whole block, and writes it.
func (a *Array) replace(ctx context.Context, s *span, buf []byte, edit func(p []byte) bool) error {
	if !edit(buf[s.lo:s.hi]) {
		return nil
	}
	return a.WriteBlock(ctx, s.block, buf)
}

// patchShare is of how many quarters of a block a patch costs less than the whole; see
// "Patches" in doc.go.
const patchShare = 3

// patchable reports whether a write of the span is sent as a patch, once the
// version before was replied to: it must be small, and its homes all be in and
// have that version, as others need whole chunks.
func (a *Array) patchable(ctx context.Context, s *span) (bool, error) {
	if s.hi-s.lo > a.geo.BlockSize/4*patchShare {
		return false, nil
	}
	if err := a.awaitReplied(ctx, []*span{s}); err != nil {
		return false, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if w := a.ledger.latest[s.block]; w != nil && (len(w.missing()) > 0 || len(w.lineage().patches) >= maxLineage) {
		return false, nil
	}
	for _, home := range a.place.Place(s.block)[:a.geo.Width()] {
		if !a.peers[home].up || a.sb.Nodes[home].State != cluster.In {
			return false, nil
		}
	}
	return a.ledger.nobodyFollows(), nil
}

func (l *ledger) nobodyFollows() bool {
	return !slices.ContainsFunc(l.nodes, func(n node) bool { return n.follow != apart })
}

// difference changes a span, which was read, and returns the patch that does that;
// nil when edit changes nothing.
func (a *Array) difference(s *span, edit func(p []byte) bool) (*patch, error) {
	off, n := s.chunkRange(a.geo.ChunkSize())
	end := (off + n + chunk.ChunkAlign - 1) &^ (chunk.ChunkAlign - 1)
	off &^= chunk.ChunkAlign - 1
	n = end - off
	room := make([]byte, (len(s.parts)+a.geo.Parity)*n)
	p := &patch{base: s.version, off: off, differences: make([][]byte, a.geo.Width())}
	for _, part := range s.parts {
		var d []byte
		d, room = room[:n:n], room[n:]
		copy(d[part.off-off:], part.dst)
		p.differences[part.index] = d
	}
	if !edit(s.dst) {
		return nil, nil
	}
	for _, part := range s.parts {
		d := p.differences[part.index][part.off-off:]
		subtle.XORBytes(d, d, part.dst)
	}
	return p, a.encodeDifferences(p.differences, room)
}

// encodeDifferences computes those of the parity chunks, in room, from those of the
// data chunks.
func (a *Array) encodeDifferences(differences [][]byte, room []byte) error {
	n := len(room) / a.geo.Parity
	shards := slices.Clone(differences)
	for i := range shards {
		switch {
		case i >= a.geo.Data:
			shards[i], room = room[:n:n], room[n:]
			differences[i] = shards[i]
		case shards[i] == nil:
			shards[i] = a.zeroes[:n]
		}
	}
	return a.code.Encode(shards)
}

func (it item) op() chunk.Op {
	op := chunk.Op{
		Kind: chunk.OpTombstone, Block: it.block, Index: it.index, Version: it.version,
		Repair: it.urgent,
	}
	switch {
	case it.swapOf != chunk.InstanceID{}:
		op.Kind, op.Instance, op.Base = chunk.OpSwap, it.swapOf, it.swap.base
		op.Off, op.Data = uint32(it.swap.off), it.swap.data
	case it.chunks != nil:
		op.Kind, op.Data = chunk.OpPut, it.chunks[it.index]
	case it.patched != nil:
		op.Kind, op.Base = chunk.OpPatch, it.patched.base
		op.Off, op.Data = it.patched.differenceOf(it.index)
	}
	return op
}

// operations returns what to send for a batch. Copies whose whole chunk is
// needed, and cannot be computed now, are queued again.
func (p *peer) operations(batch []item) (ready []item, ops []chunk.Op) {
	var stuck []item
	ops = make([]chunk.Op, 0, len(batch))
	for i, it := range batch {
		op := it.op()
		if op.Kind == chunk.OpPatch && !it.patch {
			data, err := p.array.wholeChunk(it)
			if err != nil {
				if stuck == nil {
					ready = slices.Clone(batch[:i])
				}
				stuck = append(stuck, it)
				continue
			}
			op = chunk.Op{
				Kind: chunk.OpPut, Block: op.Block, Index: op.Index, Version: op.Version,
				Repair: op.Repair, Data: data,
			}
		}
		if ops = append(ops, op); stuck != nil {
			ready = append(ready, it)
		}
	}
	if stuck == nil {
		return batch, ops
	}
	p.putBack(stuck)
	return ready, ops
}

// putBack queues copies again whose chunks cannot be computed now, because too
// few of the other nodes answer: that is logged where it is noticed. What W has
// passed may be gone for good; a node that follows will find what is newer.
func (p *peer) putBack(stuck []item) {
	a := p.array
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ledger.requeue(p.n, stuck)
	p.up = false // until the next heartbeat, so that this is no busy loop
	if slices.ContainsFunc(stuck, func(it item) bool { return it.version <= a.ledger.watermark }) {
		a.ledger.interrupt(p.n)
	}
}

// wholeChunk computes a chunk of a version that is a patch.
func (a *Array) wholeChunk(it item) ([]byte, error) {
	ctx, cancel := context.WithTimeout(a.life, writePatience*a.opts.NodeTimeout)
	defer cancel()
	for {
		l := a.lineageOf(it.write)
		data, err := a.baseChunk(ctx, it, l)
		if err == nil {
			for _, p := range l.patches {
				p.apply(it.index, 0, data)
			}
			return data, nil
		}
		if a.lineageOf(it.write).base == l.base {
			return nil, fmt.Errorf("compute chunk %d of block %d: %w", it.index, it.block, err)
		}
	}
}

// lineageOf is the lineage of any version, settled or not.
func (a *Array) lineageOf(w *write) lineage {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w.version <= a.ledger.watermark {
		return lineage{base: w.version}
	}
	return w.lineage()
}

// baseChunk returns a copy of the chunk that the patches of a lineage change.
func (a *Array) baseChunk(ctx context.Context, it item, l lineage) ([]byte, error) {
	if l.root != nil {
		return slices.Clone(l.root.chunks[it.index]), nil
	}
	shards, err := a.content(ctx, it.block, l.base)
	if err != nil {
		return nil, err
	}
	return shards[it.index], nil
}
