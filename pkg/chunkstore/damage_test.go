package chunkstore_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunkstore"
	"rozobox/pkg/chunkstore/crashfs"
)

const firstSegment = "segment-00000001"

// reopen kills the store, or closes it, lets change spoil a file, and opens it
// again.
func (r *rig) reopen(clean bool, name string, change func(b []byte) []byte) {
	r.Helper()
	if clean {
		if err := r.store.Close(); err != nil {
			r.Fatal(err)
		}
	} else {
		r.store.Kill()
	}
	r.fs = r.fs.Crash(crashfs.Nothing, nil)
	if change != nil {
		r.fs.Corrupt(name, change)
	}
	r.store = chunkstore.MustOpen(r.T, crashOptions(r.fs))
	if err := r.store.Failed(); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) wantW(want chunk.Version) {
	r.Helper()
	if h, err := r.store.Hello(r.ctx); err != nil || h.Volumes[0].Watermark != want {
		r.Errorf("w is %s (%v), want %s", h.Volumes[0].Watermark, err, want)
	}
}

func flip(off int) func(b []byte) []byte {
	return func(b []byte) []byte {
		b[off] ^= 0x40
		return b
	}
}

// A record whose payload fails is damage, never absence, and never older
// content; its other units are still read, and a repair mends it.
func TestDamagedPayload(t *testing.T) {
	r := newRig(t, func(o *chunkstore.Options) { o.SegmentSize = 1 << 20 })
	op := chunk.Op{Kind: chunk.OpPut, Block: 1, Version: 10, Data: bytes.Repeat(data(10)[:1024], 16)}
	r.write(put(1, 0, 5), put(2, 0, 5))
	r.write(op)
	r.sync(10)
	before := 64 + 2*(64+1040+80) // the head, and two puts of 1104 bytes
	r.reopen(true, firstSegment, func(b []byte) []byte {
		i := bytes.Index(b, op.Data[:1024]) + 4200 // in the second unit
		if i < before {
			t.Fatalf("the payload stands at %d", i)
		}
		b[i] ^= 1
		return b
	})
	r.reads(put(2, 0, 5), chunk.Present)
	get := []chunk.Get{
		{Block: 1, Dst: make([]byte, 4096)},
		{Block: 1, Off: 4096, Dst: make([]byte, 4096)},
	}
	found, err := r.store.Read(r.ctx, r.term, get)
	if err != nil || found[0].State != chunk.Present || found[1] != (chunk.Chunk{Version: 10, State: chunk.Damaged}) {
		t.Fatalf("%v, %v", found, err)
	}
	entries, _, err := r.store.List(r.ctx, r.term, chunk.ListRequest{Limit: 10})
	if err != nil || len(entries) != 2 || !entries[0].Damaged || entries[1].Damaged {
		t.Errorf("list: %v, %v", entries, err)
	}
	again := op
	again.Repair = true
	r.write(again)
	r.reads(op, chunk.Present)
	r.sync(10)
	r.reopen(false, "", nil)
	r.reads(op, chunk.Present)
}

// The same version again is no change (I3), but what is acknowledged must be
// there: a copy that has rotted unnoticed is replaced.
func TestI3DamagedCopyIsReplaced(t *testing.T) {
	r := newRig(t, nil)
	op := put(1, 0, 10)
	r.write(op)
	r.sync(0)
	r.reopen(true, firstSegment, func(b []byte) []byte { return flip(bytes.Index(b, op.Data) + 5)(b) })
	r.write(op)
	r.reads(op, chunk.Present)
}

// Compaction cannot copy a damaged payload; the knowledge that there was a
// version survives it, and the next start.
func TestDamageSurvivesCompaction(t *testing.T) {
	r := newRig(t, nil)
	op := put(1, 0, 10)
	r.write(op)
	r.sync(0)
	r.reopen(true, firstSegment, func(b []byte) []byte { return flip(bytes.Index(b, op.Data) + 5)(b) })
	for v := chunk.Version(20); v < 90; v++ {
		r.write(put(2, 0, v))
	}
	r.sync(89)
	r.store.CompactAll()
	r.reads(op, chunk.Damaged)
	r.reopen(true, "", nil)
	r.reads(op, chunk.Damaged)
}

// Where headers are lost, nobody knows what stood there. The node says that it
// is behind: its w is the last one in front of the damage, now and after
// further restarts.
func TestLostHeadersLowerW(t *testing.T) {
	for _, low := range []bool{false, true} {
		r := newRig(t, nil)
		if low {
			r.sync(4)
			r.write(repair(9, 0, 3)) // a put below W: its loss is not seen by W
		}
		r.write(put(1, 0, 10))
		r.sync(10)
		r.write(put(2, 0, 20))
		r.sync(20)
		r.write(put(3, 0, 30))
		r.sync(30)
		r.reopen(false, "", nil) // seals the segments
		r.write(put(4, 0, 40))
		r.sync(40)
		name := firstSegment
		if low {
			name = "segment-00000002"
		}
		r.reopen(true, name, func(b []byte) []byte {
			i := bytes.Index(b, data(20)) - 64
			b[i+9] ^= 1       // the header of block 2
			b[len(b)-10] ^= 1 // and the seal, so that it is not known from the table
			return b
		})
		want := chunk.Version(10)
		if low {
			want = 0
		}
		r.wantW(want)
		r.term.Watermark = 0 // what a gateway tells counts again
		for range 2 {
			for _, op := range []chunk.Op{put(1, 0, 10), put(3, 0, 30), put(4, 0, 40)} {
				r.reads(op, chunk.Present)
			}
			r.reopen(false, "", nil)
			r.wantW(want)
		}
		r.sync(50)
		r.reopen(false, "", nil)
		r.wantW(50)
	}
}

