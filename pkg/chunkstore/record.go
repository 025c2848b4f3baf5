package chunkstore

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"rozobox/pkg/chunk"
)

const (
	recordMagic  = 0x525a4b31 // "RZK1"; the last digit is the format
	headerSize   = 64
	grain        = 16   // every record starts and ends at a multiple of it
	unitSize     = 4096 // what one payload checksum covers
	unitStored   = unitSize + 4
	maxBlock     = 1<<56 - 1 // a block number and a chunk index share 64 bits
	maxTableSize = 16 << 20  // 400,000 records; segments of more are scanned
)

// kind says what a record is.
type kind uint8

const (
	kindPut       kind = iota + 1
	kindTombstone      // a version without payload
	kindDrop           // hides versions <= version that stand before it
	kindWatermark      // W was told
	kindReset          // w is lowered to version: the log before it was damaged
	kindTable          // the table of a finished segment
	kindSeal           // the segment is durable up to here; block is the table's offset
	kindHead           // first in a segment; block is its id
	kindBump           // a version with the payload of another put, base
)

// isVersion reports whether a record makes a version of a chunk.
func (k kind) isVersion() bool { return k == kindPut || k == kindTombstone || k == kindBump }

const (
	flagLost = 1 << iota // a put whose payload was damaged, and is not stored
	flagLow              // kindHead: puts at or below W may stand here
)

// castagnoli is never written to; amd64 and arm64 compute it in hardware.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errRecord = errors.New("no intact record")

// position is a place in the log: the segment's id, then the offset in grains.
// Positions are in the order in which records were written, for ever:
// compaction keeps the ids and the order.
type position uint64

func at(id uint32, off int64) position { return position(uint64(id)<<32 | uint64(off/grain)) }

// record is a record's header.
type record struct {
	kind    kind
	flags   uint8
	index   uint8
	volume  chunk.VolumeID
	block   uint64
	version chunk.Version
	length  uint32        // bytes of payload, without checksums
	synced  position      // the log was durable up to here when this was written
	base    chunk.Version // of a bump: the put that has its payload
}

// size is what the record takes in a segment.
func (r *record) size() int64 { return headerSize + storedSize(int64(r.payload())) }

// payload is how many bytes of payload follow the header.
func (r *record) payload() uint32 {
	if r.kind == kindBump {
		return 0
	}
	return r.length
}

// storedSize is what n bytes of payload take with their checksums.
func storedSize(n int64) int64 {
	n += 4 * ((n + unitSize - 1) / unitSize)
	return (n + grain - 1) &^ (grain - 1)
}

// headerSeed binds a header to its place, so that a copy of it elsewhere, or
// in a payload, is no header.
func headerSeed(store uint32, p position) uint32 {
	return store ^ uint32(p>>32)*0x85ebca6b ^ uint32(p)*0x9e3779b1
}

// encode writes the header into b; place has to complete it.
func (r *record) encode(b []byte) {
	_ = b[headerSize-1]
	binary.BigEndian.PutUint32(b, recordMagic)
	b[4], b[5], b[6], b[7] = 0, byte(r.kind), r.flags, r.index
	copy(b[8:24], r.volume[:])
	binary.BigEndian.PutUint64(b[24:], r.block)
	binary.BigEndian.PutUint64(b[32:], uint64(r.version))
	binary.BigEndian.PutUint32(b[40:], r.length)
	binary.BigEndian.PutUint64(b[44:], uint64(r.synced))
	binary.BigEndian.PutUint64(b[52:], uint64(r.base))
	clear(b[60:headerSize])
}

// place completes a header for the place that its seed stands for.
func place(b []byte, seed uint32) {
	binary.BigEndian.PutUint32(b[60:], crc32.Update(seed, castagnoli, b[:60]))
}

