package stripe

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"slices"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// A patch needs the old bytes. Where the gateway has them not, it does not ask for
// them: the home of the data chunk puts the new ones in their place, and its answer
// brings the old ones (chunk.OpSwap). What differs then makes the patches of the
// other chunks:
//
//	data     |    | new |    |    |   1. swap: the home answers old
//	parity   | pp |                   2. old xor new: patches and bumps, as ever
//	         | qq |
//
// The version is in the ledger from the start, but not known until the answer: so
// long nothing else of it is sent, and nobody sees it, since it is not replied to.
// A swap that fails, is refused or is late is given up: the block is read as it was
// before, from other nodes if need be, and the version sent whole, with the same
// content. It does not matter whether the home has carried it out.
//
// The home builds upon the newest version that it has. That is the current one, as
// in a read: the home is in (I4), and has acknowledged whatever is not settled. An
// instance that started since may have lost that: it refuses (I3).

// swap is new bytes in place of old ones that are not known.
type swap struct {
	index uint8
	off   int           // within the chunk
	data  []byte        // never changed
	base  chunk.Version // the version before, where that is not settled; else 0
}

// Overwrite changes bytes of a block, from lo on, to data, which must not be changed
// before it returns. It returns as WriteBlock does. Errors are those of ReadAt and of
// WriteBlock.
func (a *Array) Overwrite(ctx context.Context, block uint64, lo int, data []byte) error {
	s := a.newSpan(block, lo, data)
	swappable, err := a.swappable(ctx, s)
	if err != nil {
		return err
	}
	if !swappable {
		return a.Update(ctx, block, lo, lo+len(data), func(p []byte) bool {
			copy(p, data)
			return true
		})
	}
	only := s.parts[0]
	w := &swap{index: only.index, off: only.off, data: bytes.Clone(data)}
	return a.write(ctx, block, payload{swap: w}, mayBeFull)
}

