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

// maxRead bounds what is asked of the nodes at once, so that a request fits
// into one batch for each node even if one node had all of it.
const maxRead = chunk.MaxRequestBytes

// span is the part of a read that falls into one block.
type span struct {
	block  uint64
	lo, hi int    // within the block
	dst    []byte // hi-lo bytes
	parts  []part // what is wanted, by chunk
	asked  []part // what homes are asked for: the parts, or, if coded, k chunks that tell them
	coded  bool

	// Of a block whose newest version is a patch:
	base    chunk.Version // what the nodes are asked for; 0 means the newest
	patches []*patch      // what makes the newest of it

	under *write // where this is not nil, the version before it is wanted

	recalled bool          // it was read from memory
	version  chunk.Version // what was read; 0 where that is zeroes
}

// part is a range of one chunk.
type part struct {
	index uint8
	off   int
	dst   []byte
	got   chunk.Chunk
	err   error
}

// ReadAt reads len(p) bytes at off, which must lie within the volume. The
// caller keeps writers of these blocks away meanwhile. Errors: ErrTooFewNodes,
// ErrUnreadable, ErrDeposed; then the content of p is undefined.
func (a *Array) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := a.enter(ctx); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	for len(p) > 0 {
		n := min(len(p), maxRead)
		spans := a.cut(p[:n], off)
		if err := a.awaitReplied(ctx, spans); err != nil {
			return err
		}
		if err := a.readSpans(ctx, spans); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// cut divides a range into its blocks, and these into chunks.
func (a *Array) cut(p []byte, off int64) []*span {
	size := int64(a.geo.BlockSize)
	spans := make([]*span, 0, int64(len(p))/size+2)
	for len(p) > 0 {
		lo := int(off % size)
		n := min(len(p), a.geo.BlockSize-lo)
		spans = append(spans, a.newSpan(uint64(off/size), lo, p[:n]))
		p, off = p[n:], off+int64(n)
	}
	return spans
}

func (a *Array) newSpan(block uint64, lo int, dst []byte) *span {
	s := &span{block: block, lo: lo, hi: lo + len(dst), dst: dst}
	chunkSize := a.geo.ChunkSize()
	s.parts = make([]part, 0, (s.hi-1)/chunkSize-s.lo/chunkSize+1)
	for at := s.lo; at < s.hi; {
		off := at % chunkSize
		n := min(s.hi-at, chunkSize-off)
		s.parts = append(s.parts, part{index: uint8(at / chunkSize), off: off, dst: dst[:n]})
		dst, at = dst[n:], at+n
	}
	s.asked = s.parts
	return s
}

// awaitReplied waits until what the spans show is on all holders: a version
// whose write was given up may not be, and the gateway's death could undo it
// after somebody has read it (I10).
func (a *Array) awaitReplied(ctx context.Context, spans []*span) error {
	for _, s := range spans {
		for w := a.unreplied(s.block); w != nil; w = a.unreplied(s.block) {
			select {
			case <-w.replied:
			case <-ctx.Done():
				return fmt.Errorf("read block %d: %w: %w", s.block, ErrTooFewNodes, context.Cause(ctx))
			case <-a.life.Done():
				return fmt.Errorf("read block %d: %w", s.block, a.Err())
			}
		}
	}
	return nil
}

// unreplied returns the newest version of a block if its holders lack it. In
// writeback mode nobody was promised that they have it.
func (a *Array) unreplied(block uint64) *write {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w := a.ledger.latest[block]; w != nil && !w.isReplied() && !a.opts.Writeback {
		return w
	}
	return nil
}

// readSpans reads each data chunk from its home, one request a node. Where a home
// cannot be asked it reads k chunks from others, in the same requests. What all
// that does not give, or gives late, it decodes from any k chunks.
func (a *Array) readSpans(ctx context.Context, spans []*span) error {
	ctx, trace := a.trace(ctx, spans)
	fetches := a.plan(spans)
	decoded := a.fetchAll(ctx, spans, fetches)
	var rest []*span
	for _, s := range spans {
		if decoded[s] || a.given(s) {
			continue
		}
		rest = append(rest, s)
		if s.damaged() {
			a.noteDamage(s.block)
		}
	}
	var err error
	if len(rest) > 0 {
		err = a.decodeAll(inRound(ctx, byDecode), rest)
	}
	a.tracing.end(trace, decoded, rest)
	a.degraded.Add(uint64(len(decoded) + len(rest)))
	return err
}

// decodeAll decodes all the spans at once.
func (a *Array) decodeAll(ctx context.Context, spans []*span) error {
	errs := make([]error, len(spans))
	var group sync.WaitGroup
	for i, s := range spans {
		group.Go(func() { errs[i] = a.decodeSpan(ctx, s) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// wanted is a part and the block it belongs to.
type wanted struct {
	*part
	block  uint64
	atMost chunk.Version
}

// plan serves from memory what is not settled, and sorts the rest by the node
// to ask. Parts whose home is not in, does not answer or is under suspicion
// fail here, where too few others can be asked.
func (a *Array) plan(spans []*span) (fetches []*fetch) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hedges = min(a.hedges+hedgeShare, hedgeBurst)
	for _, s := range spans {
		if a.recallLocked(s) {
			continue
		}
		placed := a.place.Place(s.block)
		a.chooseLocked(s, placed)
		for j := range s.asked {
			p := &s.asked[j]
			home := a.peers[placed[p.index]]
			if !home.readableLocked() {
				p.err = chunk.ErrUnavailable
				continue
			}
			i := slices.IndexFunc(fetches, func(f *fetch) bool { return f.peer == home })
			if i < 0 {
				i = len(fetches)
				fetches = append(fetches, &fetch{peer: home, late: home.lateLocked()})
			}
			fetches[i].parts = append(fetches[i].parts, wanted{p, s.block, s.atMost()})
		}
	}
	return fetches
}

// chooseLocked has k other chunks asked for where not all homes of the parts
// can be asked, data before parity.
func (a *Array) chooseLocked(s *span, placed []uint8) {
	away := func(p part) bool { return !a.peers[placed[p.index]].readableLocked() }
	if !slices.ContainsFunc(s.parts, away) {
		return
	}
	off, n := s.chunkRange(a.geo.ChunkSize())
	var others []part
	for i := range a.geo.Width() {
		if p := (part{index: uint8(i), off: off}); len(others) < a.geo.Data && !away(p) {
			p.dst = make([]byte, n)
			others = append(others, p)
		}
	}
	if len(others) == a.geo.Data {
		s.asked, s.coded = others, true
	}
}

// restoreParts decodes the parts from other chunks that homes have given.
func (a *Array) restoreParts(s *span) error {
	shards := make([][]byte, a.geo.Width())
	for _, p := range s.asked {
		shards[p.index] = p.dst
	}
	a.degraded.Add(1)
	return a.fill(s, shards, s.asked[0].off)
}

// readableLocked reports whether the node is asked first for its chunks.
func (p *peer) readableLocked() bool {
	return p.up && !p.suspect && p.array.sb.Nodes[p.n].State == cluster.In
}

// atMost is what the nodes are asked for, as in chunk.Get.
func (s *span) atMost() chunk.Version {
	if s.base == 0 && s.under != nil {
		return s.under.version - 1
	}
	return s.base
}

func (a *Array) recall(s *span) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.recallLocked(s)
}

// recallLocked serves a span from memory, if that has all of it. If it has
// patches only, the nodes are asked for what these change.
func (a *Array) recallLocked(s *span) bool {
	s.base, s.patches, s.version = 0, nil, 0
	w := s.newest(a.ledger)
	if w == nil {
		return false
	}
	l := w.lineage()
	s.base, s.patches = l.base, l.patches
	if !w.tombstone() {
		s.version = w.version
	}
	if s.recalled = l.root != nil; s.recalled {
		s.fromMemory(l.root)
	}
	return s.recalled
}

// fromMemory copies from the frozen content of a version.
func (s *span) fromMemory(w *write) {
	if w.tombstone() {
		clear(s.dst)
		return
	}
	for _, p := range s.parts {
		copy(p.dst, w.chunks[p.index][p.off:])
	}
	s.patch()
}

// patch makes the newest version of the one that the parts hold.
func (s *span) patch() {
	for _, p := range s.parts {
		for _, change := range s.patches {
			change.apply(p.index, p.off, p.dst)
		}
	}
}

// readParts asks the node for the parts, and notes the outcome in them.
func (p *peer) readParts(ctx context.Context, parts []wanted) {
	for len(parts) > 0 {
		some := parts[:min(len(parts), chunk.MaxOps)]
		parts = parts[len(some):]
		gets := make([]chunk.Get, len(some))
		for i, w := range some {
			gets[i] = chunk.Get{
				Block: w.block, Index: w.index, AtMost: w.atMost, Off: uint32(w.off), Dst: w.dst,
			}
		}
		got, err := p.ask(ctx, gets)
		for i, w := range some {
			if w.err = err; err == nil {
				w.got = got[i]
			}
		}
	}
}

// given reports whether the homes have given the span: all chunks of one
// version, that which the patches change if there are any, or zeroes.
func (a *Array) given(s *span) bool {
	if s.recalled {
		return true
	}
	want := s.asked[0].got
	if s.base != 0 {
		want = chunk.Chunk{Version: s.base, State: chunk.Present}
	}
	for i := range s.asked {
		p := &s.asked[i]
		if p.err != nil || p.got != want || p.got.State == chunk.Damaged {
			return false
		}
	}
	if s.coded && want.State == chunk.Present && a.restoreParts(s) != nil {
		return false
	}
	s.show(want)
	return true
}

// show completes a span whose parts hold what the nodes gave.
func (s *span) show(got chunk.Chunk) {
	if got.State != chunk.Present {
		clear(s.dst)
		return
	}
	if s.base == 0 {
		s.version = got.Version
	}
	s.patch()
}

// damaged reports whether a home told of damage.
func (s *span) damaged() bool {
	return slices.ContainsFunc(s.asked, func(p part) bool {
		return p.err == nil && p.got.State == chunk.Damaged
	})
}

// decodeSpan reads the same range of every chunk that can be had, and decodes
// the span as soon as k of one version are there and a home that is in says
// that this version is current (I3, I4). It tries again until ctx ends, unless
// every node has answered: then there is nothing to wait for.
func (a *Array) decodeSpan(ctx context.Context, s *span) error {
	for {
		err, final := a.tryDecode(ctx, s)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil && a.moved(s) {
			continue
		}
		if final {
			return err
		}
		if stop := a.pause(ctx); stop != nil {
			return fmt.Errorf("%w: %w", err, stop)
		}
	}
}

// moved reports whether W has passed a patch of the span: then its base may be
// gone.
func (a *Array) moved(s *span) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := s.newest(a.ledger)
	return s.base != 0 && (w == nil || w.lineage().base != s.base)
}

func (a *Array) tryDecode(ctx context.Context, s *span) (err error, final bool) {
	if a.recall(s) {
		return nil, true
	}
	off, n := s.chunkRange(a.geo.ChunkSize())
	d := newDecoding(a.geo)
	if s.base != 0 {
		d.seek(s.base)
	}
	answered := map[int]bool{}
	for got := range a.askAll(ctx, s.block, off, n, s.atMost()) {
		answered[got.node] = true
		if d.add(got) {
			break
		}
	}
	d.decoded(ctx, s.block)
	return d.into(a, s, off), len(answered) >= a.witnesses(s.block)
}

// witnesses returns how many nodes may hold a chunk of the block: its homes,
// and all others once a home is not in.
func (a *Array) witnesses(block uint64) int {
	placed, sb := a.place.Place(block), a.superblock()
	for _, home := range placed[:a.geo.Width()] {
		if sb.Nodes[home].State != cluster.In {
			return len(placed)
		}
	}
	return a.geo.Width()
}

// chunkRange returns the range of each chunk that decoding the span needs.
func (s *span) chunkRange(chunkSize int) (off, n int) {
	first, last := s.lo/chunkSize, (s.hi-1)/chunkSize
	if first == last {
		return s.lo % chunkSize, s.hi - s.lo
	}
	return 0, chunkSize
}
