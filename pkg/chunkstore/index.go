package chunkstore

import (
	"slices"
	"sort"

	"rozobox/pkg/chunk"
)

// loc tells where a record stands and what it is:
//
//	slot 20 | offset in grains 22 | length in grains 16 | flags 6
//
// The slot is an index into Store.segments, not the segment's id, which would
// not fit.
type loc uint64

const (
	locDrop      loc = 1 << iota // a drop, not a version
	locTombstone                 //
	locDamaged                   // known to fail its checksum
	locBump                      // the payload, of this length, is that of another entry
	locBase                      // no version any more: only the payload of a bump

	maxSegments    = 1 << 20 // times 64 MiB: 64 TiB on one card
	maxSegmentSize = grain << 22
)

func makeLoc(slot uint32, off int64, length uint32, flags loc) loc {
	return loc(slot)<<44 | loc(off/grain)<<22 | loc(length/chunk.ChunkAlign)<<6 | flags
}

func (l loc) slot() uint32   { return uint32(l >> 44) }
func (l loc) offset() int64  { return int64(l>>22&(1<<22-1)) * grain }
func (l loc) length() uint32 { return uint32(l>>6&(1<<16-1)) * chunk.ChunkAlign }
func (l loc) has(f loc) bool { return l&f != 0 }

// entry is one version of one chunk, or a drop that must be remembered.
type entry struct {
	key     uint64 // the block, then 8 bits of chunk index
	version chunk.Version
	loc     loc
}

func makeKey(block uint64, index uint8) uint64 { return block<<8 | uint64(index) }

func (e entry) position() chunk.Position {
	return chunk.Position{Block: e.key >> 8, Index: uint8(e.key), Version: e.version}
}

// size is what the record takes in its segment.
func (e entry) size() int64 {
	if e.loc.has(locBump) {
		return headerSize
	}
	return headerSize + storedSize(int64(e.loc.length()))
}

// less orders by chunk, version, and puts a drop behind the version it names.
func (e entry) less(o entry) bool {
	if e.key != o.key {
		return e.key < o.key
	}
	if e.version != o.version {
		return e.version < o.version
	}
	return !e.loc.has(locDrop) && o.loc.has(locDrop)
}

const (
	// pageMax bounds what one insertion moves: 256 entries of 24 bytes, 6 KiB.
	pageMax = 256
	// pageStep is by how many entries a page grows: at most that many of 256
	// are unused, where doubling would leave a third unused on average.
	pageStep = 16
)

// index holds the entries of one volume in order: pages of sorted entries,
// found by binary search. It takes 24 bytes for an entry and what the pages
// leave unused.
type index struct{ pages []page }

type page struct {
	first entry // a lower bound: not above any of items, above all before
	items []entry
}

// locate returns the place of the first entry that is not less than e.
func (x *index) locate(e entry) (p, i int) {
	p = sort.Search(len(x.pages), func(p int) bool { return e.less(x.pages[p].first) })
	if p = max(p-1, 0); len(x.pages) == 0 {
		return 0, 0
	}
	items := x.pages[p].items
	return p, sort.Search(len(items), func(i int) bool { return !items[i].less(e) })
}

// find returns the entry of the same identity, to be changed in place.
func (x *index) find(e entry) *entry {
	p, i := x.locate(e)
	if len(x.pages) == 0 || i == len(x.pages[p].items) || e.less(x.pages[p].items[i]) {
		return nil
	}
	return &x.pages[p].items[i]
}

// version returns the entry of exactly this version.
func (x *index) version(key uint64, v chunk.Version) *entry {
	return x.find(entry{key: key, version: v})
}

// newest returns the newest version at or below atMost.
func (x *index) newest(key uint64, atMost chunk.Version) (entry, bool) {
	return x.below(entry{key: key, version: atMost, loc: locDrop}, locDrop|locBase)
}

// payload returns the entry that has the payload of e: of a bump, the next below
// that is none.
func (x *index) payload(e entry) (entry, bool) {
	if !e.loc.has(locBump) {
		return e, true
	}
	return x.below(e, locDrop|locBump)
}

