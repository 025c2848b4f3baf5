package chunkstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"

	"rozobox/pkg/chunk"
)

// segment is one file of the log. Its records never change; compaction makes
// another file with the same id and puts it in this one's place.
type segment struct {
	id   uint32
	slot uint32
	seed uint32 // of the store
	name string
	file File
	refs atomic.Int32 // the store's own, and one for each read under way

	// Changed by the holder of Store.turn while the segment is active, by
	// nobody afterwards, except that the syncer adds the seal.
	size     int64
	prepared int64  // zeroes stand up to here, where that is more than size
	dirty    bool   // listed in Store.dirty
	closed   bool   // has its table: no records follow
	low      bool   // flagLow
	table    []byte // what the table will hold; nil when it grew too long
	framed   int64  // bytes of the table, once it is written

	// Guarded by Store.mu.
	durable  bool  // closed and synced: compaction may take it
	stuck    bool  // compaction could not read it
	live     int64 // bytes of the records that the index points to
	entries  int   // how many those are
	kept     int64 // bytes of other records that compaction has kept
	puts     int   // puts and tombstones in the file
	livePuts int   // those of them that the index points to
}

const segmentPrefix, rewriteSuffix = "segment-", ".new"

func segmentName(id uint32) string { return fmt.Sprintf("%s%08x", segmentPrefix, id) }

func parseSegmentName(name string) (uint32, bool) {
	hex, ok := strings.CutPrefix(name, segmentPrefix)
	id, err := strconv.ParseUint(hex, 16, 32)
	return uint32(id), ok && err == nil && name == segmentName(uint32(id))
}

// createSegment makes an empty segment file with its head. The name is not
// durable yet.
func createSegment(
	fs FS, name string, id uint32, store chunk.StoreID, seed uint32, low bool,
) (*segment, error) {
	f, err := fs.Open(name, true)
	if err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	g := &segment{id: id, seed: seed, name: name, file: f, low: low, table: []byte{}}
	g.refs.Store(1)
	head := record{kind: kindHead, block: uint64(id), volume: chunk.VolumeID(store)}
	if low {
		head.flags = flagLow
	}
	var b [headerSize]byte
	head.encode(b[:])
	if err := g.write(b[:], []int64{0}); err != nil {
		return nil, errors.Join(err, f.Close(), fs.Remove(name))
	}
	return g, nil
}

// write appends b, whose headers stand at the offsets heads within b. After an
// error the file is as before, or cannot be used for writing any more.
func (g *segment) write(b []byte, heads []int64) error {
	for _, h := range heads {
		place(b[h:h+headerSize], headerSeed(g.seed, at(g.id, g.size+h)))
	}
	if _, err := g.file.WriteAt(b, g.size); err != nil {
		// What was written of b must not be taken for records later.
		if terr := g.file.Truncate(g.size); terr != nil {
			return fmt.Errorf("%s: %w: %w", g.name, errBroken, errors.Join(err, terr))
		}
		g.prepared = 0
		return fmt.Errorf("%s: %w", g.name, err)
	}
	g.size += int64(len(b))
	return nil
}

// acquire keeps the file open; the caller holds Store.mu.
func (g *segment) acquire() { g.refs.Add(1) }

func (g *segment) release() {
	if g.refs.Add(-1) == 0 {
		g.file.Close() // only read from here on: there is nothing to lose
	}
}

// A table entry is a record's header without checksum, and its offset:
//
//	volume 16 | block 8 | version 8 | offset in grains 4 | length in grains 2 |
//	kind, flags 1 | index 1
const tableEntrySize = 40

func appendEntry(b []byte, r *record, off int64) []byte {
	b = append(b, r.volume[:]...)
	b = binary.BigEndian.AppendUint64(b, r.block)
	b = binary.BigEndian.AppendUint64(b, uint64(r.version))
	b = binary.BigEndian.AppendUint32(b, uint32(off/grain))
	b = binary.BigEndian.AppendUint16(b, uint16(r.length/chunk.ChunkAlign))
	return append(b, byte(r.kind)|r.flags<<4, r.index)
}

func decodeEntry(b []byte) (r record, off int64) {
	return record{
		kind: kind(b[38] & 15), flags: b[38] >> 4, index: b[39],
		volume:  chunk.VolumeID(b[:16]),
		block:   binary.BigEndian.Uint64(b[16:]),
		version: chunk.Version(binary.BigEndian.Uint64(b[24:])),
		length:  uint32(binary.BigEndian.Uint16(b[36:])) * chunk.ChunkAlign,
	}, int64(binary.BigEndian.Uint32(b[32:])) * grain
}

