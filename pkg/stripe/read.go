package stripe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

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
	parts  []part
}

// part is the part of a span that falls into one data chunk.
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
		if err := a.readSpans(ctx, a.cut(p[:n], off)); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// cut divides a range into its blocks, and these into chunks.
func (a *Array) cut(p []byte, off int64) []span {
	size := int64(a.geo.BlockSize)
	spans := make([]span, 0, int64(len(p))/size+2)
	for len(p) > 0 {
		lo := int(off % size)
		n := min(len(p), a.geo.BlockSize-lo)
		s := span{block: uint64(off / size), lo: lo, hi: lo + n, dst: p[:n]}
		s.cut(a.geo.ChunkSize())
		spans = append(spans, s)
		p, off = p[n:], off+int64(n)
	}
	return spans
}

func (s *span) cut(chunkSize int) {
	dst := s.dst
	for at := s.lo; at < s.hi; {
		off := at % chunkSize
		n := min(s.hi-at, chunkSize-off)
		s.parts = append(s.parts, part{index: uint8(at / chunkSize), off: off, dst: dst[:n]})
		dst, at = dst[n:], at+n
	}
}

// readSpans reads each data chunk from its home, one batch a node, and what
// that does not give from any k chunks.
func (a *Array) readSpans(ctx context.Context, spans []span) error {
	batches := a.plan(spans)
	wait := make([]func(), 0, len(batches))
	for n, parts := range batches {
		if len(parts) > 0 {
			wait = append(wait, func() { a.readBatch(ctx, n, parts) })
		}
	}
	inParallel(wait)
	var late []func()
	errs := make([]error, len(spans))
	for i := range spans {
		if s := &spans[i]; !s.settle() {
			late = append(late, func() { errs[i] = a.decodeSpan(ctx, s) })
		}
	}
	inParallel(late)
	return errors.Join(errs...)
}

// inParallel runs the functions and waits for them; a single one needs no
// goroutine.
func inParallel(fs []func()) {
	if len(fs) == 1 {
		fs[0]()
		return
	}
	var group sync.WaitGroup
	for _, f := range fs {
		group.Go(f)
	}
	group.Wait()
}

// wanted is a part and the block it belongs to.
type wanted struct {
	*part
	block uint64
}

// plan serves from memory what is not settled, and sorts the rest by the node
// to ask. Parts whose home is not in, or does not answer, fail here.
func (a *Array) plan(spans []span) [][]wanted {
	batches := make([][]wanted, len(a.peers))
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range spans {
		s := &spans[i]
		if w := a.ledger.latest[s.block]; w != nil {
			s.fromMemory(w)
			continue
		}
		placed := a.place.Place(s.block)
		for j := range s.parts {
			p := &s.parts[j]
			home := placed[p.index]
			if a.sb.Nodes[home].State != cluster.In || !a.peers[home].up {
				p.err = chunk.ErrUnavailable
				continue
			}
			batches[home] = append(batches[home], wanted{p, s.block})
		}
	}
	return batches
}

// fromMemory copies from the frozen content of a version.
func (s *span) fromMemory(w *write) {
	for _, p := range s.parts {
		if w.chunks == nil {
			clear(p.dst)
			continue
		}
		copy(p.dst, w.chunks[p.index][p.off:])
	}
	s.parts = nil
}

func (a *Array) readBatch(ctx context.Context, n int, parts []wanted) {
	ctx, cancel := context.WithTimeout(ctx, a.opts.NodeTimeout)
	defer cancel()
	for len(parts) > 0 {
		some := parts[:min(len(parts), chunk.MaxOps)]
		parts = parts[len(some):]
		gets := make([]chunk.Get, len(some))
		for i, p := range some {
			gets[i] = chunk.Get{Block: p.block, Index: p.index, Off: uint32(p.off), Dst: p.dst}
		}
		got, err := a.peers[n].Store.Read(ctx, a.peers[n].term(), gets)
		for i, p := range some {
			if p.err = err; err == nil {
				p.got = got[i]
			}
		}
	}
}

// settle reports whether the homes have given the span: all chunks of one
// version, or zeroes.
func (s *span) settle() bool {
	for i := range s.parts {
		p := &s.parts[i]
		if p.err != nil || p.got != s.parts[0].got || p.got.State == chunk.Damaged {
			return false
		}
	}
	if len(s.parts) > 0 && s.parts[0].got.State != chunk.Present {
		clear(s.dst)
	}
	return true
}

// decodeSpan reads the same range of every chunk that can be had, and decodes
// the span as soon as k of one version are there and a home that is in says
// that this version is current (I3, I4). It tries again until ctx ends, unless
// every node has answered: then there is nothing to wait for.
func (a *Array) decodeSpan(ctx context.Context, s *span) error {
	for {
		err, final := a.tryDecode(ctx, s)
		if err == nil || final {
			return err
		}
		select {
		case <-time.After(beatEvery):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, context.Cause(ctx))
		case <-a.life.Done():
			return fmt.Errorf("read block %d: %w", s.block, a.Err())
		}
	}
}

func (a *Array) tryDecode(ctx context.Context, s *span) (err error, final bool) {
	off, n := s.chunkRange(a.geo.ChunkSize())
	d := newDecoding(a.geo)
	answers := 0
	for got := range a.askAll(ctx, s.block, off, n) {
		answers++
		if d.add(got) {
			break
		}
	}
	return d.into(a, s, off), answers >= len(a.place.Place(s.block))
}

// chunkRange returns the range of each chunk that decoding the span needs.
func (s *span) chunkRange(chunkSize int) (off, n int) {
	first, last := s.lo/chunkSize, (s.hi-1)/chunkSize
	if first == last {
		return s.lo % chunkSize, s.hi - s.lo
	}
	return 0, chunkSize
}
