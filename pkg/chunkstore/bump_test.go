package chunkstore_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunkstore"
	"rozobox/pkg/chunkstore/crashfs"
)

const header = 64 // bytes

// is checks what a version of a chunk reads as, and how List shows it.
func (r *rig) is(block uint64, index uint8, v chunk.Version, want chunk.ChunkState) {
	r.Helper()
	r.reads(chunk.Op{Block: block, Index: index, Version: v, Data: r.content(v)}, want)
	entries, _, err := r.store.List(r.ctx, r.term, chunk.ListRequest{Limit: 100})
	if err != nil {
		r.Fatal(err)
	}
	for _, e := range entries {
		if e.Block == block && e.Version == v && e.Damaged != (want == chunk.Damaged) {
			r.Errorf("listed as %+v, want state %d", e, want)
		}
	}
}

// listsDamage checks that the first chunk is listed as one damaged version, though
// nobody has read it.
func (r *rig) listsDamage(v chunk.Version) {
	r.Helper()
	entries, _, err := r.store.List(r.ctx, r.term, chunk.ListRequest{Limit: 1})
	if err != nil || len(entries) != 1 || !entries[0].Damaged || entries[0].Version != v {
		r.Errorf("%v, %v, want damage of version %s", entries, err, v)
	}
}

func (r *rig) used() uint64 {
	r.Helper()
	st, err := r.store.Stat(r.ctx)
	if err != nil {
		r.Fatal(err)
	}
	return st.UsedBytes
}

// recordSize is what a put of data(v) takes: its payload is one unit.
func recordSize(v chunk.Version) uint64 {
	return uint64(header + (len(data(v))+4+15)&^15)
}

// A bump takes a header, and its payload is read from where it stands, wherever
// compaction has taken it, however many bumps there were.
func TestBumpsKeepTheirPayload(t *testing.T) {
	r := newRig(t, nil)
	r.write(put(1, 0, 10))
	last := chunk.Version(10)
	for v := chunk.Version(100); v < 1000; v += 100 {
		r.write(patch(1, 0, last, v, ""))
		for dead := v + 1; dead < v+20; dead++ {
			r.write(put(2, 0, dead))
		}
		r.write(tombstone(2, 0, v+20))
		r.sync(v + 20)
		last = v
		for _, next := range []func(){r.store.CompactAll, func() { r.reopen(v%200 == 0, "", nil) }, func() {}} {
			r.is(1, 0, v, chunk.Present)
			r.reads(patch(1, 0, 0, v-1, ""), chunk.Absent) // the payload is no version any more
			if err := r.tryWrite(put(1, 0, 10)); !errors.Is(err, chunk.ErrSettled) {
				t.Errorf("the payload's version again: %v, want %v", err, chunk.ErrSettled)
			}
			if st, err := r.store.Stat(r.ctx); err != nil || st.Chunks != 2 || st.UsedBytes != recordSize(10)+2*header {
				t.Errorf("after version %s %d versions of %d bytes are live, %v", v, st.Chunks, st.UsedBytes, err)
			}
			next()
		}
	}
	r.write(patch(1, 0, last, 1001, "x"))
	r.sync(1001)
	r.is(1, 0, 1001, chunk.Present)
	if used, want := r.used(), recordSize(10)+header; used != want {
		t.Errorf("%d bytes are live, want %d: nothing of the bumps", used, want)
	}
}

// Power that fails before a sync may take the payload and leave the bump: then that
// version is absent, and stays so.
func TestI2BumpGoesWithItsPayload(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		r := newRig(t, nil)
		r.write(put(1, 0, 9))
		r.sync(0)
		syncs := make(chan struct{})
		r.fs.Stall("sync", syncs)
		r.write(put(1, 0, 10))
		for v := chunk.Version(1000); v < chunk.Version(1000+rng.IntN(8)); v++ {
			r.write(put(2, 0, v)) // the bump may stand in the next segment
		}
		r.write(patch(1, 0, 10, 11, ""))
		crashed := r.fs.Crash(crashfs.Torn, rng)
		close(syncs)
		r.store.Kill()
		r.fs = crashed
		r.store = chunkstore.MustOpen(t, crashOptions(r.fs))
		for range 2 {
			if _, err := r.held(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			r.reopen(true, "", nil)
		}
	}
}

// What is verified after an unclean stop are payloads of bumps too.
func TestPayloadOfABumpIsVerified(t *testing.T) {
	r := newRig(t, nil)
	r.write(put(1, 0, 10), patch(1, 0, 10, 11, ""))
	r.sync(11)
	r.reopen(true, "", nil)
	r.write(put(2, 0, 12))
	r.sync(11)
	r.reopen(false, firstSegment, func(b []byte) []byte { return flip(bytes.Index(b, data(10)) + 5)(b) })
	r.store.VerifySuspects()
	r.listsDamage(11)
}

// A bump whose payload is damaged is damaged; older content is not taken for it
// where the payload's record is lost, and a repair frees both.
func TestDamageUnderABump(t *testing.T) {
	for what, spoil := range map[string]func(b []byte) []byte{
		"payload":               func(b []byte) []byte { return flip(bytes.Index(b, data(10)) + 5)(b) },
		"header of the payload": loseHeader,
		"bump":                  func(b []byte) []byte { return flip(bytes.Index(b, data(12)) - 2*header + 9)(b) },
	} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t, nil)
			r.write(put(1, 0, 9), put(1, 0, 10), patch(1, 0, 10, 11, ""))
			r.sync(0)
			r.write(put(2, 0, 12)) // it says that all before was durable
			r.reopen(true, firstSegment, spoil)
			r.is(1, 0, 9, chunk.Present)
			r.reads(chunk.Op{Block: 1, Version: 11, Data: data(9)[:16]}, chunk.Damaged)
			r.is(1, 0, 11, chunk.Damaged)
			r.reopen(true, "", nil)
			r.is(1, 0, 11, chunk.Damaged)
			repaired := chunk.Op{Kind: chunk.OpPut, Block: 1, Version: 11, Data: data(10), Repair: true}
			r.write(repaired)
			r.sync(12)
			for range 2 {
				r.reads(repaired, chunk.Present)
				if used, want := r.used(), recordSize(10)+recordSize(12); used != want {
					t.Errorf("%d bytes are live, want %d", used, want)
				}
				r.reopen(false, "", nil)
			}
		})
	}
}