// note remembers a record for the table. A table of more than an eighth of
// the segment is left out: where headers stand that close, reading them in
// order is as fast.
func (g *segment) note(r *record, off, segmentSize int64) {
	if g.table == nil {
		return
	}
	g.table = appendEntry(g.table, r, off)
	if tableSize(len(g.table)/tableEntrySize, segmentSize) == 0 {
		g.table = nil
	}
}

// tableSize returns how long the table of n records is.
func tableSize(n int, segmentSize int64) int64 {
	size := int64(n) * tableEntrySize
	if size > min(maxTableSize, max(segmentSize/8, 64*tableEntrySize)) {
		return 0
	}
	return size
}

// finish appends the table; the segment takes no more records.
func (g *segment) finish() error {
	if g.prepared > g.size { // the seal is looked for at the end
		if err := g.file.Truncate(g.size); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		g.prepared = 0
	}
	r := record{kind: kindTable, length: uint32(len(g.table))}
	b := make([]byte, r.size())
	r.encode(b)
	encodePayload(b[headerSize:], g.table, payloadSeed(b))
	if err := g.write(b, []int64{0}); err != nil {
		return err
	}
	g.table, g.framed = nil, int64(len(b))
	return nil
}

// seal appends the mark that says that all before it is durable.
func (g *segment) seal() error {
	r := record{kind: kindSeal, block: uint64(g.size - g.framed)}
	var b [headerSize]byte
	r.encode(b[:])
	return g.write(b[:], []int64{0})
}

// sealDurably makes a finished segment durable, and then its seal.
func (g *segment) sealDurably() error {
	for _, step := range []func() error{g.file.Sync, g.seal, g.file.Sync} {
		if err := step(); err != nil {
			return err
		}
	}
	g.closed, g.durable = true, true
	return nil
}

// readLow reports whether puts at or below W may stand in the segment.
func (g *segment) readLow() bool {
	var b [headerSize]byte
	if g.readAt(b[:], 0) != nil {
		return true
	}
	r, err := decodeRecord(b[:], headerSeed(g.seed, at(g.id, 0)))
	return err != nil || r.flags&flagLow != 0
}

// readSeal returns where the table of a sealed segment stands.
func (g *segment) readSeal(size int64) (end int64, sealed bool) {
	var b [headerSize]byte
	if size < 2*headerSize || g.readAt(b[:], size-headerSize) != nil {
		return 0, false
	}
	seal, err := decodeRecord(b[:], headerSeed(g.seed, at(g.id, size-headerSize)))
	if err != nil || seal.kind != kindSeal || seal.block > uint64(size-2*headerSize) {
		return 0, false
	}
	return int64(seal.block), true
}

// readTable returns the table at off. It is empty where the segment has too
// many records for one.
func (g *segment) readTable(off int64) ([]byte, error) {
	var b [headerSize]byte
	if err := g.readAt(b[:], off); err != nil {
		return nil, err
	}
	r, err := decodeRecord(b[:], headerSeed(g.seed, at(g.id, off)))
	if err != nil || r.kind != kindTable {
		return nil, errRecord
	}
	table := make([]byte, r.length)
	if r.length > 0 && g.readPayload(table, &r, off, payloadSeed(b[:])) != nil {
		return nil, errRecord
	}
	return table, nil
}

// each calls fn for the records in front of end, from the table that stands
// there, or else from their headers; then it returns what the scan found.
func (g *segment) each(end int64, fn func(r record, off int64)) scanned {
	table, err := g.readTable(end)
	if err != nil || len(table) == 0 {
		return g.scan(end, fn)
	}
	for b := table; len(b) > 0; b = b[tableEntrySize:] {
		if r, off := decodeEntry(b); r.valid() && off >= headerSize && off+r.size() <= end {
			fn(r, off)
		}
	}
	return scanned{end: end, low: g.readLow()}
}

// readAt reads all of b or fails.
func (g *segment) readAt(b []byte, off int64) error {
	if n, err := g.file.ReadAt(b, off); n < len(b) {
		return fmt.Errorf("%s: %w", g.name, errors.Join(err, io.ErrUnexpectedEOF))
	}
	return nil
}

// readPayload reads and verifies the whole payload of the record at off.
func (g *segment) readPayload(dst []byte, r *record, off int64, seed uint32) error {
	s := spanOf(int64(r.length), 0, int64(r.length))
	b := make([]byte, s.size)
	if err := g.readAt(b, off+headerSize); err != nil {
		return err
	}
	if !s.open(dst, b, 0, seed) {
		return errRecord
	}
	return nil
}
