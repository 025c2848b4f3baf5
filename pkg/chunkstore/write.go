package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"rozobox/pkg/chunk"
)

// Write implements chunk.Data. Payloads are copied and summed before the turn
// is taken; under it each operation is decided, and what is left of the batch
// goes to the log in one write.
func (s *Store) Write(ctx context.Context, term chunk.Term, ops []chunk.Op) (chunk.Ack, error) {
	if err := checkOps(ops); err != nil {
		return chunk.Ack{}, s.wrap(term.Volume, err)
	}
	others, sync := chunk.SplitSync(ops)
	ack, err := s.write(ctx, term, others)
	if err != nil || !sync {
		return ack, err
	}
	synced, err := s.Sync(ctx, term)
	if err == nil {
		ack.FreeBytes = synced.FreeBytes
	}
	if err != nil || ack.Errs != nil {
		ack.Errs = append(slices.Grow(ack.Errs, len(ops))[:len(others)], err)
	}
	return ack, nil
}

// write does all but an OpSync.
func (s *Store) write(ctx context.Context, term chunk.Term, ops []chunk.Op) (chunk.Ack, error) {
	v, _, err := s.admit(term) // before any work for it
	if err != nil {
		return chunk.Ack{}, err
	}
	b := newBatch(s, v, ops)
	defer b.release()
	if err := s.takeRoom(ctx, int64(len(b.buf))); err != nil {
		return chunk.Ack{}, err
	}
	errs, err := s.writeBatch(term, b)
	s.giveTurn()
	if err != nil {
		return chunk.Ack{}, err
	}
	s.counts.wrote(b.ops, errs)
	return chunk.Ack{Instance: s.instance, FreeBytes: s.free(), Errs: errs, Olds: b.answered()}, nil
}

// checkOps validates everything that does not depend on what the node holds.
func checkOps(ops []chunk.Op) error {
	if len(ops) > chunk.MaxOps {
		return fmt.Errorf("write of %d operations: %w", len(ops), chunk.ErrInvalid)
	}
	others, sync := chunk.SplitSync(ops)
	if sync {
		if err := checkSync(&ops[len(others)]); err != nil {
			return err
		}
	}
	ops = others
	total := 0
	for i := range ops {
		if err := checkOp(&ops[i]); err != nil {
			return fmt.Errorf("write: operation %d: %w", i, err)
		}
		total += len(ops[i].Data)
	}
	if total > chunk.MaxRequestBytes {
		return fmt.Errorf("write of %d bytes: %w", total, chunk.ErrInvalid)
	}
	return nil
}

// checkSync refuses a sync that names anything to be synced.
func checkSync(op *chunk.Op) error {
	if op.Block != 0 || op.Index != 0 || op.Version != 0 || op.Repair || len(op.Data)+int(op.Off) > 0 || op.Base != 0 ||
		op.Instance != (chunk.InstanceID{}) {
		return fmt.Errorf("sync of a block: %w", chunk.ErrInvalid)
	}
	return nil
}

func checkOp(op *chunk.Op) error {
	n, index := len(op.Data), op.Index
	if op.Kind == chunk.OpDrop && index == chunk.AllIndexes {
		index = 0
	}
	switch {
	case op.Kind < chunk.OpPut || op.Kind > chunk.OpSwap:
		return fmt.Errorf("kind %d: %w", op.Kind, chunk.ErrInvalid)
	case !validChunk(op.Block, index, op.Version):
		return fmt.Errorf("block %d index %d version %s: %w", op.Block, op.Index, op.Version, chunk.ErrInvalid)
	case op.Kind == chunk.OpSwap:
		return checkSwap(op)
	case op.Instance != chunk.InstanceID{}:
		return fmt.Errorf("instance without a swap: %w", chunk.ErrInvalid)
	case op.Kind == chunk.OpPatch:
		return checkPatch(op)
	case op.Base != 0 || op.Off != 0:
		return fmt.Errorf("base %s and offset %d without a patch: %w", op.Base, op.Off, chunk.ErrInvalid)
	case (op.Kind == chunk.OpPut) != (n > 0) || n%chunk.ChunkAlign != 0 || n > chunk.MaxChunkSize:
		return fmt.Errorf("payload of %d bytes: %w", n, chunk.ErrInvalid)
	}
	return nil
}

