package stripe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// Healing is what Heal does to a block.
type Healing struct {
	// Node is the index of the only node to bring up to date; AllNodes for all.
	Node int

	// Verify reads every chunk whole, so that damage shows.
	Verify bool

	// Spares also rebuilds the chunks of nodes that are out onto spares, and
	// drops what spares hold for homes that have it again.
	Spares bool
}

// AllNodes in Healing.Node means every node that answers.
const AllNodes = -1

// Wound is a chunk that was not as it should be, and was mended.
type Wound struct {
	Block uint64
	Index uint8
	Node  chunk.NodeID
	Cause string // "missing", "stale", "damaged", "unknown version", "not needed"
}

// Heal brings one block to what its nodes should hold: the current version on
// each home that is in or follows, on spares where asked. Current is what the
// homes that are in say; the opinion of a node that returns never counts (I4).
// What Heal writes is durable after the node's next Sync. It returns what it
// mended, and the bytes written. Errors: ErrTooFewNodes, ErrUnreadable.
func (a *Array) Heal(ctx context.Context, block uint64, how Healing) ([]Wound, int64, error) {
	release, err := a.quiet(ctx, block)
	if err != nil {
		return nil, 0, fmt.Errorf("heal block %d: %w", block, err)
	}
	defer release()
	h := &healer{Array: a, Healing: how, block: block, held: map[slot]chunk.Chunk{}}
	if err := h.run(ctx); err != nil {
		return h.wounds, h.bytes, fmt.Errorf("heal block %d: %w", block, err)
	}
	return h.wounds, h.bytes, nil
}

// quiet keeps writers of the block waiting until release is called, and waits
// until all its versions are settled.
func (a *Array) quiet(ctx context.Context, block uint64) (release func(), err error) {
	if err := a.await(ctx, "waiting for the block", func() bool {
		if a.healing[block] {
			return false
		}
		a.healing[block] = true
		return true
	}); err != nil {
		return nil, err
	}
	release = func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.healing, block)
		a.broadcastLocked()
	}
	a.mu.Lock()
	newest := a.ledger.watermark
	if w := a.ledger.latest[block]; w != nil {
		newest = w.version
	}
	a.mu.Unlock()
	if err := a.settle(ctx, newest); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// slot is a place where a chunk can be.
type slot struct {
	node  int
	index uint8
}

// healer mends one block.
type healer struct {
	*Array
	Healing
	block   uint64
	held    map[slot]chunk.Chunk // what the nodes that answered hold
	current chunk.Chunk          // what the block should be
	chunks  [][]byte             // its content, once fetched
	wounds  []Wound
	bytes   int64
}

