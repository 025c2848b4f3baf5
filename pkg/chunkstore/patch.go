package chunkstore

import (
	"crypto/subtle"
	"fmt"
	"slices"

	"rozobox/pkg/chunk"
)

func checkPatch(op *chunk.Op) error {
	switch {
	case op.Base == 0 || op.Base >= op.Version || op.Repair:
		return fmt.Errorf("patch of version %s to %s: %w", op.Base, op.Version, chunk.ErrInvalid)
	case int64(op.Off)+int64(len(op.Data)) > chunk.MaxChunkSize:
		return fmt.Errorf("patch of %d bytes at %d: %w", len(op.Data), op.Off, chunk.ErrInvalid)
	}
	return nil
}

// resolve turns the patches of a batch into the puts that they come to, with
// the patch's Base, as far as their bases are there and one batch may hold all.
// It needs no turn, so that nobody waits while bases are read: builds has the
// last word.
func (s *Store) resolve(v *volume, b *batch) {
	patch := func(op chunk.Op) bool { return op.Kind == chunk.OpPatch }
	if !slices.ContainsFunc(b.ops, patch) {
		return
	}
	b.own = append(b.own[:0], b.ops...)
	b.ops, b.data = b.own, b.data[:0]
	for i := range b.ops {
		op := &b.ops[i]
		if op.Kind != chunk.OpPatch {
			continue
		}
		if data := s.base(v, b, i); data != nil && int(op.Off)+len(op.Data) <= len(data) {
			part := data[op.Off:][:len(op.Data)]
			subtle.XORBytes(part, part, op.Data)
			op.Kind, op.Off, op.Data = chunk.OpPut, 0, data
		}
	}
}

// base returns a copy of the base of b.ops[i], from an earlier operation or
// from the log, nil where neither has it.
func (s *Store) base(v *volume, b *batch, i int) []byte {
	op := &b.ops[i]
	for j := i - 1; j >= 0; j-- {
		o := &b.ops[j]
		if o.Kind == chunk.OpPut && o.Block == op.Block && o.Index == op.Index && o.Version == op.Base {
			return append(b.room(len(o.Data)), o.Data...)
		}
	}
	s.mu.RLock()
	e, ok := v.index.newest(makeKey(op.Block, op.Index), ^chunk.Version(0))
	if !ok || e.version != op.Base || e.loc.has(locDamaged|locTombstone) || s.closing.Load() {
		s.mu.RUnlock()
		return nil
	}
	g := s.segments[e.loc.slot()]
	g.acquire()
	s.mu.RUnlock()
	defer g.release()
	n := int(e.loc.length())
	if len(b.data)+n > chunk.MaxRequestBytes {
		return nil
	}
	data := b.room(n)[:n]
	if !s.readRange(v, e, g, 0, data) {
		s.markDamaged(v, e)
		return nil
	}
	return data
}

// room returns an empty slice with room for n bytes, the batch's own.
func (b *batch) room(n int) []byte {
	if cap(b.data)-len(b.data) < n {
		b.data = make([]byte, 0, max(n, 2*cap(b.data))) // the older ones stay with their operations
	}
	at := len(b.data)
	b.data = b.data[:at+n]
	return b.data[at : at : at+n]
}

// builds reports whether op was resolved and its base is the newest version.
// The caller holds the turn.
func (s *Store) builds(v *volume, op *chunk.Op) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	newest, ok := v.index.newest(makeKey(op.Block, op.Index), ^chunk.Version(0))
	return ok && op.Kind == chunk.OpPut && newest.version == op.Base
}
