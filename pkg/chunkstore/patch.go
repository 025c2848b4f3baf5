package chunkstore

import (
	"bytes"
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

func checkSwap(op *chunk.Op) error {
	if len(op.Data) == 0 || op.Base >= op.Version || op.Repair || int64(op.Off)+int64(len(op.Data)) > chunk.MaxChunkSize {
		return fmt.Errorf("swap of %d bytes at %d: %w", len(op.Data), op.Off, chunk.ErrInvalid)
	}
	return nil
}

// resolve turns the patches and swaps of a batch into the puts that they come to,
// with their Base, as far as their bases are there and one batch may hold all.
// It needs no turn, so that nobody waits while bases are read: builds has the
// last word.
func (s *Store) resolve(v *volume, b *batch) {
	builds := func(op chunk.Op) bool { return op.Kind == chunk.OpPatch || op.Kind == chunk.OpSwap }
	if !slices.ContainsFunc(b.ops, builds) {
		return
	}
	b.own = append(b.own[:0], b.ops...)
	b.ops, b.data = b.own, b.data[:0]
	for i := range b.ops {
		op := &b.ops[i]
		if op.Kind == chunk.OpSwap {
			s.exchange(v, b, i)
		}
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

// exchange resolves a swap, and keeps what it replaces.
func (s *Store) exchange(v *volume, b *batch, i int) {
	op := &b.ops[i]
	if b.olds == nil {
		b.olds = make([]chunk.Old, len(b.ops))
	}
	if op.Instance != s.instance {
		return
	}
	base, data := s.stored(v, b, makeKey(op.Block, op.Index), op.Version-1)
	if int(op.Off)+len(op.Data) > len(data) || op.Base != 0 && op.Base != base {
		return
	}
	part := data[op.Off:][:len(op.Data)]
	b.olds[i] = chunk.Old{Base: base, Data: bytes.Clone(part)}
	copy(part, op.Data)
	op.Kind, op.Base, op.Off, op.Data = chunk.OpPut, base, 0, data
}

// whyNoSwap says why a swap was not resolved.
func (s *Store) whyNoSwap(v *volume, op *chunk.Op) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	before, ok := v.index.newest(makeKey(op.Block, op.Index), ^chunk.Version(0))
	empty := !ok || before.loc.has(locTombstone) && before.version < op.Version
	if empty && op.Instance == s.instance && (op.Base == 0 || op.Base == before.version) {
		return chunk.ErrEmpty
	}
	return chunk.ErrNoBase
}

// answered returns what the swaps have replaced that were not refused.
func (b *batch) answered() []chunk.Old {
	for i := range b.olds {
		if b.errs != nil && b.errs[i] != nil {
			b.olds[i] = chunk.Old{}
		}
	}
	return b.olds
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
	version, data := s.stored(v, b, makeKey(op.Block, op.Index), ^chunk.Version(0))
	if version != want {
		return nil
	}
	return data
}

// stored returns a copy of the newest version at or below atMost, the batch's own;
// nil where that is a tombstone or damaged, or there is none.
func (s *Store) stored(v *volume, b *batch, key uint64, atMost chunk.Version) (chunk.Version, []byte) {
	s.mu.RLock()
	e, ok := v.index.newest(key, atMost)
	if !ok || e.loc.has(locTombstone) || s.closing.Load() {
		s.mu.RUnlock()
		return 0, nil
	}
	h := s.acquire(v, e)
	s.mu.RUnlock()
	defer h.release()
	n := int(e.loc.length())
	if len(b.data)+n > chunk.MaxRequestBytes || h.damaged() {
		return 0, nil
	}
	data := b.room(n)[:n]
	if !s.readContent(v, &h, 0, data) {
		return 0, nil
	}
	return e.version, data
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

// builds reports whether op, whose base is the newest version, was resolved, or is a
// bump that needs not be. The caller holds the turn.
func (s *Store) builds(v *volume, op *chunk.Op) bool {
	if op.Kind == chunk.OpPut {
		return true
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	newest, _ := v.index.newest(makeKey(op.Block, op.Index), ^chunk.Version(0))
	put, ok := v.index.payload(newest)
	return ok && isBump(op) && !(newest.loc | put.loc).has(locDamaged|locTombstone)
}