// swappable reports whether the span is patched by a swap: it lies within one chunk,
// and no node is saved a request otherwise. What is about to be flushed is read
// instead, so that its home need not sync before the others are asked to.
func (a *Array) swappable(ctx context.Context, s *span) (bool, error) {
	aligned := (s.lo|s.hi)%chunk.ChunkAlign == 0
	if a.opts.Writeback || len(s.parts) != 1 || !aligned {
		return false, nil
	}
	if patchable, err := a.patchable(ctx, s); !patchable {
		return false, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.ledger.latest[s.block]
	inMemory := w != nil && w.lineage().root != nil
	return !inMemory && !a.foresight.expects(a.seq+1), nil
}

// newest returns the version that is wanted, where it is not settled.
func (s *span) newest(l *ledger) *write {
	w := l.latest[s.block]
	if s.under != nil {
		w = s.under
	}
	if w != nil && !w.known() {
		return w.older
	}
	return w
}

// chooseSwap has a swap sent to its home, where that is sure to have the version
// before.
func (l *ledger) chooseSwap(w *write) {
	if w.swap == nil {
		return
	}
	home := int8(l.place.Place(w.block)[w.swap.index])
	if w.older != nil {
		w.swap.base = w.older.version
	}
	for _, c := range w.copies {
		in := c.index == w.swap.index && c.node == home && l.members[home].State == cluster.In
		if in && (w.older == nil || w.older.isOn(c)) {
			c.swapOf = l.nodes[home].instance
			l.enqueue(item{w, c})
		}
	}
}

// isOn reports whether the node of c has acknowledged its chunk of w.
func (w *write) isOn(c *copied) bool {
	for _, o := range w.copies {
		if o.index == c.index && o.node == c.node {
			return o.state >= acknowledged
		}
	}
	return false
}

func (c *copied) isSwap() bool { return c.swapOf != chunk.InstanceID{} }

// swapCopy returns the copy that is on its way as a swap, nil if there is none.
func (w *write) swapCopy() *copied {
	for _, c := range w.copies {
		if c.isSwap() {
			return c
		}
	}
	return nil
}

// tell returns what the swaps of a batch have told of their versions, by operation;
// nil if nothing.
func (a *Array) tell(batch []item, ack chunk.Ack) []payload {
	if ack.Olds == nil {
		return nil
	}
	told := make([]payload, len(batch))
	for i, it := range batch {
		switch {
		case ack.Olds[i].Base != 0:
			told[i].patched = a.patchOf(it.swap, ack.Olds[i])
		case ack.Errs != nil && errors.Is(ack.Errs[i], chunk.ErrEmpty):
			told[i].chunks = a.firstIn(it.swap)
		}
	}
	return told
}

// patchOf returns the patch that a swap has come to; nil where the parity cannot be
// computed.
func (a *Array) patchOf(s *swap, old chunk.Old) *patch {
	subtle.XORBytes(old.Data, old.Data, s.data)
	p := &patch{base: old.Base, off: s.off, differences: make([][]byte, a.geo.Width())}
	p.differences[s.index] = old.Data
	if a.encodeDifferences(p.differences, make([]byte, a.geo.Parity*len(old.Data))) != nil {
		return nil
	}
	return p
}

// firstIn returns the chunks of a block that was zeroes before; nil where the parity
// cannot be computed.
func (a *Array) firstIn(s *swap) [][]byte {
	chunks, err := a.put(s, make([]byte, a.geo.BlockSize))
	if err != nil {
		return nil
	}
	return chunks
}

// put returns the chunks of a block, which become its own, once the swap is done.
func (a *Array) put(s *swap, block []byte) ([][]byte, error) {
	copy(block[int(s.index)*a.geo.ChunkSize()+s.off:], s.data)
	return a.encode(block)
}

// learnLocked enters what the swaps of a batch have told, and gives up those that
// have told nothing.
func (a *Array) learnLocked(batch []item, told []payload) {
	for i, it := range batch {
		switch {
		case it.known():
		case told != nil && (told[i].chunks != nil || told[i].patched != nil):
			a.ledger.learn(it.write, told[i])
			a.pokeHoldersLocked(it.write)
		default:
			a.rebuildLocked(it.write)
		}
	}
}

// learn makes a swap known, and has the other holders sent their chunks.
func (l *ledger) learn(w *write, c payload) {
	if w.known() {
		return
	}
	l.bytes -= w.memory()
	w.chunks, w.patched = c.chunks, c.patched
	l.bytes += w.memory()
	if w.patched != nil {
		l.patches++
	}
	l.choosePatches(w)
	for _, c := range w.copies {
		if c.state == queued && !c.isSwap() {
			l.enqueue(item{w, c})
		}
	}
}

// sendable leaves out of a batch the swaps that were refused: learn will queue them.
func (l *ledger) sendable(batch []item) []item {
	return slices.DeleteFunc(batch, func(it item) bool {
		waits := !it.known() && !it.isSwap()
		if waits {
			l.left(it)
		}
		return waits
	})
}

// hastenSwapLocked gives up a swap that is late, unless its home is only busy.
func (a *Array) hastenSwapLocked(w *write) {
	c := w.swapCopy()
	if c == nil || !a.peers[c.node].up || a.peers[c.node].suspect || a.peers[c.node].isStuckLocked() {
		a.rebuildLocked(w)
	}
}

// giveUpSwap is for a write that nobody waits for any more.
func (a *Array) giveUpSwap(w *write) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rebuildLocked(w)
}

// rebuildLocked gives up a swap, if it is not known yet.
func (a *Array) rebuildLocked(w *write) {
	if w.known() || w.rebuilt {
		return
	}
	w.rebuilt = true
	a.tasks.Go(func() { a.rebuild(w) })
}

// rebuild makes a swap known that was given up, however long that takes: a version
// is never abandoned.
func (a *Array) rebuild(w *write) {
	for {
		chunks, err := a.rebuilt(w)
		if err == nil {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.ledger.learn(w, payload{chunks: chunks})
			a.pokeHoldersLocked(w)
			return
		}
		if a.pause(a.life) != nil {
			return
		}
	}
}

// rebuilt returns the chunks of a swap's version.
func (a *Array) rebuilt(w *write) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(a.life, writePatience*a.opts.NodeTimeout)
	defer cancel()
	buf := make([]byte, a.geo.BlockSize)
	s := a.newSpan(w.block, 0, buf)
	s.under = w
	if err := a.readSpans(ctx, []*span{s}); err != nil {
		return nil, err
	}
	return a.put(w.swap, buf)
}
