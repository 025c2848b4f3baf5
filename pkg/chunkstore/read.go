package chunkstore

import (
	"context"
	"fmt"
	"sync"

	"rozobox/pkg/chunk"
)

// Read implements chunk.Data. A range takes one read of the file, and one
// checksum for each 4 KiB of it.
func (s *Store) Read(ctx context.Context, term chunk.Term, gets []chunk.Get) ([]chunk.Chunk, error) {
	if err := checkGets(gets); err != nil {
		return nil, s.wrap(term.Volume, err)
	}
	v, err := s.enter(ctx, term)
	if err != nil {
		return nil, err
	}
	found := make([]chunk.Chunk, len(gets))
	total := 0
	for i := range gets {
		if err := ctx.Err(); err != nil {
			return nil, s.wrap(v.id, fmt.Errorf("read: %w: %w", chunk.ErrUnavailable, err))
		}
		if found[i], err = s.readChunk(v, &gets[i]); err != nil {
			return nil, err
		}
		total += len(gets[i].Dst)
	}
	s.counts.read(len(gets), total)
	return found, s.still(v, term)
}

func checkGets(gets []chunk.Get) error {
	if len(gets) > chunk.MaxOps {
		return fmt.Errorf("read of %d chunks: %w", len(gets), chunk.ErrInvalid)
	}
	total := 0
	for i := range gets {
		g := &gets[i]
		if g.Index >= chunk.MaxWidth || g.Block > maxBlock ||
			int64(g.Off)+int64(len(g.Dst)) > chunk.MaxChunkSize {
			return fmt.Errorf("read: block %d index %d, %d bytes at %d: %w",
				g.Block, g.Index, len(g.Dst), g.Off, chunk.ErrInvalid)
		}
		total += len(gets[i].Dst)
	}
	if total > chunk.MaxRequestBytes {
		return fmt.Errorf("read of %d bytes: %w", total, chunk.ErrInvalid)
	}
	return nil
}

func (s *Store) readChunk(v *volume, get *chunk.Get) (chunk.Chunk, error) {
	atMost := get.AtMost
	if atMost == 0 {
		atMost = ^chunk.Version(0)
	}
	s.mu.RLock()
	if s.closing.Load() {
		s.mu.RUnlock()
		return chunk.Chunk{}, s.closedError()
	}
	e, ok := v.index.newest(makeKey(get.Block, get.Index), atMost)
	if !ok {
		s.mu.RUnlock()
		return chunk.Chunk{State: chunk.Absent}, nil
	}
	h := s.acquire(v, e)
	s.mu.RUnlock()
	defer h.release()
	return chunk.Chunk{Version: e.version, State: s.readEntry(v, &h, get)}, nil
}

func (s *Store) readEntry(v *volume, h *reading, get *chunk.Get) chunk.ChunkState {
	length := int64(h.loc.length())
	off, n := int64(get.Off), int64(len(get.Dst))
	switch {
	case h.damaged() || !h.loc.has(locTombstone) && off+n > length:
		return chunk.Damaged
	case h.loc.has(locTombstone):
		return chunk.Tombstone
	case n == 0:
		return chunk.Present
	}
	if !s.readContent(v, h, off, get.Dst) {
		return chunk.Damaged
	}
	return chunk.Present
}

// reading is an entry whose files stay open until it is released.
type reading struct {
	entry
	seg  *segment
	put  entry    // that has the payload: of a bump, another
	from *segment // where that stands; nil: it is gone
}

// acquire keeps what a read of e needs; the caller holds mu.
func (s *Store) acquire(v *volume, e entry) reading {
	h := reading{entry: e, seg: s.segments[e.loc.slot()]}
	h.seg.acquire()
	var ok bool
	if h.put, ok = v.index.payload(e); ok {
		h.from = s.segments[h.put.loc.slot()]
		h.from.acquire()
	}
	return h
}

func (h *reading) release() {
	h.seg.release()
	if h.from != nil {
		h.from.release()
	}
}

// damaged reports whether it is known that the payload cannot be read.
func (h *reading) damaged() bool {
	return h.from == nil || h.loc.has(locDamaged) || h.put.loc.has(locDamaged)
}

// readContent reads and verifies a part of a payload that is not known to be damaged,
// and remembers damage.
func (s *Store) readContent(v *volume, h *reading, off int64, dst []byte) bool {
	bad := h.put
	switch {
	case h.loc.has(locBump) && h.seg.base(h.loc.offset()) != h.put.version:
		bad = h.entry // it says that its payload is that of another put, which is gone
	case s.readRange(v, h.put, h.from, off, dst):
		return true
	}
	s.markDamaged(v, bad)
	return false
}

// scratch holds a stored range while it is verified.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// readRange reads and verifies the part of a payload that dst needs. Header
// bytes in front of it make the seed: they need not be read.
func (s *Store) readRange(v *volume, e entry, g *segment, off int64, dst []byte) bool {
	sp := spanOf(int64(e.loc.length()), off, int64(len(dst)))
	p := scratch.Get().(*[]byte)
	defer scratch.Put(p)
	if need := headerSize + sp.size; int64(cap(*p)) < need {
		*p = make([]byte, need)
	}
	b := (*p)[:headerSize+sp.size]
	r := e.record(v.id)
	r.encode(b)
	if g.readAt(b[headerSize:], e.loc.offset()+headerSize+sp.off) != nil {
		return false
	}
	return sp.open(dst, b[headerSize:], off-sp.first*unitSize, payloadSeed(b))
}

// record returns the header that e was read from, without what the index
// does not keep.
func (e entry) record(id chunk.VolumeID) record {
	r := record{
		kind: kindPut, index: uint8(e.key), volume: id, block: e.key >> 8,
		version: e.version, length: e.loc.length(),
	}
	switch {
	case e.loc.has(locDrop):
		r.kind = kindDrop
	case e.loc.has(locTombstone):
		r.kind = kindTombstone
	case r.length == 0:
		r.flags = flagLost
	}
	return r
}

// intact reads and verifies a whole chunk.
func (s *Store) intact(v *volume, h *reading) bool {
	return h.loc.has(locTombstone) || !h.damaged() && s.readContent(v, h, 0, make([]byte, h.loc.length()))
}

// markDamaged remembers that a record fails its checksum, unless it has been
// replaced or moved meanwhile.
func (s *Store) markDamaged(v *volume, e entry) {
	s.mu.Lock()
	found := v.index.find(e)
	fresh := found != nil && (found.loc^e.loc)&^locBase == 0
	if fresh {
		v.index.spoil(e)
	}
	s.mu.Unlock()
	if fresh {
		s.logger.Warn("damaged chunk", "dir", s.dir, "volume", v.id,
			"block", e.key>>8, "index", uint8(e.key), "version", e.version)
	}
}