// Where nothing of a payload is left, its bump is known to be damaged from the start.
func TestABumpWithoutPayloadIsDamaged(t *testing.T) {
	r := newRig(t, nil)
	r.write(put(1, 0, 10), patch(1, 0, 10, 11, ""))
	r.sync(0)
	r.write(put(2, 0, 12)) // it says that all before was durable
	r.reopen(true, firstSegment, loseHeader)
	r.listsDamage(11)
	r.is(1, 0, 11, chunk.Damaged)
	if err := r.tryWrite(patch(1, 0, 11, 13, "")); !errors.Is(err, chunk.ErrNoBase) {
		t.Errorf("a bump of it: %v, want %v", err, chunk.ErrNoBase)
	}
}

// loseHeader spoils the header of data(10), also in the table.
func loseHeader(b []byte) []byte {
	b[bytes.Index(b, data(10))-header+9] ^= 1
	b[len(b)-10] ^= 1 // the seal, without which the table is not found
	return b
}

// Damage that compaction finds is damage of the bump too.
func TestDamageUnderABumpSurvivesCompaction(t *testing.T) {
	r := newRig(t, nil)
	r.write(put(1, 0, 10), patch(1, 0, 10, 11, ""))
	r.sync(11)
	r.reopen(true, firstSegment, func(b []byte) []byte { return flip(bytes.Index(b, data(10)) + 5)(b) })
	for v := chunk.Version(20); v < 90; v++ {
		r.write(put(2, 0, v))
	}
	r.sync(89)
	r.store.CompactAll()
	r.is(1, 0, 11, chunk.Damaged)
	r.reopen(true, "", nil)
	r.is(1, 0, 11, chunk.Damaged)
}

// A copy that is given up, for a bump that cannot be read, leaves nothing in the
// next one: what no record is in it would be copied once more to be rid of it.
func TestAbandonedCopyLeavesNothing(t *testing.T) {
	r := newRig(t, nil)
	r.write(put(3, 0, 9), put(1, 0, 10), patch(1, 0, 10, 11, ""), put(2, 0, 12))
	r.sync(12)
	r.reopen(true, firstSegment, func(b []byte) []byte {
		at := 0
		for range 4 { // the head, two puts, the bump
			at += 4 + bytes.Index(b[at:], []byte("RZK1"))
		}
		return flip(at)(b)
	})
	var created []string
	for _, v := range []chunk.Version{20, 30} {
		r.write(put(4, 0, v)) // stays, in front of what does not
		for i := range chunk.Version(9) {
			r.write(put(2, 0, v+i+1))
		}
		r.sync(v + 9)
		r.fs.Trace()
		r.store.CompactAll()
		for _, change := range r.fs.Trace() {
			if strings.HasPrefix(change, "create ") {
				created = append(created, change)
			}
		}
	}
	want := []string{"create segment-00000001.new", "create segment-00000004.new"}
	if !slices.Equal(created, want) {
		t.Errorf("compaction did %q, want %q", created, want)
	}
	r.reopen(true, "", nil)
	r.wantW(39)
	r.is(3, 0, 9, chunk.Present)
	r.is(4, 0, 30, chunk.Present)
	r.is(2, 0, 39, chunk.Present)
}

// Nothing comes between a bump and its payload, or hides the payload alone.
func TestABumpIsNotSevered(t *testing.T) {
	r := newRig(t, nil)
	r.write(put(1, 0, 10), patch(1, 0, 10, 14, ""))
	for what, op := range map[string]chunk.Op{
		"put":             put(1, 0, 12),
		"tombstone":       tombstone(1, 0, 12),
		"drop":            drop(1, 0, 10),
		"drop of a block": drop(1, chunk.AllIndexes, 13),
	} {
		if err := r.tryWrite(op); !errors.Is(err, chunk.ErrInvalid) {
			t.Errorf("%s: %v, want %v", what, err, chunk.ErrInvalid)
		}
	}
	r.write(put(1, 0, 9), put(1, 0, 10), drop(1, 0, 9), drop(1, 1, 20), put(1, 1, 12), put(1, 0, 15))
	for range 2 {
		r.is(1, 0, 10, chunk.Present)
		r.is(1, 0, 14, chunk.Present)
		r.is(1, 0, 15, chunk.Present)
		r.sync(0)
		r.reopen(false, "", nil)
	}
	r.write(drop(1, 0, 14))
	r.is(1, 0, 15, chunk.Present)
	r.reads(patch(1, 0, 10, 14, ""), chunk.Absent)
}

// Beyond a bound, a bump is written with its payload: index entries are memory.
func TestBumpsAreBounded(t *testing.T) {
	r := newRig(t, func(o *chunkstore.Options) { o.SegmentSize = 1 << 20 })
	r.write(put(1, 0, 10))
	r.sync(0)
	r.store.PretendBumps(r.term.Volume)
	r.write(patch(1, 0, 10, 11, ""))
	r.sync(11)
	r.is(1, 0, 11, chunk.Present)
	if used, want := r.used(), recordSize(10); used != want {
		t.Errorf("%d bytes are live, want %d", used, want)
	}
}
