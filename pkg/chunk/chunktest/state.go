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
	superblock chunk.Superblock
	chunks     map[key][]record
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

// change is one entry of the log: an op, or a watermark where op.Kind is 0.
type change struct {
	volume    chunk.VolumeID
	watermark chunk.Version
	op        chunk.Op
}

func (s state) apply(c change) {
	v := s.volume(c.volume)
	switch c.op.Kind {
	case chunk.OpPut, chunk.OpTombstone:
		v.put(c.op)
	case chunk.OpDrop:
		v.drop(c.op)
	default:
		v.watermark = max(v.watermark, c.watermark)
	}
}

func (v *volume) put(op chunk.Op) {
	k := key{op.Block, op.Index}
	rec := record{version: op.Version, tombstone: op.Kind == chunk.OpTombstone, data: op.Data}
	i, found := slices.BinarySearchFunc(v.chunks[k], op.Version, byVersion)
	if found {
		v.chunks[k][i] = rec
		return
	}
	v.chunks[k] = slices.Insert(v.chunks[k], i, rec)
}

func byVersion(r record, v chunk.Version) int { return cmp.Compare(r.version, v) }

func (v *volume) drop(op chunk.Op) {
	for k, recs := range v.chunks {
		if k.block != op.Block || op.Index != chunk.AllIndexes && k.index != op.Index {
			continue
		}
		v.keep(k, slices.DeleteFunc(recs, func(r record) bool { return r.version <= op.Version }))
	}
}

func (v *volume) keep(k key, recs []record) {
	if len(recs) == 0 {
		delete(v.chunks, k)
		return
	}
	v.chunks[k] = recs
}

// collect frees what the newest version at or below w hides.
func (v *volume) collect(w chunk.Version) {
	for k, recs := range v.chunks {
		n, _ := slices.BinarySearchFunc(recs, w+1, byVersion)
		if n > 1 {
			v.chunks[k] = slices.Delete(recs, 0, n-1)
		}
	}
}

// find returns the newest record at or below atMost, or nil; 0 means no bound.
func (v *volume) find(k key, atMost chunk.Version) *record {
	recs := v.chunks[k]
	n := len(recs)
	if atMost != 0 {
		n, _ = slices.BinarySearchFunc(recs, atMost+1, byVersion)
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
