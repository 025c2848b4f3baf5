package chunkstore

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"rozobox/pkg/chunk"
)

func TestRecordRoundTrip(t *testing.T) {
	id := chunk.VolumeID{1, 2, 3}
	for _, r := range []record{
		{kind: kindPut, volume: id, block: maxBlock, index: 31, version: ^chunk.Version(0), length: chunk.MaxChunkSize, synced: 99},
		{kind: kindPut, volume: id, block: 1, version: 1, flags: flagLost},
		{kind: kindTombstone, volume: id, block: 7, index: 3, version: 5},
		{kind: kindDrop, volume: id, block: 7, index: chunk.AllIndexes, version: 5},
		{kind: kindWatermark, volume: id, version: 12},
		{kind: kindReset, volume: id},
		{kind: kindTable, length: 40},
		{kind: kindSeal, block: 4096},
		{kind: kindHead, block: 3, flags: flagLow},
	} {
		var b [headerSize]byte
		r.encode(b[:])
		place(b[:], headerSeed(7, at(3, 160)))
		got, err := decodeRecord(b[:], headerSeed(7, at(3, 160)))
		if err != nil || got != r {
			t.Errorf("%+v became %+v, %v", r, got, err)
		}
		for _, p := range []position{at(3, 176), at(4, 160)} {
			if _, err := decodeRecord(b[:], headerSeed(7, p)); err == nil {
				t.Errorf("%+v is taken for a record where it was not written", r)
			}
		}
		if _, err := decodeRecord(b[:], headerSeed(8, at(3, 160))); err == nil {
			t.Errorf("%+v is taken for a record of another store", r)
		}
	}
}

// A payload under another identity, or with its units exchanged, must fail.
func TestPayloadIsBoundToItsIdentity(t *testing.T) {
	data := make([]byte, 3*unitSize+160)
	rand.NewChaCha8([32]byte{1}).Read(data)
	stored := make([]byte, storedSize(int64(len(data))))
	encodePayload(stored, data, 77)
	whole := spanOf(int64(len(data)), 0, int64(len(data)))
	got := make([]byte, len(data))
	if !whole.open(got, stored[:whole.size], 0, 77) || !bytes.Equal(got, data) {
		t.Fatal("the payload does not verify")
	}
	if whole.open(got, stored[:whole.size], 0, 78) {
		t.Error("a payload verifies under another identity")
	}
	swapped := bytes.Clone(stored)
	copy(swapped, stored[unitStored:2*unitStored])
	copy(swapped[unitStored:], stored[:unitStored])
	if whole.open(got, swapped[:whole.size], 0, 77) {
		t.Error("exchanged units verify")
	}
	for i := range whole.size {
		stored[i] ^= 1
		if whole.open(got, stored[:whole.size], 0, 77) {
			t.Fatalf("byte %d may change unnoticed", i)
		}
		stored[i] ^= 1
	}
}

func TestSpans(t *testing.T) {
	data := make([]byte, 2*unitSize+1600)
	rand.NewChaCha8([32]byte{2}).Read(data)
	stored := make([]byte, storedSize(int64(len(data))))
	encodePayload(stored, data, 5)
	for range 5000 {
		off := rand.Int64N(int64(len(data)))
		n := 1 + rand.Int64N(int64(len(data))-off)
		sp := spanOf(int64(len(data)), off, n)
		got := make([]byte, n)
		if !sp.open(got, stored[sp.off:sp.off+sp.size], off-sp.first*unitSize, 5) || !bytes.Equal(got, data[off:off+n]) {
			t.Fatalf("range %d+%d", off, n)
		}
		if units := (off+n-1)/unitSize - off/unitSize + 1; sp.size > units*unitStored {
			t.Fatalf("range %d+%d reads %d bytes", off, n, sp.size)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	var b [headerSize]byte
	r := record{kind: kindPut, version: 1, length: 16}
	r.encode(b[:])
	place(b[:], 1)
	f.Add(b[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headerSize {
			place(b, 1) // a right checksum must not be all that protects
		}
		r, err := decodeRecord(b, 1)
		if err != nil {
			return
		}
		if r.size() < headerSize || r.size()%grain != 0 {
			t.Fatalf("%+v takes %d bytes", r, r.size())
		}
		var again [headerSize]byte
		r.encode(again[:])
		place(again[:], 1)
		if got, err := decodeRecord(again[:], 1); err != nil || got != r {
			t.Fatalf("%+v became %+v, %v", r, got, err)
		}
	})
}

func FuzzDecodeSlot(f *testing.F) {
	s := slot{magic: superblockMagic, epoch: 3, number: 4, name: "disk", body: []byte("body")}
	f.Add(s.encode(chunk.VolumeID{1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeSlot(b, superblockMagic, chunk.VolumeID{1})
		if err != nil {
			return
		}
		got, err := decodeSlot(s.encode(chunk.VolumeID{1}), superblockMagic, chunk.VolumeID{1})
		if err != nil || got.name != s.name || !bytes.Equal(got.body, s.body) || got.number != s.number {
			t.Fatalf("%+v became %+v, %v", s, got, err)
		}
	})
}

func FuzzDecodeIdentity(f *testing.F) {
	f.Add(encodeIdentity(chunk.StoreID{1}, "pi1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, node, err := decodeIdentity(b); err == nil && !bytes.Equal(encodeIdentity(id, node)[:25+len(node)], b[:25+len(node)]) {
			t.Fatalf("%v %q", id, node)
		}
	})
}

func TestNamesRoundTrip(t *testing.T) {
	if id, ok := parseSegmentName(segmentName(0xabcdef01)); !ok || id != 0xabcdef01 {
		t.Errorf("segment %x, %v", id, ok)
	}
	id := chunk.VolumeID{0xff, 1, 2}
	if got, ok := parseVolumeName(volumeName(id)); !ok || got != id {
		t.Errorf("volume %s, %v", got, ok)
	}
	for _, name := range []string{"", "segment-", "segment-1", "segment-0000000G", "segment-00000001.new",
		"volume-", "volume-01", volumeName(id) + "0", "volume-zz" + volumeName(id)[9:]} {
		_, s := parseSegmentName(name)
		_, v := parseVolumeName(name)
		if s || v {
			t.Errorf("%q is taken for ours", name)
		}
	}
}
