package stripe

import (
	"context"
	"errors"
	"fmt"
	"slices"

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

// Healed is what became of one block.
type Healed struct {
	Block  uint64
	Wounds []Wound // mended
	Bytes  int64   // written
	Err    error   // why something of it could not be mended
}

const (
	// healBlocks and healBytes bound what is healed together: enough that the
	// time of a request does not matter, and little enough that a client's
	// write of one of the blocks waits for no more than a busy card takes.
	healBlocks = 32
	healBytes  = 256 << 10
)

// HealBatch returns how many blocks HealAll should be given at once.
func (a *Array) HealBatch() int {
	return min(max(healBytes/a.geo.ChunkSize(), 1), healBlocks)
}

// Heal is HealAll for one block. Errors: ErrTooFewNodes, ErrUnreadable,
// ErrInterrupted.
func (a *Array) Heal(ctx context.Context, block uint64, how Healing) ([]Wound, int64, error) {
	h := a.HealAll(ctx, []uint64{block}, how)[0]
	return h.Wounds, h.Bytes, h.Err
}

// HealAll brings blocks to what their nodes should hold: the current version on
// each home that is in or follows, on spares where asked. Current is what the
// homes that are in say; the opinion of a node that returns never counts (I4).
// What it writes is durable after the node's next Sync. Writers of the blocks
// wait meanwhile. It returns what became of each block, in order.
func (a *Array) HealAll(ctx context.Context, blocks []uint64, how Healing) []Healed {
	w := &ward{Array: a, Healing: how}
	for _, block := range blocks {
		w.patients = append(w.patients, &patient{
			Healed: Healed{Block: block}, held: map[slot]finding{}, shards: make([][]byte, a.geo.Width()),
		})
	}
	ctx, release, err := a.quiet(ctx, blocks)
	if err == nil {
		w.run(ctx)
		release()
	} else {
		w.fail(w.patients, err)
	}
	healed := make([]Healed, len(w.patients))
	for i, p := range w.patients {
		healed[i] = p.Healed
		if p.Err != nil {
			healed[i].Err = fmt.Errorf("heal block %d: %w", p.Block, p.Err)
		}
	}
	return healed
}

// quiet keeps writers of the blocks waiting until release is called, and waits
// until all their versions are settled. What is done meanwhile must use the
// context returned: it ends as soon as a client's batch would be given up, since
// that is how long a client may wait for the block.
func (a *Array) quiet(ctx context.Context, blocks []uint64) (held context.Context, release func(), err error) {
	// Where too few nodes are in W stands still; who waits could be the one
	// that is to bring another in.
	settling, cancel := context.WithTimeout(ctx, syncPatience*a.opts.NodeTimeout)
	defer cancel()
	if err := a.settleBlocks(settling, blocks); err != nil { // first, so that writers wait less
		return nil, nil, err
	}
	if err := a.await(settling, "waiting for the block", func() bool {
		if slices.ContainsFunc(blocks, func(b uint64) bool { return a.healing[b] }) {
			return false
		}
		for _, b := range blocks {
			a.healing[b] = true
		}
		return true
	}); err != nil {
		return nil, nil, err
	}
	held, stop := context.WithTimeout(ctx, writePatience*a.opts.NodeTimeout)
	release = func() {
		stop()
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, b := range blocks {
			delete(a.healing, b)
		}
		a.broadcastLocked()
	}
	if err := a.settleBlocks(held, blocks); err != nil {
		release()
		return nil, nil, err
	}
	return held, release, nil
}

// settleBlocks waits until all versions that the blocks have now are settled.
func (a *Array) settleBlocks(ctx context.Context, blocks []uint64) error {
	a.mu.Lock()
	newest := a.ledger.watermark
	for _, b := range blocks {
		if w := a.ledger.latest[b]; w != nil {
			newest = max(newest, w.version)
		}
	}
	a.mu.Unlock()
	return a.settle(ctx, newest)
}

// slot is a place where a chunk can be.
type slot struct {
	node  int
	index uint8
}

// finding is what a slot holds.
type finding struct {
	chunk.Chunk
	data []byte // of a chunk that is present, where the survey reads them whole
}

// patient is one block that is healed.
type patient struct {
	Healed
	wanted  []slot           // to be brought up to date
	useful  []slot           // all that should be held
	held    map[slot]finding // what the nodes that answered hold
	current chunk.Chunk      // what the block should be
	cures   []cure
	shards  [][]byte // its content, as far as the cures need it
}

// cure is what makes a slot right.
type cure struct {
	*patient
	at    slot
	cause string
	ops   []chunk.Op
}

// ward is the blocks that are healed together.
type ward struct {
	*Array
	Healing
	patients []*patient
}

// fail notes why patients cannot be healed.
func (w *ward) fail(patients []*patient, err error) {
	for _, p := range patients {
		p.Err = errors.Join(p.Err, err)
	}
}

func (w *ward) run(ctx context.Context) {
	for _, p := range w.patients {
		w.plan(p)
	}
	if err := w.survey(ctx); err != nil {
		w.fail(w.patients, err)
		return
	}
	var cures []cure
	for _, p := range w.patients {
		if err := w.judge(p); err != nil {
			w.fail([]*patient{p}, err)
			continue
		}
		w.diagnose(p)
	}
	w.fetch(ctx)
	for _, p := range w.patients {
		for _, c := range p.cures {
			if err := w.prescribe(ctx, &c); err != nil {
				w.fail([]*patient{p}, err)
				break
			}
			cures = append(cures, c)
		}
	}
	w.apply(ctx, cures)
	if w.Spares {
		w.drop(ctx)
	}
}

// plan finds the slots to bring up to date, and all that should be held.
func (w *ward) plan(p *patient) {
	placed := w.place.Place(p.Block)
	for i, n := range w.duties(p.Block) {
		if n == cluster.NoHolder {
			continue
		}
		at := slot{int(n), uint8(i)}
		p.useful = append(p.useful, at)
		home := int(placed[i]) == at.node
		if w.Node == at.node || w.Node == AllNodes && (home || w.Spares) {
			p.wanted = append(p.wanted, at)
		}
	}
}

// judge decides what the block should be.
func (w *ward) judge(p *patient) error {
	placed := w.place.Place(p.Block)
	sb := w.superblock()
	known := false
	for at, c := range p.held {
		if int(placed[at.index]) == at.node && sb.Nodes[at.node].State == cluster.In {
			if !known || c.Version > p.current.Version {
				p.current, known = c.Chunk, true
			}
		}
	}
	if !known {
		return fmt.Errorf("no home that is in answers: %w", ErrTooFewNodes)
	}
	for at, c := range p.held { // a damaged record does not tell what it was
		if c.Version == p.current.Version && c.State == chunk.Tombstone && sb.Nodes[at.node].State == cluster.In {
			p.current = c.Chunk
		}
	}
	return nil
}

// diagnose finds the slots that are not as they should be.
func (w *ward) diagnose(p *patient) {
	for _, at := range p.wanted {
		has, answered := p.held[at]
		if !answered {
			w.fail([]*patient{p}, fmt.Errorf("node %s does not answer: %w", w.peers[at.node].ID, ErrInterrupted))
			continue
		}
		if cause := p.compare(has.Chunk); cause != "" {
			p.cures = append(p.cures, cure{patient: p, at: at, cause: cause})
		}
	}
}

// compare says what is wrong with what a slot holds; "" means nothing.
func (p *patient) compare(has chunk.Chunk) string {
	same := has.Version == p.current.Version
	switch {
	case has.State == chunk.Damaged:
		return "damaged"
	case same:
		return ""
	case has.State == chunk.Absent:
		return "missing"
	case has.Version > p.current.Version:
		return "unknown version"
	}
	return "stale"
}

// prescribe finds what makes the slot right: a version that nobody else knows
// is dropped first.
func (w *ward) prescribe(ctx context.Context, c *cure) (err error) {
	v, has := c.current.Version, c.held[c.at]
	if has.Version > v {
		c.ops = append(c.ops, chunk.Op{Kind: chunk.OpDrop, Block: c.Block, Index: c.at.index, Version: has.Version})
	}
	op := chunk.Op{Kind: chunk.OpTombstone, Block: c.Block, Index: c.at.index, Version: v, Repair: true}
	switch c.current.State {
	case chunk.Absent:
		return nil
	case chunk.Tombstone:
		c.ops = append(c.ops, op)
		return nil
	}
	if c.shards[c.at.index] == nil {
		if c.patient.shards, err = w.content(ctx, c.Block, v); err != nil {
			return err
		}
	}
	op.Kind, op.Data = chunk.OpPut, c.shards[c.at.index]
	c.ops = append(c.ops, op)
	return nil
}

// content reads all chunks of the block at version v, which an authority has
// named, computing those that are missing.
func (a *Array) content(ctx context.Context, block uint64, v chunk.Version) ([][]byte, error) {
	d := newDecoding(a.geo)
	d.seek(v)
	for got := range a.askAll(ctx, block, 0, a.geo.ChunkSize(), v) {
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

// drop removes the copies that nobody needs, once all that are needed stand,
// durably, on nodes that are in. Each drop says up to which version.
func (w *ward) drop(ctx context.Context) {
	var cures []cure
	needed := map[int]bool{} // nodes that hold what is left
	for _, p := range w.patients {
		if p.Err != nil || !w.complete(p) {
			continue
		}
		for at, has := range p.held {
			if has.State == chunk.Absent || slices.Contains(p.useful, at) {
				continue
			}
			op := chunk.Op{Kind: chunk.OpDrop, Block: p.Block, Index: at.index, Version: has.Version}
			cures = append(cures, cure{p, at, "not needed", []chunk.Op{op}})
			for _, u := range p.useful {
				needed[u.node] = true
			}
		}
	}
	if err := w.syncAll(ctx, needed); err != nil {
		for _, c := range cures {
			w.fail([]*patient{c.patient}, err)
		}
		return
	}
	w.apply(ctx, cures)
}

// syncAll syncs the nodes; it does not wait for them beyond ctx.
func (a *Array) syncAll(ctx context.Context, nodes map[int]bool) (err error) {
	ended := make(chan error, len(nodes))
	for n := range nodes {
		a.tasks.Go(func() { ended <- a.peers[n].syncAll() })
	}
	for range nodes {
		select {
		case e := <-ended:
			err = errors.Join(err, e)
		case <-ctx.Done():
			return fmt.Errorf("sync: %w: %w", chunk.ErrUnavailable, context.Cause(ctx))
		}
	}
	return err
}

// complete reports whether every chunk index stands on a home that is in.
func (w *ward) complete(p *patient) bool {
	sb, placed := w.superblock(), w.place.Place(p.Block)
	if len(p.useful) < w.geo.Width() {
		return false
	}
	for _, at := range p.useful {
		if sb.Nodes[at.node].State != cluster.In || int(placed[at.index]) != at.node {
			return false
		}
		if _, answered := p.held[at]; !answered {
			return false
		}
	}
	return true
}
