package chunkstore

import (
	"errors"
	"fmt"
	"slices"

	"rozobox/pkg/chunk"
)

// copied is the copy of a run of segments.
type copied struct {
	to   *segment // nil where nothing had to be copied
	recs []copiedRecord
	head []int64 // offsets of the headers in buf
	*copyBuffers
}

// copyBuffers are what one copy leaves to the next.
type copyBuffers struct {
	buf     []byte // records to be written
	payload []byte // of a record that is verified
}

// copiedRecord is where a record was and where it is now. A drop that hides
// nothing any more is not copied: it has no new place.
type copiedRecord struct {
	old    staged
	lost   bool
	off    int64
	gone   bool
	length uint32
}

// copyBuffer is how much is copied with one write.
const copyBuffer = 256 << 10

// copyRun writes what is still wanted of the run into a new file, durably.
func (s *Store) copyRun(run []*segment) (*copied, error) {
	wanted, err := s.wanted(run)
	if err != nil {
		return nil, err
	}
	low := false
	for _, g := range run {
		low = low || g.low
	}
	if !slices.ContainsFunc(wanted, func(r copiedRecord) bool { return !r.gone }) {
		return &copied{recs: wanted}, nil
	}
	name := run[0].name + rewriteSuffix
	s.fs.Remove(name) // what an earlier attempt has left
	to, err := createSegment(s.fs, name, run[0].id, s.id, s.seed, low)
	if err != nil {
		return nil, err
	}
	c := &copied{to: to, copyBuffers: &s.compact.buffers}
	c.buf = c.buf[:0]
	for i := range wanted {
		if err := c.copy(&wanted[i], s.space.segment); err != nil {
			return nil, errors.Join(err, c.abandon(s.fs))
		}
	}
	for _, step := range []func() error{c.flush, to.finish, to.sealDurably} {
		if err := step(); err != nil {
			return nil, errors.Join(err, c.abandon(s.fs))
		}
	}
	return c, nil
}

// wanted lists what must be copied, in order: what the index points to, the
// last W of each volume, and all resets. A W alone is worth no copy where a later
// record has a higher one: should the log get a gap between the two, w falls back
// to one that is still lower.
func (s *Store) wanted(run []*segment) ([]copiedRecord, error) {
	hidesNothing := s.allLiveBelow(run[0].id)
	var list []copiedRecord
	lastW := map[chunk.VolumeID]int{}
	for _, g := range run {
		err := g.records(func(r record, off int64) {
			c := copiedRecord{old: staged{record: r, seg: g, off: off}, length: r.length}
			if !s.wants(&c.old) {
				return
			}
			c.gone = r.kind == kindDrop && hidesNothing
			if r.kind == kindWatermark {
				if i, ok := lastW[r.volume]; ok {
					list[i].gone = true
				}
				lastW[r.volume] = len(list)
			}
			list = append(list, c)
		})
		if err != nil {
			return nil, err
		}
	}
	if !slices.ContainsFunc(list, func(r copiedRecord) bool { return !r.gone && !s.surpassed(&r.old) }) {
		for i := range list {
			list[i].gone = true
		}
	}
	return list, nil
}

// surpassed reports whether r is a W and the log has a higher one of its volume:
// W only rises, so that one comes later, unless a reset stands between.
func (s *Store) surpassed(r *staged) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.volumes[r.volume]
	return r.kind == kindWatermark && v != nil && r.version < v.w
}

// allLiveBelow reports whether no segment before id has a put that only a
// later record hides.
func (s *Store) allLiveBelow(id uint32) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, g := range s.segments {
		if g != nil && g.id < id && g.puts != g.livePuts {
			return false
		}
	}
	return true
}

func (s *Store) wants(r *staged) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.volumes[r.volume]
	if v == nil || v.superblock.Deleted {
		return false
	}
	if r.kind == kindWatermark || r.kind == kindReset {
		return true
	}
	e := r.entry()
	found := v.index.find(e)
	return found != nil && found.loc.slot() == e.loc.slot() && found.loc.offset() == e.loc.offset()
}

