package chunkstore

import (
	"rozobox/pkg/chunk"
)

// volume is what the node knows of one volume.
type volume struct {
	id     chunk.VolumeID
	office chan struct{} // a token; held across grants and superblock writes
	file   File          // nil until the first grant; owned by the holder of office

	// Guarded by Store.mu. The term and w change under turn too, so that its
	// holder may rely on them.
	epoch      uint32
	nonce      uint64
	superblock chunk.Superblock
	w          chunk.Version // the last W in the log
	wSynced    chunk.Version // the last W in the durable part of the log
	recovered  chunk.Version // the last W that the start has found
	index      index
	lastEpoch  uint32                   // of the versions that the replay has seen
	versions   uint64                   // versions held, drops and bases not counted
	bumps      uint64                   // of these, those whose payload is that of another
	stored     uint64                   // payload bytes of the newest version of each chunk
	fresh      []superseding            // written since the last sync
	waiting    map[uint64]chunk.Version // chunks whose older versions wait for W, and for which
	scratch    []entry                  // of collect
}

// superseding is a version of a chunk that has others.
type superseding struct {
	key     uint64
	version chunk.Version
}

func newVolume(id chunk.VolumeID) *volume {
	v := &volume{id: id, office: make(chan struct{}, 1), waiting: map[uint64]chunk.Version{}}
	v.office <- struct{}{}
	return v
}

// check compares a term with what was granted.
func (v *volume) check(t chunk.Term) error {
	switch {
	case v.epoch == 0 || t.Epoch > v.epoch:
		return chunk.ErrNotGranted
	case t.Epoch < v.epoch || t.Nonce != v.nonce:
		return chunk.ErrDeposed
	}
	return nil
}

func (v *volume) newestLength(key uint64) uint64 {
	e, _ := v.index.newest(key, ^chunk.Version(0))
	return uint64(e.loc.length())
}

// hold puts an entry into the index, in place of one of the same identity.
func (s *Store) hold(v *volume, e entry) {
	newest, _ := v.index.newest(e.key, ^chunk.Version(0))
	if !e.loc.has(locDrop) && e.version >= newest.version {
		v.stored += uint64(e.loc.length()) - uint64(newest.loc.length())
	}
	s.account(v, e, 1)
	if old, replaced := v.index.insert(e); replaced {
		s.account(v, old, -1)
	}
}

// forget takes an entry out of the index.
func (s *Store) forget(v *volume, e entry) {
	before := v.newestLength(e.key)
	v.index.remove(e)
	v.stored += v.newestLength(e.key) - before
	s.account(v, e, -1)
}

func (s *Store) account(v *volume, e entry, sign int) {
	g := s.segments[e.loc.slot()]
	g.live += int64(sign) * e.size()
	g.entries += sign
	s.held.Add(int64(sign) * e.size())
	if !e.loc.has(locDrop) {
		g.livePuts += sign
	}
	if !e.loc.has(locDrop | locBase) {
		v.versions += uint64(sign)
	}
	if e.loc.has(locBump) {
		v.bumps += uint64(sign)
	}
}

// put makes a version visible, and remembers the chunk if that, or W, may
// free an older one.
func (s *Store) put(v *volume, e entry) {
	s.hold(v, e)
	if v.index.versions(e.key) > 1 {
		v.fresh = append(v.fresh, superseding{e.key, e.version})
	}
}

// drop removes what stands before it of one chunk, or of all of a block, and
// is itself remembered, as long as the log holds a record that it hides.
func (s *Store) drop(v *volume, e entry) {
	first, last := e.key, e.key
	if uint8(e.key) == chunk.AllIndexes {
		first = e.key &^ 0xff
	}
	for _, o := range v.index.between(nil, first, last) {
		if o.version <= e.version {
			s.forget(v, o)
		}
	}
	s.hold(v, e)
}

// hides reports whether a drop of e would change anything, now or after a
// restart. What is in the log but not in the index is hidden by something that
// is in the index.
func (v *volume) hides(key uint64, version chunk.Version) bool {
	first := key
	if uint8(key) == chunk.AllIndexes {
		first &^= 0xff
	}
	for _, o := range v.index.between(nil, first, key) {
		if o.loc.has(locDrop) && o.key == key && o.version >= version {
			continue
		}
		return true
	}
	return false
}

// collect frees the versions of a chunk that a newer one at or below W has
// superseded, where that one and that W are durable. It reports whether
// nothing is left that could be freed later.
func (s *Store) collect(v *volume, key uint64, synced position) bool {
	left := 0
	var keeper, put entry
	v.scratch = v.index.between(v.scratch[:0], key, key)
	for _, e := range v.scratch {
		if e.loc.has(locDrop | locBase) {
			continue
		}
		left++
		if e.version > v.wSynced || e.loc.has(locDamaged) || s.positionOf(e) >= synced {
			continue
		}
		if p, ok := v.index.payload(e); ok {
			keeper, put = e, p
		}
	}
	for _, e := range v.scratch {
		if e.loc.has(locDrop) || e.version >= keeper.version {
			continue
		}
		if !e.loc.has(locBase) {
			left--
		}
		if e.version != put.version { // nor is it the newest: forget need not look
			v.index.remove(e)
			s.account(v, e, -1)
		} else if found := v.index.find(e); !found.loc.has(locBase) {
			s.account(v, e, -1)
			found.loc |= locBase
			s.account(v, *found, 1)
		}
	}
	return left <= 1
}

func (s *Store) positionOf(e entry) position {
	return at(s.segments[e.loc.slot()].id, e.loc.offset())
}

// clearVolume forgets all chunks of a deleted volume.
func (s *Store) clearVolume(v *volume) {
	v.index.ascend(entry{}, func(e *entry) bool {
		s.account(v, *e, -1)
		return true
	})
	v.index, v.stored, v.fresh = index{}, 0, nil
	clear(v.waiting)
}