func decodeRecord(b []byte, seed uint32) (record, error) {
	if len(b) < headerSize || binary.BigEndian.Uint32(b) != recordMagic ||
		binary.BigEndian.Uint32(b[60:]) != crc32.Update(seed, castagnoli, b[:60]) {
		return record{}, errRecord
	}
	r := record{
		kind: kind(b[5]), flags: b[6], index: b[7],
		volume:  chunk.VolumeID(b[8:24]),
		block:   binary.BigEndian.Uint64(b[24:]),
		version: chunk.Version(binary.BigEndian.Uint64(b[32:])),
		length:  binary.BigEndian.Uint32(b[40:]),
		synced:  position(binary.BigEndian.Uint64(b[44:])),
		base:    chunk.Version(binary.BigEndian.Uint64(b[52:])),
	}
	if b[4] != 0 || !r.valid() {
		return record{}, errRecord
	}
	return r, nil
}

// valid checks every field against what this package writes.
func (r *record) valid() bool {
	switch r.kind {
	case kindPut:
		lost := r.flags&flagLost != 0
		return validChunk(r.block, r.index, r.version) && lost == (r.length == 0) &&
			r.length <= chunk.MaxChunkSize && r.length%chunk.ChunkAlign == 0
	case kindBump:
		return validChunk(r.block, r.index, r.version) && r.length > 0 && r.base < r.version &&
			r.length <= chunk.MaxChunkSize && r.length%chunk.ChunkAlign == 0
	case kindTombstone:
		return validChunk(r.block, r.index, r.version) && r.length == 0
	case kindDrop:
		index := r.index
		if index == chunk.AllIndexes {
			index = 0
		}
		return validChunk(r.block, index, r.version) && r.length == 0
	case kindTable:
		return r.length <= maxTableSize && r.length%tableEntrySize == 0
	case kindWatermark, kindReset, kindSeal, kindHead:
		return r.length == 0
	}
	return false
}

func validChunk(block uint64, index uint8, version chunk.Version) bool {
	return block <= maxBlock && index < chunk.MaxWidth && version != 0
}

// payloadSeed binds a payload to its identity; b is the header in front of it.
func payloadSeed(b []byte) uint32 { return crc32.Checksum(b[7:40], castagnoli) }

// unitSeed is the seed of one unit of a payload.
func unitSeed(seed uint32, unit int64) uint32 { return seed ^ uint32(unit+1)*0x9e3779b1 }

// encodePayload writes data in units, each with its checksum behind it, into
// dst, which holds exactly storedSize(len(data)) bytes.
func encodePayload(dst, data []byte, seed uint32) {
	for unit := int64(0); len(data) > 0; unit++ {
		n := copy(dst, data[:min(unitSize, len(data))])
		sum := crc32.Update(unitSeed(seed, unit), castagnoli, dst[:n])
		binary.BigEndian.PutUint32(dst[n:], sum)
		dst, data = dst[n+4:], data[n:]
	}
	clear(dst)
}

// span is the part of a stored payload that a range of it needs.
type span struct {
	first int64 // unit
	off   int64 // stored offset within the payload
	size  int64 // stored bytes, checksums included
}

// spanOf requires 0 < n and off+n <= length.
func spanOf(length, off, n int64) span {
	first, end := off/unitSize, min((off+n+unitSize-1)/unitSize*unitSize, length)
	size := end - first*unitSize
	return span{first, first * unitStored, size + 4*((size+unitSize-1)/unitSize)}
}

// open verifies the units of b, a span's stored bytes, and copies what lies
// at skip and after within them into dst; it reports whether all were intact.
func (s span) open(dst, b []byte, skip int64, seed uint32) bool {
	for unit := s.first; len(b) > 4; unit++ {
		n := min(unitSize, len(b)-4)
		sum := crc32.Update(unitSeed(seed, unit), castagnoli, b[:n])
		if sum != binary.BigEndian.Uint32(b[n:]) {
			return false
		}
		dst = dst[copy(dst, b[min(skip, int64(n)):n]):]
		skip, b = max(0, skip-int64(n)), b[n+4:]
	}
	return len(dst) == 0 && len(b) == 0
}
