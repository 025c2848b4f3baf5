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
		if op.Kind != chunk.OpPatch || isBump(op) && s.mayBump(v) {
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
	want := op.Base
	for j := i - 1; j >= 0; j-- {
		o := &b.ops[j]
		switch {
		case o.Block != op.Block || o.Index != op.Index || o.Version != want:
		case o.Kind == chunk.OpPut:
			return append(b.room(len(o.Data)), o.Data...)
		case isBump(o):
			want = o.Base
		}
	}
	s.mu.RLock()
	e, ok := v.index.newest(makeKey(op.Block, op.Index), ^chunk.Version(0))
	if !ok || e.version != want || e.loc.has(locTombstone) || s.closing.Load() {
		s.mu.RUnlock()
		return nil
	}
	h := s.acquire(v, e)
	s.mu.RUnlock()
	defer h.release()
	n := int(e.loc.length())
	if len(b.data)+n > chunk.MaxRequestBytes || h.damaged() {
		return nil
	}
	data := b.room(n)[:n]
	if !s.readContent(v, &h, 0, data) {
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

// builds reports whether op was resolved, or is a bump that needs not be, and its
// base is the newest version. The caller holds the turn.
func (s *Store) builds(v *volume, op *chunk.Op) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	newest, ok := v.index.newest(makeKey(op.Block, op.Index), ^chunk.Version(0))
	if !ok || newest.version != op.Base {
		return false
	}
	if op.Kind == chunk.OpPut {
		return true
	}
	put, ok := v.index.payload(newest)
	return ok && isBump(op) && !(newest.loc | put.loc).has(locDamaged|locTombstone)
}
