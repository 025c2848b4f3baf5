package chunkstore

import (
	"errors"
	"fmt"
	"syscall"

	"rozobox/pkg/chunk"
)

// staged is a record that waits in a batch's buffer for its place in the log.
type staged struct {
	record
	low  bool     // a repair put at or below W
	seg  *segment // where it stands, once appended
	off  int64
	from int64 // in the buffer
}

func (r *staged) entry() entry {
	key := makeKey(r.block, r.index)
	var flags loc
	switch r.kind {
	case kindTombstone:
		flags = locTombstone
	case kindDrop:
		flags = locDrop
	case kindBump:
		flags = locBump
	}
	if r.flags&flagLost != 0 {
		flags |= locDamaged
	}
	return entry{key, r.version, makeLoc(r.seg.slot, r.off, r.length, flags)}
}

// append writes the records in b, which stand in it one after the other, to
// the log, in as few writes as segments allow. It returns how many are in the
// log; each of those has its seg and off. The caller holds the turn.
func (s *Store) append(b []byte, recs []staged) (done int, err error) {
	if err := s.writable(); err != nil {
		return 0, err
	}
	for done < len(recs) {
		n, err := s.appendSome(b, recs[done:])
		if err != nil {
			return done, s.appendError(err)
		}
		done += n
	}
	return done, nil
}

// appendSome writes those of recs that one segment takes, at least one.
func (s *Store) appendSome(b []byte, recs []staged) (int, error) {
	g, err := s.room(&recs[0])
	if err != nil {
		return 0, err
	}
	start, end, n := recs[0].from, g.size, 0
	s.heads = s.heads[:0]
	for n < len(recs) && s.fits(g, end, &recs[n]) {
		r := &recs[n]
		r.seg, r.off = g, end
		s.heads = append(s.heads, r.from-start)
		end += r.size()
		n++
	}
	before := g.size
	if err := g.write(b[start:start+end-before], s.heads); err != nil {
		return 0, err
	}
	s.physical.Add(end - before)
	s.touch(g)
	for i := range recs[:n] {
		g.note(&recs[i].record, recs[i].off, s.space.segment)
	}
	return n, nil
}

// fits reports whether a record may be added at the offset end. An empty
// segment takes any record.
func (s *Store) fits(g *segment, end int64, r *staged) bool {
	return (end == headerSize || end+r.size() <= s.space.segment) && (g.low || !r.low)
}

// room returns the active segment, a new one where r does not fit.
func (s *Store) room(r *staged) (*segment, error) {
	if g := s.active; g != nil && s.fits(g, g.size, r) {
		return g, nil
	}
	if err := s.closeActive(); err != nil {
		return nil, err
	}
	g, err := createSegment(s.fs, segmentName(s.nextID), s.nextID, s.id, s.seed, r.low)
	if err != nil {
		return nil, err
	}
	s.nextID++
	if err := s.fs.SyncDir(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", errBroken, err), g.file.Close())
	}
	if err := s.addSegment(g); err != nil {
		return nil, errors.Join(err, g.file.Close(), s.fs.Remove(g.name))
	}
	s.active = g
	s.physical.Add(g.size)
	s.measure()
	return g, nil
}

// closeActive ends the active segment with its table, and has it synced soon,
// so that what is not durable stays bounded.
func (s *Store) closeActive() error {
	g := s.active
	if g == nil {
		return nil
	}
	before := g.size
	if err := g.finish(); err != nil {
		return err
	}
	s.physical.Add(g.size - before)
	g.closed = true
	s.touch(g)
	s.active = nil
	s.syncs.wake()
	return nil
}

// touch lists g as written to since its last sync; the caller holds the turn.
func (s *Store) touch(g *segment) {
	if !g.dirty {
		g.dirty = true
		g.acquire() // compaction may remove it first
		s.dirty = append(s.dirty, g)
	}
}

func (s *Store) touchAll(list []*segment) {
	for _, g := range list {
		s.touch(g)
	}
}

// appendError turns the file's error into the one that the caller acts on. A
// full disk loses nothing: the file ends where it did. Any other error leaves
// open what the disk has, so that the store takes nothing more.
func (s *Store) appendError(err error) error {
	noSpace := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		errors.Is(err, chunk.ErrNoSpace)
	if noSpace && !errors.Is(err, errBroken) {
		s.compact.wake()
		return fmt.Errorf("%w: %w", chunk.ErrNoSpace, err)
	}
	s.fail(err)
	return s.writable()
}

// end returns the position behind the last record; the caller holds the turn.
func (s *Store) end() position {
	if s.active == nil {
		return at(s.nextID, 0)
	}
	return at(s.active.id, s.active.size)
}

// logWatermark notes W in the log; the caller holds the turn.
func (s *Store) logWatermark(v *volume, w chunk.Version) error {
	r := staged{record: record{
		kind: kindWatermark, volume: v.id, version: w, synced: position(s.synced.Load()),
	}}
	b := make([]byte, headerSize)
	r.encode(b)
	recs := []staged{r}
	if _, err := s.append(b, recs); err != nil {
		return err
	}
	s.publish(v, recs)
	return nil
}

// publish makes appended records of a volume visible; the caller holds the
// turn.
func (s *Store) publish(v *volume, recs []staged) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range recs {
		switch r := &recs[i]; r.kind {
		case kindWatermark:
			v.w = max(v.w, r.version)
			if len(v.waiting)+len(v.fresh) > 0 {
				poke(s.syncs.owed)
			}
		case kindPut, kindTombstone, kindBump:
			r.seg.puts++
			s.put(v, r.entry())
		case kindDrop:
			s.drop(v, r.entry())
		}
	}
}
