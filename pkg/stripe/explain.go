package stripe

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
	"rozobox/pkg/metrics"
)

// LastRead returns the block that clients have read last. It is known only
// while somebody watches: from a first call of LastRead or Explain on, for
// watchFor after each.
func (a *Array) LastRead() (block uint64, known bool) {
	a.tracing.watch()
	if t := a.tracing.last.Load(); t != nil {
		return t.block, true
	}
	return 0, false
}

// Watch has the reads of a block remembered for watchFor, even when others are
// read after it. It holds for one block, that of the last call.
func (a *Array) Watch(block uint64) {
	a.tracing.block.Store(block + 1)
	a.tracing.watch()
}

// Explain tells where the chunks of a block stand, and who gave them when it
// was read last, if that is known: when somebody watched, and the block was
// read last of all, or Watch was told of it. With verify each
// chunk is read whole on its card, so that damage shows which nobody has met
// yet; without it no card shows as working. It changes nothing, waits for no
// quorum and keeps no writer away: a block that is being written may show both
// its versions.
func (a *Array) Explain(ctx context.Context, block uint64, verify bool) (*metrics.Stripe, error) {
	if block >= a.geo.Blocks() {
		return nil, fmt.Errorf("explain block %d of %d: %w", block, a.geo.Blocks(), chunk.ErrInvalid)
	}
	a.Watch(block)
	e := &explainer{
		Array: a, block: block,
		failed: make([]string, len(a.peers)), held: make([]map[uint8]chunk.Chunk, len(a.peers)),
	}
	e.look()
	e.survey(ctx, verify)
	if err := a.Err(); err != nil {
		return nil, fmt.Errorf("explain block %d: %w", block, err)
	}
	e.judge()
	return e.picture(), nil
}

// explainer gathers what is known of one block.
type explainer struct {
	*Array
	block     uint64
	sb        *cluster.Superblock
	following []bool
	pending   *write                  // the newest version, where it is not settled
	failed    []string                // by node: why nothing is known of it
	held      []map[uint8]chunk.Chunk // by node and index
	current   chunk.Chunk
	known     bool // current comes from one who may say
}

// look takes what the array knows by itself.
func (e *explainer) look() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sb, e.pending = e.Array.sb, e.ledger.latest[e.block]
	for i, p := range e.peers {
		e.following = append(e.following, e.ledger.nodes[i].follow != apart)
		if !p.up {
			e.failed[i] = p.trouble
			if p.trouble == "" {
				e.failed[i] = "no heartbeat was answered yet"
			}
		}
	}
}

// survey asks every node that answers what it holds of the block.
func (e *explainer) survey(ctx context.Context, verify bool) {
	ctx, cancel := context.WithTimeout(ctx, e.opts.NodeTimeout)
	defer cancel()
	var group sync.WaitGroup
	for i := range e.peers {
		if e.failed[i] == "" {
			group.Go(func() {
				if err := e.ask(ctx, i, verify); err != nil {
					e.failed[i] = err.Error()
				}
			})
		}
	}
	group.Wait()
}

// ask enters what a node holds. Of several versions of a chunk the newest
// counts: the list has them in that order.
func (e *explainer) ask(ctx context.Context, n int, verify bool) error {
	entries, err := e.list(ctx, n, 0, e.block, e.block+1)
	if err != nil {
		return err
	}
	held := map[uint8]chunk.Chunk{}
	for _, entry := range entries {
		held[entry.Index] = listed(entry)
	}
	if verify {
		err = e.verify(ctx, n, held)
	}
	e.held[n] = held
	return err
}

func listed(e chunk.Entry) chunk.Chunk {
	c := chunk.Chunk{Version: e.Version, State: chunk.Present}
	switch {
	case e.Damaged:
		c.State = chunk.Damaged
	case e.Tombstone:
		c.State = chunk.Tombstone
	}
	return c
}

// verify reads whole what a node holds.
func (e *explainer) verify(ctx context.Context, n int, held map[uint8]chunk.Chunk) error {
	var gets []chunk.Get
	for index := range held {
		gets = append(gets, chunk.Get{Block: e.block, Index: index, Dst: make([]byte, e.geo.ChunkSize())})
	}
	if len(gets) == 0 {
		return nil
	}
	got, err := e.peers[n].read(ctx, gets)
	for i, c := range got {
		held[gets[i].Index] = c
	}
	return err
}

// judge decides what is current: the newest version that is not settled, or
// else what the homes that are in have. Where none of them answers nobody can
// say, and the newest that is there is shown.
func (e *explainer) judge() {
	if e.pending != nil {
		e.current, e.known = chunk.Chunk{Version: e.pending.version, State: chunk.Present}, true
		if e.pending.tombstone() {
			e.current.State = chunk.Tombstone
		}
		return
	}
	for i, home := range e.place.Place(e.block)[:e.geo.Width()] {
		if e.sb.Nodes[home].State == cluster.In && e.failed[home] == "" {
			e.known = true
			e.newer(e.held[home][uint8(i)])
		}
	}
	if !e.known {
		for _, held := range e.held {
			for _, c := range held {
				e.newer(c)
			}
		}
	}
}

