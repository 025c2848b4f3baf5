package chunktest

import (
	"cmp"
	"maps"
	"slices"

	"rozobox/pkg/chunk"
)

// record is one version of one chunk. Its payload is never changed.
type record struct {
	version   chunk.Version
	tombstone bool
	damaged   bool
	data      []byte
}

// key names a chunk within a volume.
type key struct {
	block uint64
	index uint8
}

// volume is what a node knows of one volume. chunks are sorted by version.
type volume struct {
	epoch      uint32
	nonce      uint64
	watermark  chunk.Version
	recovered  chunk.Version // watermark when this instance started
	superblock chunk.Superblock
	chunks     map[key][]record
	bytes      uint64 // payload in chunks
}

func (v *volume) clone() *volume {
	c := *v
	c.chunks = make(map[key][]record, len(v.chunks))
	for k, recs := range v.chunks {
		c.chunks[k] = slices.Clone(recs)
	}
	return &c
}

// state is everything a node has at one moment.
type state map[chunk.VolumeID]*volume

func (s state) clone() state {
	c := maps.Clone(s)
	for id, v := range c {
		c[id] = v.clone()
	}
	return c
}

// volume returns the volume, made at need.
func (s state) volume(id chunk.VolumeID) *volume {
	v := s[id]
	if v == nil {
		v = &volume{chunks: map[key][]record{}}
		s[id] = v
	}
	return v
}

// change is one entry of the log: an op, or damage to a chunk, or a watermark.
type change struct {
	volume    chunk.VolumeID
	watermark chunk.Version
	damaged   *key
	op        chunk.Op
}

func (s state) apply(c change) {
	v := s.volume(c.volume)
	switch {
	case c.op.Kind == chunk.OpDrop:
		v.drop(c.op)
	case c.op.Kind != 0:
		v.put(c.op)
	case c.damaged != nil:
		for i := range v.chunks[*c.damaged] {
			v.chunks[*c.damaged][i].damaged = true
		}
	default:
		v.watermark = max(v.watermark, c.watermark)
	}
}

func (v *volume) put(op chunk.Op) {
	k := key{op.Block, op.Index}
	recs := v.chunks[k]
	rec := record{version: op.Version, tombstone: op.Kind == chunk.OpTombstone, data: op.Data}
	i, found := slices.BinarySearchFunc(recs, op.Version, byVersion)
	if found {
		recs = slices.Delete(slices.Clone(recs), i, i+1)
	}
	if i < len(recs) {
		recs = slices.Clip(recs) // set is to see what was there before
	}
	v.set(k, slices.Insert(recs, i, rec))
}

func byVersion(r record, v chunk.Version) int { return cmp.Compare(r.version, v) }

func (v *volume) drop(op chunk.Op) {
	first, last := op.Index, op.Index
	if op.Index == chunk.AllIndexes {
		first, last = 0, chunk.MaxWidth-1
	}
	for i := first; i <= last; i++ {
		k := key{op.Block, i}
		v.set(k, v.chunks[k][upTo(v.chunks[k], op.Version):])
	}
}

// set replaces the records of a chunk.
func (v *volume) set(k key, recs []record) {
	v.bytes += payload(recs) - payload(v.chunks[k])
	v.chunks[k] = recs
	if len(recs) == 0 {
		delete(v.chunks, k)
	}
}

func payload(recs []record) (n uint64) {
	for _, r := range recs {
		n += uint64(len(r.data))
	}
	return n
}

// upTo returns how many of recs are at or below version.
func upTo(recs []record, version chunk.Version) int {
	i, found := slices.BinarySearchFunc(recs, version, byVersion)
	if found {
		i++
	}
	return i
}

// collect frees what the newest version at or below w hides.
func (v *volume) collect(w chunk.Version) {
	for k, recs := range v.chunks {
		if n := upTo(recs, w); n > 1 {
			v.set(k, slices.Clone(recs[n-1:]))
		}
	}
}

// find returns the newest record at or below atMost, or nil; 0 means no bound.
func (v *volume) find(k key, atMost chunk.Version) *record {
	recs := v.chunks[k]
	n := len(recs)
	if atMost != 0 {
		n = upTo(recs, atMost)
	}
	if n == 0 {
		return nil
	}
	return &recs[n-1]
}

// get returns the record of exactly this version, or nil.
func (v *volume) get(k key, version chunk.Version) *record {
	i, found := slices.BinarySearchFunc(v.chunks[k], version, byVersion)
	if !found {
		return nil
	}
	return &v.chunks[k][i]
}

// entries lists what is held above since, in Position order.
func (v *volume) entries(req chunk.ListRequest) []chunk.Entry {
	var list []chunk.Entry
	for k, recs := range v.chunks {
		if req.End != 0 && k.block >= req.End {
			continue
		}
		for _, r := range recs {
			p := chunk.Position{Block: k.block, Index: k.index, Version: r.version}
			if r.version > req.Since && req.After.Less(p) {
				list = append(list, chunk.Entry{Position: p, Tombstone: r.tombstone, Damaged: r.damaged})
			}
		}
	}
	slices.SortFunc(list, func(a, b chunk.Entry) int {
		if a.Position.Less(b.Position) {
			return -1
		}
		return 1
	})
	return list
}
