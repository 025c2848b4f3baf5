package chunkstore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"rozobox/pkg/chunk"
)

// load reads what the directory holds and brings it into order.
func (s *Store) load(opts *Options, names []string) error {
	if err := s.loadVolumes(names); err != nil {
		return err
	}
	l := loader{s: s}
	if err := l.openSegments(names); err != nil {
		return err
	}
	var err error
	if s.space, err = makeSpace(opts, s.physical.Load()); err != nil {
		return err
	}
	s.measure()
	l.scanOpen()
	l.replay()
	l.cutBumps()
	resets := l.finishVolumes()
	s.compact.suspects = l.suspects()
	if err := l.mend(resets); err != nil {
		s.fail(fmt.Errorf("recovery: %w", err)) // what was read is still served
	}
	return nil
}

// loadVolumes reads the grants and superblocks.
func (s *Store) loadVolumes(names []string) error {
	for _, name := range names {
		id, ok := parseVolumeName(name)
		if !ok {
			continue
		}
		f, err := s.fs.Open(name, false)
		if err != nil {
			return err
		}
		v := newVolume(id)
		v.file = f
		s.volumes[id] = v
		s.loadVolume(v)
	}
	return nil
}

func (s *Store) loadVolume(v *volume) {
	g, gw, gbad, gerr := readSlots(v.file, grantsAt, grantSlot, grantMagic, v.id)
	sb, sw, sbad, serr := readSlots(v.file, superblocksAt, superblockSlot, superblockMagic, v.id)
	if gbad || sbad {
		s.logger.Warn("damaged slot; the other one counts", "file", volumeName(v.id),
			"grant", gerr, "superblock", serr)
	}
	if gw >= 0 {
		v.epoch, v.nonce = g.epoch, g.number
	}
	if sw < 0 {
		return
	}
	v.superblock = chunk.Superblock{
		Volume: v.id, Number: sb.number, Epoch: sb.epoch, Name: sb.name, Deleted: sb.deleted, Body: sb.body,
	}
	if !sb.deleted {
		s.names[sb.name] = v.id
	}
}

// loader replays the log.
type loader struct {
	s        *Store
	open     map[*segment]*openSegment // those without a seal
	evidence position                  // the log was durable up to here, at least
	gapped   map[*segment]bool         // those with gaps, to be written anew
	bumps    []staged                  // those that may have been torn from their payload
	lowered  map[*volume]chunk.Version // W in front of the first gap
}

// openSegment is a segment that was not sealed when the store stopped.
type openSegment struct {
	recs []staged
	scanned
}