func (h *healer) run(ctx context.Context) error {
	wanted, useful := h.plan()
	if err := h.survey(ctx); err != nil {
		return err
	}
	if err := h.judge(); err != nil {
		return err
	}
	var errs []error
	for _, at := range wanted {
		errs = append(errs, h.mend(ctx, at))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if h.Spares {
		return h.drop(ctx, useful)
	}
	return nil
}

// plan returns the slots to bring up to date, and all that should be held.
func (h *healer) plan() (wanted, useful []slot) {
	placed := h.place.Place(h.block)
	for i, n := range h.duties(h.block) {
		if n == cluster.NoHolder {
			continue
		}
		at := slot{int(n), uint8(i)}
		useful = append(useful, at)
		home := int(placed[i]) == at.node
		if h.Node == at.node || h.Node == AllNodes && (home || h.Spares) {
			wanted = append(wanted, at)
		}
	}
	return wanted, useful
}

// survey asks every node that answers what it holds of the block. What a node
// with strays holds may not last.
func (h *healer) survey(ctx context.Context) error {
	type report struct {
		gets []chunk.Get
		got  []chunk.Chunk
		err  error
	}
	reports := make([]report, len(h.peers))
	var group sync.WaitGroup
	for i, p := range h.peers {
		if p.reliable() {
			group.Go(func() {
				r := &reports[i]
				r.gets = h.gets(i)
				r.got, r.err = p.read(ctx, r.gets)
			})
		}
	}
	group.Wait()
	for n, r := range reports {
		if r.err != nil && !errors.Is(r.err, chunk.ErrUnavailable) {
			return fmt.Errorf("ask node %s: %w", h.peers[n].ID, r.err)
		}
		for i, c := range r.got {
			h.held[slot{n, r.gets[i].Index}] = c
		}
	}
	return nil
}

// gets asks for the newest version of each chunk that the node may hold.
func (h *healer) gets(n int) []chunk.Get {
	gets := h.mayHold(n, h.block)
	if h.Verify {
		for i := range gets {
			gets[i].Dst = make([]byte, h.geo.ChunkSize())
		}
	}
	return gets
}

// judge decides what the block should be.
func (h *healer) judge() error {
	placed := h.place.Place(h.block)
	sb := h.superblock()
	known := false
	for at, c := range h.held {
		if int(placed[at.index]) == at.node && sb.Nodes[at.node].State == cluster.In {
			if !known || c.Version > h.current.Version {
				h.current, known = c, true
			}
		}
	}
	if !known {
		return fmt.Errorf("no home that is in answers: %w", ErrTooFewNodes)
	}
	for at, c := range h.held { // a damaged record does not tell what it was
		if c.Version == h.current.Version && c.State == chunk.Tombstone && sb.Nodes[at.node].State == cluster.In {
			h.current = c
		}
	}
	return nil
}

// mend gives a node the chunk that it should have.
func (h *healer) mend(ctx context.Context, at slot) error {
	has, answered := h.held[at]
	if !answered {
		return fmt.Errorf("node %s does not answer: %w", h.peers[at.node].ID, ErrInterrupted)
	}
	cause := h.compare(has)
	if cause == "" {
		return nil
	}
	ops, err := h.cure(ctx, at, has)
	if err != nil {
		return err
	}
	return h.apply(ctx, at, ops, cause)
}

// compare says what is wrong with what a slot holds; "" means nothing.
func (h *healer) compare(has chunk.Chunk) string {
	same := has.Version == h.current.Version
	switch {
	case has.State == chunk.Damaged:
		return "damaged"
	case same:
		return ""
	case has.State == chunk.Absent:
		return "missing"
	case has.Version > h.current.Version:
		return "unknown version"
	}
	return "stale"
}

// cure returns what makes the slot right: a version that nobody else knows is
// dropped first.
func (h *healer) cure(ctx context.Context, at slot, has chunk.Chunk) (ops []chunk.Op, err error) {
	v := h.current.Version
	if has.Version > v {
		ops = append(ops, chunk.Op{Kind: chunk.OpDrop, Block: h.block, Index: at.index, Version: has.Version})
	}
	op := chunk.Op{Kind: chunk.OpTombstone, Block: h.block, Index: at.index, Version: v, Repair: true}
	switch h.current.State {
	case chunk.Absent:
		return ops, nil
	case chunk.Tombstone:
		return append(ops, op), nil
	}
	if h.chunks == nil {
		if h.chunks, err = h.content(ctx, h.block, v); err != nil {
			return nil, err
		}
	}
	op.Kind, op.Data = chunk.OpPut, h.chunks[at.index]
	return append(ops, op), nil
}

// content reads all chunks of the block at version v, which an authority has
// named, computing those that are missing.
func (a *Array) content(ctx context.Context, block uint64, v chunk.Version) ([][]byte, error) {
	d := newDecoding(a.geo)
	d.current, d.known = chunk.Chunk{Version: v, State: chunk.Present}, true
	for got := range a.askAll(ctx, block, 0, a.geo.ChunkSize(), v) {
		got.authority = false
		if d.add(got) {
			break
		}
	}
	if d.have() < a.geo.Data {
		return nil, fmt.Errorf("version %s: %d of %d chunks: %w", v, d.have(), a.geo.Data, ErrUnreadable)
	}
	shards := d.shards[v]
	for i := range shards {
		if err := a.restore(shards, i); err != nil {
			return nil, err
		}
	}
	return shards, nil
}

// apply sends ops to a node, and counts what they mend.
func (h *healer) apply(ctx context.Context, at slot, ops []chunk.Op, cause string) error {
	p := h.peers[at.node]
	ack, err := p.change(ctx, ops)
	if err == nil {
		err = errors.Join(ack.Errs...)
	}
	if err == nil && ack.Instance != p.instance() {
		err = fmt.Errorf("it restarted: %w", chunk.ErrUnavailable)
	}
	if err != nil {
		return fmt.Errorf("mend chunk %d on node %s: %w", at.index, p.ID, err)
	}
	if cause == "damaged" {
		h.mended.Add(1)
	}
	for _, op := range ops {
		h.bytes += int64(len(op.Data))
	}
	h.wounds = append(h.wounds, Wound{Block: h.block, Index: at.index, Node: p.ID, Cause: cause})
	return nil
}

// drop removes the copies that nobody needs, once all that are needed stand,
// durably, on nodes that are in. Each drop says up to which version.
func (h *healer) drop(ctx context.Context, useful []slot) error {
	var extra []slot
	for at, c := range h.held {
		if c.State != chunk.Absent && !slices.Contains(useful, at) {
			extra = append(extra, at)
		}
	}
	if len(extra) == 0 || !h.complete(useful) {
		return nil
	}
	for _, at := range useful {
		if err := h.peers[at.node].syncAll(); err != nil {
			return err
		}
	}
	for _, at := range extra {
		op := chunk.Op{Kind: chunk.OpDrop, Block: h.block, Index: at.index, Version: h.held[at].Version}
		if err := h.apply(ctx, at, []chunk.Op{op}, "not needed"); err != nil {
			return err
		}
	}
	return nil
}

// complete reports whether every chunk index stands on a home that is in.
func (h *healer) complete(useful []slot) bool {
	sb, placed := h.superblock(), h.place.Place(h.block)
	if len(useful) < h.geo.Width() {
		return false
	}
	for _, at := range useful {
		if sb.Nodes[at.node].State != cluster.In || int(placed[at.index]) != at.node {
			return false
		}
		if _, answered := h.held[at]; !answered {
			return false
		}
	}
	return true
}