// The table of a finished segment knows what headers no longer say, and the
// headers what a damaged table no longer says.
func TestTableAndHeadersStandInForEachOther(t *testing.T) {
	for what, spoil := range map[string]func(b []byte, op chunk.Op) []byte{
		"header": func(b []byte, op chunk.Op) []byte { return flip(bytes.Index(b, op.Data) - 60)(b) },
		"table":  func(b []byte, op chunk.Op) []byte { return flip(len(b) - 100)(b) },
		"seal":   func(b []byte, op chunk.Op) []byte { return flip(len(b) - 10)(b) },
		"cut":    func(b []byte, op chunk.Op) []byte { return b[:len(b)-100] },
	} {
		r := newRig(t, nil)
		op := put(1, 0, 10)
		r.write(op, put(2, 0, 11), drop(3, 0, 5))
		r.sync(11)
		for range 2 {
			r.reopen(true, firstSegment, func(b []byte) []byte { return spoil(b, op) })
			r.reads(op, chunk.Present)
			r.reads(put(2, 0, 11), chunk.Present)
			r.wantW(11)
			if t.Failed() {
				t.Fatal(what)
			}
		}
	}
}

// A damaged slot leaves the other one.
func TestDamagedSlot(t *testing.T) {
	const volume = "volume-01000000000000000000000000000000"
	r := newRig(t, nil)
	r.putSuperblock()
	r.grant(2) // in the second slot of the grants; 2 in that of the superblocks
	r.reopen(true, volume, flip(8192+36864+100))
	if sb, err := r.store.Superblock(r.ctx, r.term.Volume); err != nil || sb.Number != 1 {
		t.Errorf("superblock %d, %v", sb.Number, err)
	}
	r.putSuperblock()
	r.reopen(true, volume, flip(4096+9))
	if h, _ := r.store.Hello(r.ctx); h.Volumes[0].Epoch != 1 {
		t.Errorf("epoch %d", h.Volumes[0].Epoch)
	}
	if sb, err := r.store.Superblock(r.ctx, r.term.Volume); err != nil || sb.Number != 3 {
		t.Errorf("superblock %d, %v", sb.Number, err)
	}
}

// Where the grant is lost altogether, what was written says which epochs were
// granted: none of them is granted to another again.
func TestI5LostGrant(t *testing.T) {
	r := newRig(t, nil)
	r.grant(5)
	r.write(put(1, 0, chunk.MakeVersion(5, 1)))
	r.sync(0)
	r.reopen(true, "volume-01000000000000000000000000000000", func(b []byte) []byte {
		clear(b)
		return b
	})
	if _, err := r.store.Grant(r.ctx, r.term.Volume, 5, 8); err == nil {
		t.Error("epoch 5 was granted twice")
	}
	r.grant(6)
	r.reads(put(1, 0, chunk.MakeVersion(5, 1)), chunk.Present)
}

func TestRandomGarbageNeverCrashes(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 150 {
		r := newRig(t, nil)
		for v := range chunk.Version(12) {
			r.write(put(uint64(v%5), 0, v+1), put(10+uint64(v), 1, v+1))
			r.write(patch(10+uint64(v), 1, v+1, v+21, ""))
		}
		r.sync(6)
		r.store.Kill()
		names, _ := r.fs.List()
		name := names[rng.IntN(len(names))]
		if name == "store" {
			continue
		}
		r.fs.Corrupt(name, func(b []byte) []byte {
			for range 1 + rng.IntN(40) {
				b[rng.IntN(len(b))] = byte(rng.Uint32())
			}
			return b[:len(b)-rng.IntN(2)*rng.IntN(len(b))]
		})
		r.store = chunkstore.MustOpen(t, crashOptions(r.fs))
		r.neverWrong(seed)
		r.store.Close()
	}
}

// neverWrong reads everything: right content, or damage, or absence.
func (r *rig) neverWrong(seed uint64) {
	r.term = chunk.Term{Volume: r.term.Volume, Epoch: 50, Nonce: 1}
	if _, err := r.store.Grant(r.ctx, r.term.Volume, 50, 1); err != nil {
		r.Fatalf("seed %d: %v", seed, err)
	}
	for _, s := range r.steps {
		want := r.content(s.op.Version)
		get := chunk.Get{Block: s.op.Block, Index: s.op.Index, AtMost: s.op.Version, Dst: make([]byte, len(want))}
		found, err := r.store.Read(r.ctx, r.term, []chunk.Get{get})
		if err != nil {
			r.Fatalf("seed %d: %v", seed, err)
		}
		if found[0] == (chunk.Chunk{Version: s.op.Version, State: chunk.Present}) && !bytes.Equal(get.Dst, want) {
			r.Fatalf("seed %d: version %s has wrong content", seed, s.op.Version)
		}
	}
}