// batch is a Write on its way: its records one after the other in buf, behind
// room for a watermark.
type batch struct {
	ops    []chunk.Op  // with patches and swaps resolved
	own    []chunk.Op  // the room for those
	data   []byte      // the payloads that they came to
	olds   []chunk.Old // what swaps replace; nil where there is none
	buf    []byte
	recs   []staged // those decided for and not yet in the log
	opOf   []int    // which op each of recs comes from
	blocks map[uint64]struct{}
	from   int64 // in buf: the next op's record
	to     int64 // in buf: behind the last of recs
	staged int64 // bytes of recs
	errs   []error
}

var batches = sync.Pool{New: func() any { return &batch{blocks: map[uint64]struct{}{}} }}

// keptBuffer bounds what an idle batch keeps: the largest request and its headers.
const keptBuffer = chunk.MaxRequestBytes + chunk.MaxRequestBytes/8

func newBatch(s *Store, v *volume, ops []chunk.Op) *batch {
	b := batches.Get().(*batch)
	b.ops, b.from, b.to = ops, headerSize, headerSize
	s.resolve(v, b)
	ops = b.ops
	size := int64(headerSize)
	for i := range ops {
		size += headerSize + storedSize(int64(len(ops[i].Data)))
	}
	if int64(cap(b.buf)) < size {
		b.buf = make([]byte, size)
	}
	b.buf = b.buf[:size]
	off, synced := int64(headerSize), position(s.synced.Load())
	for i := range ops {
		r := opRecord(&ops[i], v.id)
		r.synced = synced
		p := b.buf[off : off+r.size()]
		r.encode(p)
		encodePayload(p[headerSize:], ops[i].Data, payloadSeed(p))
		off += r.size()
	}
	return b
}

func opRecord(op *chunk.Op, id chunk.VolumeID) record {
	kinds := [...]kind{chunk.OpPut: kindPut, chunk.OpTombstone: kindTombstone, chunk.OpDrop: kindDrop,
		chunk.OpPatch: kindPut, chunk.OpSwap: kindPut}
	r := record{
		kind: kinds[op.Kind], index: op.Index, volume: id, block: op.Block,
		version: op.Version, length: uint32(len(op.Data)),
	}
	if isBump(op) {
		r.kind = kindBump
	}
	return r
}

// fail notes the refusal of an operation.
func (b *batch) fail(op int, err error) {
	if b.errs == nil {
		b.errs = make([]error, len(b.ops))
	}
	b.errs[op] = err
}

func (b *batch) release() {
	b.ops, b.errs, b.olds = nil, nil, nil
	clear(b.own)
	b.reset()
	if cap(b.buf) <= keptBuffer {
		batches.Put(b)
	}
}

func (b *batch) reset() {
	clear(b.recs)
	b.recs, b.opOf, b.staged = b.recs[:0], b.opOf[:0], 0
	clear(b.blocks)
}

// stage moves a record down to the others that go to the log.
func (b *batch) stage(r record, low bool, op int) {
	n := r.size()
	if b.to != b.from {
		copy(b.buf[b.to:], b.buf[b.from:b.from+n])
	}
	b.add(r, low, op)
	b.blocks[r.block] = struct{}{}
}

// stageWatermark puts W in front of everything.
func (b *batch) stageWatermark(id chunk.VolumeID, w chunk.Version, synced position) {
	r := record{kind: kindWatermark, volume: id, version: w, synced: synced}
	r.encode(b.buf[:headerSize])
	b.to = 0
	b.add(r, false, noOp)
}

const noOp = -1

func (b *batch) add(r record, low bool, op int) {
	b.recs = append(b.recs, staged{record: r, low: low, from: b.to})
	b.opOf = append(b.opOf, op)
	b.to += r.size()
	b.staged += r.size()
}