// newer takes what a node has for current if nothing newer was seen. A damaged
// record does not tell what it was.
func (e *explainer) newer(c chunk.Chunk) {
	if c.Version > e.current.Version || c.Version == e.current.Version && e.current.State == chunk.Damaged {
		e.current = c
	}
}

// picture puts it together.
func (e *explainer) picture() *metrics.Stripe {
	s := &metrics.Stripe{
		Volume: e.sb.Name, Offset: int64(e.block) * int64(e.geo.BlockSize), Block: e.block,
		Data: e.geo.Data, Parity: e.geo.Parity,
		Zeroes: e.known && (e.current.State == chunk.Absent || e.current.State == chunk.Tombstone),
	}
	if e.current.Version != 0 {
		s.Version = e.current.Version.String()
	}
	slots := e.slots()
	for _, at := range slots {
		s.Chunks = append(s.Chunks, e.chunk(at))
	}
	if t := e.tracing.about(e.block); t != nil {
		t.enter(s, slots)
	}
	return s
}

// slots returns the home of each chunk, and behind it the others that have it.
func (e *explainer) slots() (slots []slot) {
	placed := e.place.Place(e.block)
	for i, home := range placed[:e.geo.Width()] {
		slots = append(slots, slot{int(home), uint8(i)})
		for _, n := range placed {
			if _, has := e.held[n][uint8(i)]; has && n != home {
				slots = append(slots, slot{int(n), uint8(i)})
			}
		}
	}
	return slots
}

func (e *explainer) home(index uint8) int { return int(e.place.Place(e.block)[index]) }

// chunk tells of one chunk on one node.
func (e *explainer) chunk(at slot) metrics.StripeChunk {
	c := metrics.StripeChunk{
		Index: int(at.index), Parity: int(at.index) >= e.geo.Data,
		Node: string(e.sb.Nodes[at.node].ID), Spare: at.node != e.home(at.index),
		State: e.state(at), Why: e.why(at),
	}
	if v := e.held[at.node][at.index].Version; v != 0 {
		c.Version = v.String()
	}
	return c
}

func (e *explainer) state(at slot) string {
	if e.failed[at.node] != "" {
		return metrics.Unavailable
	}
	switch e.held[at.node][at.index].State {
	case chunk.Present:
		return metrics.Present
	case chunk.Tombstone:
		return metrics.Tombstone
	case chunk.Damaged:
		return metrics.Damaged
	}
	return metrics.Absent
}

// why says what is special about a chunk; nothing for one that stands at home
// as it should.
func (e *explainer) why(at slot) string {
	home := e.home(at.index)
	if at.node != home {
		return e.standIn(home)
	}
	standing, lag := e.standing(home), e.lag(at)
	if standing != "" && lag != "" {
		return standing + "; " + lag
	}
	return standing + lag
}

// standIn says why a spare has the chunk of a home.
func (e *explainer) standIn(home int) string {
	id, standing := e.sb.Nodes[home].ID, e.standing(home)
	switch {
	case standing != "":
		return fmt.Sprintf("in place of %s, which %s", id, standing)
	case e.failed[home] != "":
		return fmt.Sprintf("in place of %s, which does not answer", id)
	}
	return fmt.Sprintf("left over, %s is in again", id)
}

// standing says what the superblock has against a node; nothing for one that
// is in.
func (e *explainer) standing(n int) string {
	switch member := e.sb.Nodes[n]; {
	case member.State == cluster.Lost:
		return "is lost"
	case member.State == cluster.Out && e.following[n]:
		return "is being resynced"
	case member.State == cluster.Out:
		return fmt.Sprintf("is out since version %s", member.Since)
	}
	return ""
}

// lag says how a home falls short of what is current.
func (e *explainer) lag(at slot) string {
	has := e.held[at.node][at.index]
	switch {
	case e.failed[at.node] != "":
		return "does not answer: " + e.failed[at.node]
	case has.State == chunk.Damaged:
		return "the checksum is wrong"
	case has.Version == e.current.Version:
		return ""
	case e.pending != nil && has.Version < e.current.Version && e.takesPart(at.node):
		return "the newest version is on its way"
	case has.Version == 0:
		return "the chunk is missing"
	case has.Version < e.current.Version:
		return "the chunk is stale"
	}
	return "nobody else knows this version"
}

// takesPart reports whether a node gets its chunk of what is written now.
func (e *explainer) takesPart(n int) bool {
	return e.sb.Nodes[n].State == cluster.In || e.following[n]
}

// enter adds who gave the block at the read that was traced.
func (t *trace) enter(s *metrics.Stripe, slots []slot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.Read, s.Memory = t.began, len(t.asks) == 0
	for _, q := range t.asks {
		i := slices.Index(slots, slot{q.node, q.index})
		if i < 0 {
			continue // a spare that holds nothing
		}
		c := &s.Chunks[i]
		if !c.Asked {
			c.Asked, c.Hedged = true, q.round == byHedge
		}
		if took := q.took.Seconds(); c.Seconds == 0 || q.used {
			c.Seconds = took
		}
		c.Used = c.Used || q.used
	}
}