// below returns the last entry of the same chunk before e that has none of the flags.
func (x *index) below(e entry, not loc) (entry, bool) {
	p, i := x.locate(e)
	for {
		if i--; i < 0 {
			if p--; p < 0 {
				return entry{}, false
			}
			i = len(x.pages[p].items)
			continue
		}
		found := x.pages[p].items[i]
		if found.key != e.key {
			return entry{}, false
		}
		if !found.loc.has(not) {
			return found, true
		}
	}
}

// insert adds an entry, or puts it in place of the old one of the same identity.
func (x *index) insert(e entry) (old entry, replaced bool) {
	if len(x.pages) == 0 {
		x.pages = []page{{first: e}}
	}
	p, i := x.locate(e)
	if items := x.pages[p].items; i < len(items) && !e.less(items[i]) {
		old, items[i] = items[i], e
		return old, true
	}
	if len(x.pages[p].items) == pageMax {
		x.split(p, p == len(x.pages)-1 && i == pageMax)
		p, i = x.locate(e)
	}
	pg := &x.pages[p]
	if e.less(pg.first) {
		pg.first = e
	}
	if n := len(pg.items); n == cap(pg.items) {
		pg.items = append(make([]entry, 0, n+pageStep), pg.items...)
	}
	pg.items = slices.Insert(pg.items, i, e)
	return entry{}, false
}

// split makes room in a full page. A page that grows at the end of the volume
// stays full, so that a volume written in order has no unused entries.
func (x *index) split(p int, atEnd bool) {
	items, half := x.pages[p].items, pageMax/2
	left := append(make([]entry, 0, half+pageStep), items[:half]...)
	if atEnd {
		half = pageMax - 1
		left = items[:half]
	}
	right := slices.Clone(items[half:])
	x.pages[p].items = left
	x.pages = slices.Insert(x.pages, p+1, page{first: right[0], items: right})
}

// remove takes out the entry of the same identity, which is there.
func (x *index) remove(e entry) {
	p, i := x.locate(e)
	pg := &x.pages[p]
	pg.items = slices.Delete(pg.items, i, i+1)
	if p+1 < len(x.pages) && len(pg.items)+len(x.pages[p+1].items) <= pageMax/2 {
		pg.items = append(slices.Clip(pg.items), x.pages[p+1].items...)
		x.pages = slices.Delete(x.pages, p+1, p+2)
	}
}

// ascend calls fn for each entry from e on, in order, until it returns false.
// fn may change the entry's loc, nothing else.
func (x *index) ascend(e entry, fn func(*entry) bool) {
	p, i := x.locate(e)
	for ; p < len(x.pages); p, i = p+1, 0 {
		items := x.pages[p].items
		for ; i < len(items); i++ {
			if !fn(&items[i]) {
				return
			}
		}
	}
}

// above returns the first version of the chunk above v.
func (x *index) above(key uint64, v chunk.Version) (above entry, ok bool) {
	x.ascend(entry{key: key, version: v, loc: locDrop}, func(e *entry) bool {
		if ok = e.key == key && !e.loc.has(locDrop) && e.version > v; ok {
			above = *e
		}
		return !ok && e.key == key
	})
	return above, ok
}

// spoil marks an entry as damaged, and the bumps whose payload it has.
func (x *index) spoil(e entry) {
	x.find(e).loc |= locDamaged
	if e.loc.has(locBump) {
		return
	}
	x.ascend(entry{key: e.key, version: e.version, loc: locDrop}, func(o *entry) bool {
		if o.key != e.key || !o.loc.has(locBump|locDrop) {
			return false
		}
		if o.loc.has(locBump) {
			o.loc |= locDamaged
		}
		return true
	})
}

// versions counts the versions of a chunk, and their bases.
func (x *index) versions(key uint64) (n int) {
	x.ascend(entry{key: key}, func(e *entry) bool {
		if e.key == key && !e.loc.has(locDrop) {
			n++
		}
		return e.key == key
	})
	return n
}

// between appends the entries with first <= key <= last to found.
func (x *index) between(found []entry, first, last uint64) []entry {
	x.ascend(entry{key: first}, func(e *entry) bool {
		if e.key > last {
			return false
		}
		found = append(found, *e)
		return true
	})
	return found
}