// writeBatch decides and appends; the caller holds the turn.
func (s *Store) writeBatch(term chunk.Term, b *batch) ([]error, error) {
	v, behind, err := s.admit(term)
	if err != nil {
		return nil, err
	}
	if err := s.writable(); err != nil {
		return nil, err
	}
	if v.superblock.Deleted {
		return nil, s.wrap(v.id, fmt.Errorf("write to a deleted volume: %w", chunk.ErrInvalid))
	}
	if behind {
		b.stageWatermark(v.id, term.Watermark, position(s.synced.Load()))
	}
	w := max(v.w, term.Watermark)
	limit := s.limit.Load()
	for i := range b.ops {
		r := opRecord(&b.ops[i], v.id)
		if _, again := b.blocks[r.block]; again {
			s.flushBatch(v, b) // decided by what the index holds then
		}
		if keep, low, err := s.decide(v, &b.ops[i], w, limit-b.staged); err != nil {
			b.fail(i, s.opError(&b.ops[i], err))
		} else if keep {
			if r.kind == kindBump {
				s.stand(v, &r)
				r.encode(b.buf[b.from:])
			}
			b.stage(r, low, i)
		}
		b.from += r.size()
	}
	s.flushBatch(v, b)
	return summary(b.errs)
}

// summary returns one error for the whole where the store failed before any
// operation was done.
func summary(errs []error) ([]error, error) {
	for _, err := range errs {
		if !errors.Is(err, chunk.ErrReadOnly) {
			return errs, nil
		}
	}
	if len(errs) > 0 {
		return nil, errs[0]
	}
	return nil, nil
}

// flushBatch appends what is staged and publishes it.
func (s *Store) flushBatch(v *volume, b *batch) {
	if len(b.recs) == 0 {
		return
	}
	done, err := s.append(b.buf, b.recs)
	s.publish(v, b.recs[:done])
	for _, op := range b.opOf[done:] {
		if op != noOp { // as in enter: a card may fail to note W
			b.fail(op, s.opError(&b.ops[op], err))
		}
	}
	b.reset()
}

func (s *Store) opError(op *chunk.Op, err error) error {
	return fmt.Errorf("chunkstore %s: block %d index %d version %s: %w",
		s.dir, op.Block, op.Index, op.Version, err)
}

// decide says whether an operation goes to the log. nil without keep means
// that it is acknowledged without effect. The caller holds the turn.
func (s *Store) decide(v *volume, op *chunk.Op, w chunk.Version, limit int64) (keep, low bool, err error) {
	key := makeKey(op.Block, op.Index)
	switch {
	case op.Kind == chunk.OpDrop:
		return s.decideDrop(v, op, key)
	case op.Kind == chunk.OpSwap: // it could not be resolved
		return false, false, s.whyNoSwap(v, op)
	}
	latest := s.latest(v, key)
	if latest >= op.Version && s.holdsIntact(v, key, op.Version) {
		return false, false, nil
	}
	if op.Version <= w {
		if !op.Repair {
			return false, false, chunk.ErrSettled
		}
		s.mu.RLock()
		newest, ok := v.index.newest(key, w)
		s.mu.RUnlock()
		if ok && newest.version > op.Version {
			return false, false, nil
		}
		low = true
	}
	if op.Base != 0 && (latest != op.Base || !s.builds(v, op)) {
		return false, false, chunk.ErrNoBase
	}
	if latest > op.Version && s.severs(v, op, op.Index) {
		return false, false, errSevers
	}
	size := headerSize + storedSize(int64(len(op.Data)))
	if !s.admits(limit, size, claimOf(op)) {
		return false, false, chunk.ErrNoSpace
	}
	return true, low, nil
}

// latest returns the newest version of a chunk, 0 where there is none.
func (s *Store) latest(v *volume, key uint64) chunk.Version {
	s.mu.RLock()
	defer s.mu.RUnlock()
	newest, _ := v.index.newest(key, ^chunk.Version(0))
	return newest.version
}

// holdsIntact reports whether the node has this version. It reads what it
// has: a copy that is acknowledged once more must be there.
func (s *Store) holdsIntact(v *volume, key uint64, version chunk.Version) bool {
	s.mu.RLock()
	found := v.index.version(key, version)
	if found == nil || found.loc.has(locBase) {
		s.mu.RUnlock()
		return false
	}
	h := s.acquire(v, *found)
	s.mu.RUnlock()
	defer h.release()
	return s.intact(v, &h)
}

func (s *Store) decideDrop(v *volume, op *chunk.Op, key uint64) (keep, low bool, err error) {
	first, last := op.Index, op.Index
	if op.Index == chunk.AllIndexes {
		first, last = 0, chunk.MaxWidth-1
	}
	for i := first; i <= last; i++ {
		if s.severs(v, op, i) {
			return false, false, errSevers
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return v.hides(key, op.Version), false, nil
}