// records calls fn for the records of a finished segment, in order.
func (g *segment) records(fn func(r record, off int64)) error {
	size, err := g.file.Size()
	if err != nil {
		return fmt.Errorf("%s: %w: %w", g.name, errUnreadable, err)
	}
	end, sealed := g.readSeal(size)
	if !sealed {
		end = size
	}
	g.each(end, fn)
	return nil
}

// copy adds one record to the copy. A payload that fails its checksum is left
// behind, but not the knowledge that there was one.
func (c *copied) copy(r *copiedRecord, segmentSize int64) error {
	if r.gone {
		c.recs = append(c.recs, *r)
		return nil
	}
	rec, from := r.old.record, len(c.buf)
	rec.synced = 0
	if rec.kind == kindBump {
		if rec.base = r.old.seg.base(r.old.off); rec.base == 0 { // tables do not have it
			return fmt.Errorf("%w: %s: bump at %d", errUnreadable, r.old.seg.name, r.old.off)
		}
	}
	c.buf = append(c.buf, make([]byte, rec.size())...)
	b := c.buf[from:]
	rec.encode(b)
	if rec.payload() > 0 {
		seed := payloadSeed(b)
		stored := b[headerSize:]
		if err := r.old.seg.readAt(stored, r.old.off+headerSize); err != nil {
			return fmt.Errorf("%w: %w", errUnreadable, err)
		}
		sp := spanOf(int64(rec.length), 0, int64(rec.length))
		c.payload = slices.Grow(c.payload[:0], int(rec.length))[:rec.length]
		if !sp.open(c.payload, stored[:sp.size], 0, seed) {
			rec.length, rec.flags, r.lost = 0, rec.flags|flagLost, true
			rec.encode(b)
			c.buf = c.buf[:from+headerSize]
		}
	}
	r.off, r.length = c.to.size+int64(from), rec.length
	c.head = append(c.head, int64(from))
	c.recs = append(c.recs, *r)
	c.to.note(&rec, r.off, segmentSize)
	if rec.kind == kindWatermark || rec.kind == kindReset {
		c.to.kept += rec.size()
	}
	if rec.kind.isVersion() {
		c.to.puts++
	}
	if len(c.buf) >= copyBuffer {
		return c.flush()
	}
	return nil
}

func (c *copied) flush() error {
	if len(c.buf) == 0 {
		return nil
	}
	err := c.to.write(c.buf, c.head)
	c.buf, c.head = c.buf[:0], c.head[:0]
	return err
}

func (c *copied) abandon(fs FS) error {
	if c.to == nil {
		return nil
	}
	return errors.Join(c.to.file.Close(), fs.Remove(c.to.name))
}

// swapStep bounds for how long swap keeps readers out.
const swapStep = 256

// swap points the index to the copies of the records that are still live.
func (s *Store) swap(c *copied) {
	for recs := c.recs; len(recs) > 0; {
		n := min(swapStep, len(recs))
		s.mu.Lock()
		for i := range recs[:n] {
			s.swapOne(c.to, &recs[i])
		}
		s.mu.Unlock()
		recs = recs[n:]
	}
}

func (s *Store) swapOne(to *segment, r *copiedRecord) {
	if r.old.kind == kindWatermark || r.old.kind == kindReset {
		return
	}
	v, old := s.volumes[r.old.volume], r.old.entry()
	found := v.index.find(old)
	if found == nil || found.loc.slot() != old.loc.slot() || found.loc.offset() != old.loc.offset() {
		return
	}
	if r.gone {
		s.forget(v, *found)
		return
	}
	moved := staged{record: r.old.record, seg: to, off: r.off}
	moved.length = r.length
	e := moved.entry()
	e.loc |= found.loc & (locDamaged | locBase)
	if r.lost {
		s.forget(v, *found)
		s.hold(v, e)
		v.index.spoil(e)
		return
	}
	s.account(v, *found, -1)
	found.loc = e.loc
	s.account(v, e, 1)
}
