package stripe

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"rozobox/pkg/chunk"
)

// What HealAll asks of the nodes, for all its blocks in one request to each.

// errand is what a node is asked for, and for whom.
type errand struct {
	gets []chunk.Get
	of   []*patient // for each of gets
	got  []chunk.Chunk
	err  error
}

func (e *errand) add(p *patient, get chunk.Get) {
	e.gets, e.of = append(e.gets, get), append(e.of, p)
}

// ask has the errands, one for each node, done at once.
func (w *ward) ask(ctx context.Context, errands []errand) {
	var group sync.WaitGroup
	for n := range errands {
		if e := &errands[n]; len(e.gets) > 0 {
			group.Go(func() { e.got, e.err = w.peers[n].readAll(ctx, e.gets) })
		}
	}
	group.Wait()
}

// readAll reads any number of chunks, a request after the other.
func (p *peer) readAll(ctx context.Context, gets []chunk.Get) (got []chunk.Chunk, err error) {
	for len(gets) > 0 {
		n, size := 0, 0
		for n < min(len(gets), chunk.MaxOps) && (n == 0 || size+len(gets[n].Dst) <= chunk.MaxRequestBytes) {
			size += len(gets[n].Dst)
			n++
		}
		some, err := p.read(ctx, gets[:n])
		if err != nil {
			return nil, err
		}
		got, gets = append(got, some...), gets[n:]
	}
	return got, nil
}

// survey asks every node that answers what it holds of the blocks. What a node
// with strays holds may not last.
func (w *ward) survey(ctx context.Context) error {
	errands := make([]errand, len(w.peers))
	for n, peer := range w.peers {
		if !peer.reliable() {
			continue
		}
		for _, p := range w.patients {
			for _, get := range w.mayHold(n, p.Block) {
				if w.Verify {
					get.Dst = make([]byte, w.geo.ChunkSize())
				}
				errands[n].add(p, get)
			}
		}
	}
	w.ask(ctx, errands)
	for n, e := range errands {
		if e.err != nil && !errors.Is(e.err, chunk.ErrUnavailable) {
			return fmt.Errorf("ask node %s: %w", w.peers[n].ID, e.err)
		}
		for i, c := range e.got {
			e.of[i].held[slot{n, e.gets[i].Index}] = finding{c, e.gets[i].Dst}
		}
	}
	return nil
}

// fetch reads what the cures need: the very chunk from another node that has
// it, a spare that stood in, else k chunks to compute it from. What this does
// not bring, content does.
func (w *ward) fetch(ctx context.Context) {
	errands := make([]errand, len(w.peers))
	for _, p := range w.patients {
		for _, at := range w.sources(p) {
			if data := p.held[at].data; data != nil {
				p.shards[at.index] = data
				continue
			}
			errands[at.node].add(p, chunk.Get{
				Block: p.Block, Index: at.index, AtMost: p.current.Version, Dst: make([]byte, w.geo.ChunkSize()),
			})
		}
	}
	w.ask(ctx, errands)
	for _, e := range errands {
		for i, c := range e.got {
			if p := e.of[i]; c.State == chunk.Present && c.Version == p.current.Version {
				p.shards[e.gets[i].Index] = e.gets[i].Dst
			}
		}
	}
	for _, p := range w.patients {
		w.compute(p)
	}
}

// sources returns the slots to read for the cures of a block.
func (w *ward) sources(p *patient) (list []slot) {
	if len(p.cures) == 0 || p.current.State == chunk.Absent || p.current.State == chunk.Tombstone {
		return nil
	}
	intact := map[uint8]slot{}
	for at, has := range p.held {
		if has.State == chunk.Present && has.Version == p.current.Version {
			intact[at.index] = at
		}
	}
	for _, c := range p.cures {
		if at, ok := intact[c.at.index]; ok {
			list = append(list, at)
		}
	}
	if len(list) == len(p.cures) || len(intact) < w.geo.Data {
		return list
	}
	list = list[:0]
	for _, at := range intact {
		if list = append(list, at); len(list) == w.geo.Data {
			break
		}
	}
	return list
}

// compute computes the chunks of a block that its cures need.
func (w *ward) compute(p *patient) {
	have := 0
	for _, s := range p.shards {
		if s != nil {
			have++
		}
	}
	if have < w.geo.Data {
		return
	}
	for _, c := range p.cures {
		if err := w.restore(p.shards, int(c.at.index)); err != nil {
			w.fail([]*patient{p}, err)
		}
	}
}

// apply sends the cures to their nodes, all nodes at once, and notes what they
// mend.
func (w *ward) apply(ctx context.Context, cures []cure) {
	byNode := make([][]cure, len(w.peers))
	for _, c := range cures {
		byNode[c.at.node] = append(byNode[c.at.node], c)
	}
	outcomes := make([][]error, len(w.peers))
	var group sync.WaitGroup
	for n, list := range byNode {
		if len(list) > 0 {
			group.Go(func() { outcomes[n] = w.peers[n].administer(ctx, list) })
		}
	}
	group.Wait()
	for n, list := range byNode {
		for i, c := range list {
			w.note(c, outcomes[n][i])
		}
	}
}

// note enters the outcome of a cure into what becomes of its block.
func (w *ward) note(c cure, err error) {
	id := w.peers[c.at.node].ID
	if err != nil {
		w.fail([]*patient{c.patient}, fmt.Errorf("mend chunk %d on node %s: %w", c.at.index, id, err))
		return
	}
	for _, op := range c.ops {
		c.Bytes += int64(len(op.Data))
	}
	c.Wounds = append(c.Wounds, Wound{Block: c.Block, Index: c.at.index, Node: id, Cause: c.cause})
}

// administer has cures done on the node, a request after the other, and returns
// the outcome of each.
func (p *peer) administer(ctx context.Context, cures []cure) (outcomes []error) {
	for len(cures) > 0 {
		n, size := 0, 0
		var ops []chunk.Op
		for n < len(cures) && len(ops)+len(cures[n].ops) <= chunk.MaxOps {
			for _, op := range cures[n].ops {
				size += len(op.Data)
			}
			if n > 0 && size > chunk.MaxRequestBytes {
				break
			}
			ops = append(ops, cures[n].ops...)
			n++
		}
		outcomes = append(outcomes, p.dose(ctx, cures[:n], ops)...)
		cures = cures[n:]
	}
	return outcomes
}

// dose has the cures done whose ops these are.
func (p *peer) dose(ctx context.Context, cures []cure, ops []chunk.Op) []error {
	outcomes := make([]error, len(cures))
	ack, err := p.change(ctx, ops)
	if err == nil && ack.Instance != p.instance() {
		err = fmt.Errorf("it restarted: %w", chunk.ErrUnavailable)
	}
	at := 0
	for i, c := range cures {
		outcomes[i] = err
		if err == nil && ack.Errs != nil {
			outcomes[i] = errors.Join(ack.Errs[at : at+len(c.ops)]...)
		}
		at += len(c.ops)
	}
	return outcomes
}