// openSegments opens all segment files and removes unfinished copies.
func (l *loader) openSegments(names []string) error {
	slices.Sort(names) // the hexadecimal ids in the names have one length
	for _, name := range names {
		if strings.HasPrefix(name, segmentPrefix) && strings.HasSuffix(name, rewriteSuffix) {
			l.s.fs.Remove(name) // where that fails, it is replaced later
			continue
		}
		id, ok := parseSegmentName(name)
		if !ok {
			continue
		}
		f, err := l.s.fs.Open(name, false)
		if err != nil {
			return err
		}
		g := &segment{id: id, seed: l.s.seed, name: name, file: f, closed: true}
		g.refs.Store(1)
		if g.size, err = f.Size(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := l.s.addSegment(g); err != nil {
			return err
		}
		l.s.physical.Add(g.size)
		l.s.nextID = max(l.s.nextID, id+1)
	}
	return nil
}

// scanOpen reads the headers of the segments that were not sealed. Their
// records say up to where the log was durable when they were written; what
// stands behind that must be verified with its payload.
func (l *loader) scanOpen() {
	l.open = map[*segment]*openSegment{}
	for _, g := range l.s.segmentsInOrder() {
		if _, sealed := g.readSeal(g.size); sealed {
			g.durable = true
			continue
		}
		o := &openSegment{}
		o.scanned = g.scan(g.size, func(r record, off int64) {
			o.recs = append(o.recs, staged{record: r, seg: g, off: off})
			l.evidence = max(l.evidence, r.synced)
		})
		l.open[g] = o
	}
}

// replay applies all records in the order in which they were written.
func (l *loader) replay() {
	l.gapped, l.lowered = map[*segment]bool{}, map[*volume]chunk.Version{}
	segments := l.s.segmentsInOrder()
	for i, g := range segments {
		if o := l.open[g]; o != nil {
			l.replayOpen(g, o, i == len(segments)-1)
		} else {
			l.replaySealed(g)
		}
	}
}

func (l *loader) replaySealed(g *segment) {
	end, _ := g.readSeal(g.size)
	s := g.each(end, func(r record, off int64) { l.apply(&staged{record: r, seg: g, off: off}) })
	g.low, g.framed = s.low, g.size-end-headerSize
	if len(s.gaps) > 0 || s.end < end {
		l.gap(g, true)
	}
}

// replayOpen applies the records of a segment that was not sealed. A record
// that fails its checksum behind the evidence was torn when power failed.
func (l *loader) replayOpen(g *segment, o *openSegment, last bool) {
	g.low = o.low
	gaps := o.gaps
	before := func(off int64) {
		for ; len(gaps) > 0 && gaps[0].to <= off; gaps = gaps[1:] {
			l.gap(g, at(g.id, gaps[0].from) < l.evidence)
		}
	}
	for i := range o.recs {
		r := &o.recs[i]
		before(r.off)
		if at(g.id, r.off) >= l.evidence && !l.whole(r) {
			l.gap(g, false)
			continue
		}
		l.apply(r)
		if r.kind == kindBump && at(g.id, r.off) >= l.evidence {
			l.bumps = append(l.bumps, *r)
		}
	}
	before(g.size)
	// The last segment ends where its last record does. One before it ends
	// with its table, or has lost its end.
	if !last && !o.closed {
		l.gap(g, at(g.id, o.end) < l.evidence)
	}
}

// whole verifies a record's payload.
func (l *loader) whole(r *staged) bool {
	if r.payload() == 0 {
		return true
	}
	e := r.entry()
	v := volume{id: r.volume}
	return l.s.readRange(&v, e, r.seg, 0, make([]byte, r.length))
}

// apply does what the record did when it was written.
func (l *loader) apply(r *staged) {
	if r.kind.isVersion() {
		r.seg.puts++
	}
	v := l.volume(r.volume)
	if v.superblock.Deleted {
		return
	}
	v.lastEpoch = max(v.lastEpoch, r.version.Epoch())
	switch r.kind {
	case kindWatermark:
		v.w = max(v.w, r.version)
	case kindReset:
		v.w = r.version
	case kindPut, kindTombstone, kindBump:
		l.s.hold(v, r.entry())
	case kindDrop:
		l.s.drop(v, r.entry())
	}
}

func (l *loader) volume(id chunk.VolumeID) *volume {
	v := l.s.volumes[id]
	if v == nil { // its file is gone
		v = newVolume(id)
		l.s.volumes[id] = v
		if len(l.gapped) > 0 {
			l.lowered[v] = 0
		}
	}
	return v
}

// gap notes that the log has lost records here. What W says holds only as far
// as the log is intact, so that every volume falls back to its last W before
// the gap. proven says that the records had been durable: then also puts below
// W may be gone, where the segment has such.
func (l *loader) gap(g *segment, proven bool) {
	l.gapped[g] = true
	for _, v := range l.s.volumes {
		w := v.w
		if proven && g.low {
			w = 0
		}
		if low, ok := l.lowered[v]; !ok || w < low {
			l.lowered[v] = w
		}
	}
}

// finishVolumes settles what the replay has left open.
func (l *loader) finishVolumes() (resets []*volume) {
	for _, v := range l.s.volumes {
		if low, ok := l.lowered[v]; ok && low < v.w {
			v.w = low
			resets = append(resets, v)
		}
		v.wSynced, v.recovered = v.w, v.w
		if v.epoch == 0 && v.lastEpoch > 0 {
			// The grant is gone: nobody knows its nonce, so that only a
			// higher epoch can be granted.
			v.epoch, v.nonce = v.lastEpoch, rand.Uint64()
		}
		l.collectAll(v)
	}
	return resets
}

// collectAll frees what is superseded; all that was read will be durable
// before anybody can ask.
func (l *loader) collectAll(v *volume) {
	var last entry // the last one that is no drop, with the damage of its payload
	var keys []uint64
	v.index.ascend(entry{}, func(e *entry) bool {
		if e.loc.has(locDrop) {
			return true
		}
		again := e.key == last.key && last.version != 0
		if again && (len(keys) == 0 || keys[len(keys)-1] != last.key) {
			keys = append(keys, last.key)
		}
		if e.loc.has(locBump) && (!again || last.loc.has(locDamaged|locTombstone)) {
			e.loc |= locDamaged
		}
		last = *e
		return true
	})
	for _, key := range keys {
		if !l.s.collect(v, key, ^position(0)) {
			v.waiting[key] = 0
		}
	}
}

// mend makes durable what was read, ends the segments that were open, and
// writes those with gaps anew, so that the next start finds nothing amiss.
func (l *loader) mend(resets []*volume) error {
	s := l.s
	for _, v := range s.volumesInOrder() {
		if v.file != nil {
			if err := v.file.Sync(); err != nil {
				return fmt.Errorf("%s: %w", volumeName(v.id), err)
			}
		}
	}
	if len(l.open) == 0 && len(l.gapped) == 0 {
		return nil
	}
	if err := s.fs.SyncDir(); err != nil {
		return err
	}
	for _, g := range s.segmentsInOrder() {
		if o := l.open[g]; o != nil && !l.gapped[g] {
			if err := s.endSegment(g, o); err != nil {
				return err
			}
		}
	}
	if err := s.logResets(resets); err != nil {
		return err
	}
	for _, g := range s.segmentsInOrder() {
		if l.gapped[g] {
			s.logger.Warn("a part of the log was lost", "dir", s.dir, "file", g.name)
			if err := s.rewrite([]*segment{g}, func() error { return nil }); err != nil {
				return err
			}
		}
	}
	return nil
}

// endSegment cuts off what is torn and ends the segment as a clean stop does.
// A table that is there stays: without it the segment would look cut off, if
// power failed now.
func (s *Store) endSegment(g *segment, o *openSegment) error {
	before := g.size
	if g.size = o.end + o.framed; g.size < headerSize {
		s.physical.Add(-before)
		return s.discard(g)
	}
	if err := g.file.Truncate(g.size); err != nil {
		return fmt.Errorf("%s: %w", g.name, err)
	}
	g.framed = o.framed
	if !o.closed {
		g.table = []byte{}
		for i := range o.recs {
			g.note(&o.recs[i].record, o.recs[i].off, s.space.segment)
		}
		if err := g.finish(); err != nil {
			return err
		}
	}
	if err := g.sealDurably(); err != nil {
		return err
	}
	s.physical.Add(g.size - before)
	return nil
}

// logResets makes durable that the W of these volumes has been lowered.
func (s *Store) logResets(volumes []*volume) error {
	var recs []staged
	b := make([]byte, len(volumes)*headerSize)
	for i, v := range volumes {
		r := record{kind: kindReset, volume: v.id, version: v.w}
		r.encode(b[i*headerSize:])
		recs = append(recs, staged{record: r, from: int64(i) * headerSize})
	}
	if _, err := s.append(b, recs); err != nil {
		return err
	}
	return s.finishLog()
}
