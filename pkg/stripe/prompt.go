package stripe

import (
	"context"
	"fmt"
	"slices"

	"rozobox/pkg/chunk"
)

// promptVersions is how many versions a writer writes before each of its
// flushes, at most, for the last of them to be synced with its write: where the
// flush comes as expected, that saves a request to each node, and else it costs
// one sync. More versions than this are worth a sync of their own.
const promptVersions = 16

// foresight tells from the last flush when the next is to be expected.
type foresight struct {
	flushed uint64 // sequence number of the newest version at the last flush
	usual   uint64 // how many versions that flush had to settle
}

// flush takes note of a flush when seq is the newest version's number.
func (f *foresight) flush(seq uint64) {
	if seq != f.flushed {
		f.flushed, f.usual = seq, seq-f.flushed
	}
}

// expects reports whether a flush is to be expected after the version of this
// number.
func (f *foresight) expects(seq uint64) bool {
	n := seq - f.flushed
	return n == f.usual && n <= promptVersions
}

// isPrompt reports whether a batch will be flushed as soon as it is replied to.
func (p *peer) isPrompt(batch []item) bool {
	p.array.mu.Lock()
	defer p.array.mu.Unlock()
	return !urgent(batch) && batch[len(batch)-1].version <= p.array.prompt
}

// sendAndSync has the node write and sync in one request. The sync covers what
// was acknowledged before, too.
func (p *peer) sendAndSync(batch []item, ops []chunk.Op) {
	a := p.array
	a.mu.Lock()
	before, known := a.ledger.takeUnsynced(p.n), a.ledger.nodes[p.n].instance
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(a.life, syncPatience*a.opts.NodeTimeout)
	defer cancel()
	term := p.term()
	ended := p.timeSync(len(before) + len(batch))
	ack, err := p.Store.Write(ctx, term, append(ops, chunk.Op{Kind: chunk.OpSync}))
	ended(err)
	if err != nil {
		p.failed(fmt.Errorf("write and sync: %w", err))
	}
	synced := err == nil && ack.Instance == known
	if ack.Errs != nil {
		synced = synced && ack.Errs[len(batch)] == nil
		ack.Errs = ack.Errs[:len(batch)]
	}
	covered := slices.Concat(before, batch) // sentLocked changes batch
	told := a.tell(batch, ack)
	a.mu.Lock()
	defer a.mu.Unlock()
	p.sentLocked(batch, ack, told, err)
	if synced {
		a.ledger.synced(p.n, covered, known, term.Watermark)
		a.settleLocked()
		return
	}
	a.ledger.unsync(p.n, before)
	poke(p.dirty)
}
