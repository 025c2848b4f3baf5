package chunktest

import (
	"bytes"

	"rozobox/pkg/chunk"
)

var writeTests = []suiteTest{
	{"I7AcknowledgedIsVisible", testVisible},
	{"PayloadIsTheCallersAgain", testPayload},
	{"OpsApplyInOrder", testOrder},
	{"AckTellsInstanceAndRefusals", testAck},
	{"I8InvalidOpsAreRefused", testInvalidOps},
	{"LargestRequest", testLargest},
	{"EmptyWrite", testEmptyWrite},
}

func testVisible(r *rig) {
	v := r.version()
	r.write(putOp(1, 0, v), putOp(1, 5, v), putOp(1<<40, 0, v))
	r.has(1, 0, v)
	r.has(1, 5, v)
	r.has(1<<40, 0, v)
	r.lacks(1, 1, 0)
	r.lacks(2, 0, 0)
	w := r.version()
	r.write(putOp(1, 0, w))
	r.has(1, 0, w)
	r.hasAtMost(1, 0, v, v)
	r.has(1, 5, v)
}

func testPayload(r *rig) {
	op := putOp(1, 0, r.version())
	r.write(op)
	clear(op.Data)
	r.has(1, 0, op.Version)
}

func testOrder(r *rig) {
	a, b, c := r.version(), r.version(), r.version()
	r.write(putOp(1, 0, a), dropOp(1, 0, a), putOp(1, 0, b), tombstoneOp(1, 0, c),
		putOp(2, 0, a), putOp(2, 1, a), dropOp(2, chunk.AllIndexes, c), putOp(2, 1, b))
	r.listed(1, 0, b, c)
	r.hidden(1, 0, c)
	r.lacks(2, 0, 0)
	r.listed(2, 1, b)
}

func testAck(r *rig) {
	h, err := r.store.Hello(r.ctx)
	r.must(err)
	low, v := r.version(), r.version()
	r.settle(low)
	ack := r.write(putOp(1, 0, v))
	if ack.Instance != h.Instance || ack.FreeBytes == 0 {
		r.Errorf("ack %+v", ack)
	}
	ops := []chunk.Op{putOp(2, 0, v), putOp(3, 0, low), putOp(4, 0, v)}
	ack, err = r.store.Write(r.ctx, r.term, ops)
	r.must(err)
	if len(ack.Errs) != 3 || ack.Errs[0] != nil || ack.Errs[2] != nil {
		r.Fatalf("one refusal of three: %v", ack.Errs)
	}
	r.wantErr("late put", ack.Errs[1], chunk.ErrSettled)
	r.has(2, 0, v)
	r.lacks(3, 0, 0)
	r.has(4, 0, v)
	ack, err = r.store.Sync(r.ctx, r.term)
	r.must(err)
	if ack.Instance != h.Instance || ack.Errs != nil {
		r.Errorf("sync: ack %+v", ack)
	}
}

func testInvalidOps(r *rig) {
	v := r.version()
	with := func(change func(op *chunk.Op)) chunk.Op {
		op := putOp(1, 0, v)
		change(&op)
		return op
	}
	for what, op := range map[string]chunk.Op{
		"no kind":            with(func(op *chunk.Op) { op.Kind = 0 }),
		"unknown kind":       with(func(op *chunk.Op) { op.Kind = 99 }),
		"version 0":          with(func(op *chunk.Op) { op.Version = 0 }),
		"index too high":     with(func(op *chunk.Op) { op.Index = chunk.MaxWidth }),
		"put to all indexes": with(func(op *chunk.Op) { op.Index = chunk.AllIndexes }),
		"put of nothing":     with(func(op *chunk.Op) { op.Data = nil }),
		"ragged put":         with(func(op *chunk.Op) { op.Data = op.Data[:17] }),
		"put too large":      with(func(op *chunk.Op) { op.Data = make([]byte, chunk.MaxChunkSize+chunk.ChunkAlign) }),
		"full tombstone":     with(func(op *chunk.Op) { op.Kind = chunk.OpTombstone }),
		"full drop":          with(func(op *chunk.Op) { op.Kind = chunk.OpDrop }),
		"drop of version 0":  dropOp(1, 0, 0),
		"drop index":         dropOp(1, chunk.MaxWidth, v),
		"put with a base":    with(func(op *chunk.Op) { op.Base = 1 }),
		"put at an offset":   with(func(op *chunk.Op) { op.Off = 16 }),
		"patch without base": with(func(op *chunk.Op) { op.Kind = chunk.OpPatch }),
		"patch of itself":    with(func(op *chunk.Op) { op.Kind, op.Base = chunk.OpPatch, v }),
		"patch too far":      with(func(op *chunk.Op) { op.Kind, op.Base, op.Off = chunk.OpPatch, v-1, chunk.MaxChunkSize }),
		"sync of a block":    with(func(op *chunk.Op) { op.Kind, op.Data = chunk.OpSync, nil }),
		"put to an instance": with(func(op *chunk.Op) { op.Instance[0] = 1 }),
		"swap of nothing":    with(func(op *chunk.Op) { op.Kind, op.Data = chunk.OpSwap, nil }),
		"swap in itself":     with(func(op *chunk.Op) { op.Kind, op.Base = chunk.OpSwap, v }),
		"swap too far":       with(func(op *chunk.Op) { op.Kind, op.Off = chunk.OpSwap, chunk.MaxChunkSize }),
		"swap as repair":     with(func(op *chunk.Op) { op.Kind, op.Repair = chunk.OpSwap, true }),
		"patch as repair":    with(func(op *chunk.Op) { op.Kind, op.Base, op.Repair = chunk.OpPatch, v-1, true }),
	} {
		r.refuse(what, op, chunk.ErrInvalid)
	}
	_, err := r.store.Write(r.ctx, r.term, []chunk.Op{{Kind: chunk.OpSync}, putOp(1, 0, v)})
	r.wantErr("sync before the end", err, chunk.ErrInvalid)
	_, err = r.store.Write(r.ctx, r.term, make([]chunk.Op, chunk.MaxOps+1))
	r.wantErr("too many operations", err, chunk.ErrInvalid)
	var ops []chunk.Op
	for i := range chunk.MaxRequestBytes/chunk.MaxChunkSize + 1 {
		ops = append(ops, chunk.Op{
			Kind: chunk.OpPut, Block: uint64(i), Version: v, Data: make([]byte, chunk.MaxChunkSize),
		})
	}
	_, err = r.store.Write(r.ctx, r.term, ops)
	r.wantErr("too many bytes", err, chunk.ErrInvalid)
	if all := r.list(0, 10); len(all) != 0 {
		r.Errorf("refused operations left %v", all)
	}
}

func testLargest(r *rig) {
	v := r.version()
	var ops []chunk.Op
	for i := range chunk.MaxOps {
		op := putOp(uint64(i), uint8(i%chunk.MaxWidth), v)
		op.Data = op.Data[:1024]
		ops = append(ops, op)
	}
	r.write(ops...)
	var gets []chunk.Get
	for _, op := range ops {
		gets = append(gets, chunk.Get{Block: op.Block, Index: op.Index, Dst: make([]byte, 1024)})
	}
	found, err := r.store.Read(r.ctx, r.term, gets)
	r.must(err)
	for i := range found {
		if found[i].State != chunk.Present || !bytes.Equal(gets[i].Dst, ops[i].Data) {
			r.Fatalf("operation %d: %v", i, found[i])
		}
	}
	r.write(dropAll(ops)...)
	big := make([]byte, chunk.MaxChunkSize)
	for i := range big {
		big[i] = byte(i / 251)
	}
	ops = ops[:chunk.MaxRequestBytes/chunk.MaxChunkSize]
	for i := range ops {
		ops[i].Data = big
	}
	r.write(ops...)
	got := make([]byte, chunk.MaxChunkSize)
	found, err = r.store.Read(r.ctx, r.term, []chunk.Get{{Block: 3, Index: 3, Dst: got}})
	r.must(err)
	if found[0].State != chunk.Present || !bytes.Equal(got, big) {
		r.Errorf("largest chunk: %v", found[0])
	}
	r.write(dropAll(ops)...)
}

func dropAll(ops []chunk.Op) []chunk.Op {
	var drops []chunk.Op
	for _, op := range ops {
		drops = append(drops, dropOp(op.Block, chunk.AllIndexes, op.Version))
	}
	return drops
}

func testEmptyWrite(r *rig) {
	r.write()
	found, err := r.store.Read(r.ctx, r.term, nil)
	r.must(err)
	if len(found) != 0 {
		r.Errorf("a read of nothing found %v", found)
	}
}

var readTests = []suiteTest{
	{"Ranges", testRanges},
	{"AtMost", testAtMost},
	{"EmptyDstAsksForTheVersion", testHead},
	{"TombstoneAndAbsenceLeaveDst", testDstUntouched},
	{"BeyondTheEndIsDamageNotAbsence", testBeyond},
	{"ManyInOrder", testManyGets},
	{"Bounds", testReadBounds},
}

func testRanges(r *rig) {
	v := chunk.Version(9) // 16 KiB
	want := content(1, 0, v)
	r.write(putOp(1, 0, v))
	for _, rg := range [][2]int{
		{0, 1}, {0, 4096}, {4096, 4096}, {1, 4095}, {4095, 2}, {100, 9000}, {12288, 4096},
		{16383, 1}, {0, 16384}, {8191, 8193},
	} {
		got := make([]byte, rg[1])
		found, err := r.store.Read(r.ctx, r.term, []chunk.Get{{Block: 1, Off: uint32(rg[0]), Dst: got}})
		r.must(err)
		if found[0] != (chunk.Chunk{Version: v, State: chunk.Present}) || !bytes.Equal(got, want[rg[0]:rg[0]+rg[1]]) {
			r.Errorf("range %v: %v", rg, found[0])
		}
	}
}

func testAtMost(r *rig) {
	r.write(putOp(1, 0, 10), putOp(1, 0, 20), tombstoneOp(1, 0, 30), putOp(1, 0, 40))
	r.lacks(1, 0, 9)
	r.hasAtMost(1, 0, 10, 10)
	r.hasAtMost(1, 0, 19, 10)
	r.hasAtMost(1, 0, 20, 20)
	if c, _ := r.read(1, 0, 39); c != (chunk.Chunk{Version: 30, State: chunk.Tombstone}) {
		r.Errorf("at most 39: %v", c)
	}
	r.hasAtMost(1, 0, 40, 40)
	r.hasAtMost(1, 0, 1<<60, 40)
	r.has(1, 0, 40)
}

func testHead(r *rig) {
	v := r.version()
	r.write(putOp(1, 0, v))
	found, err := r.store.Read(r.ctx, r.term, []chunk.Get{{Block: 1}, {Block: 2}})
	r.must(err)
	if found[0] != (chunk.Chunk{Version: v, State: chunk.Present}) || found[1].State != chunk.Absent {
		r.Errorf("versions: %v", found)
	}
}

func testDstUntouched(r *rig) {
	v := r.version()
	r.write(tombstoneOp(1, 0, v))
	a, b := bytes.Repeat([]byte{7}, 100), bytes.Repeat([]byte{7}, 100)
	found, err := r.store.Read(r.ctx, r.term, []chunk.Get{{Block: 1, Dst: a}, {Block: 2, Dst: b}})
	r.must(err)
	if found[0] != (chunk.Chunk{Version: v, State: chunk.Tombstone}) || found[1] != (chunk.Chunk{}) {
		r.Errorf("found %v", found)
	}
	if !bytes.Equal(a, bytes.Repeat([]byte{7}, 100)) || !bytes.Equal(b, a) {
		r.Error("Dst was touched")
	}
}

func testBeyond(r *rig) {
	v := chunk.Version(5) // 1 KiB
	r.write(putOp(1, 0, v))
	for _, get := range []chunk.Get{
		{Block: 1, Off: 1020, Dst: make([]byte, 8)},
		{Block: 1, Off: 1024, Dst: make([]byte, 1)},
		{Block: 1, Off: chunk.MaxChunkSize - 4096, Dst: make([]byte, 4096)},
	} {
		found, err := r.store.Read(r.ctx, r.term, []chunk.Get{get})
		r.must(err)
		if found[0] != (chunk.Chunk{Version: v, State: chunk.Damaged}) {
			r.Errorf("offset %d: %v", get.Off, found[0])
		}
	}
	r.has(1, 0, v)
}

func testManyGets(r *rig) {
	v := r.version()
	r.write(putOp(7, 0, v), putOp(3, 2, v), tombstoneOp(5, 0, v))
	found, err := r.store.Read(r.ctx, r.term, []chunk.Get{
		{Block: 5}, {Block: 7}, {Block: 4}, {Block: 3, Index: 2}, {Block: 7},
	})
	r.must(err)
	want := []chunk.ChunkState{chunk.Tombstone, chunk.Present, chunk.Absent, chunk.Present, chunk.Present}
	for i, c := range found {
		if c.State != want[i] {
			r.Errorf("get %d: %v, want state %d", i, c, want[i])
		}
	}
}

func testReadBounds(r *rig) {
	_, err := r.store.Read(r.ctx, r.term, make([]chunk.Get, chunk.MaxOps+1))
	r.wantErr("too many gets", err, chunk.ErrInvalid)
	_, err = r.store.Read(r.ctx, r.term, []chunk.Get{{Dst: make([]byte, chunk.MaxRequestBytes+1)}})
	r.wantErr("too many bytes", err, chunk.ErrInvalid)
	for what, get := range map[string]chunk.Get{
		"beyond any chunk": {Off: chunk.MaxChunkSize, Dst: make([]byte, 1)},
		"last offset":      {Off: 1<<32 - 1, Dst: make([]byte, 4096)},
		"index too high":   {Index: chunk.MaxWidth},
		"all indexes":      {Index: chunk.AllIndexes},
	} {
		_, err := r.store.Read(r.ctx, r.term, []chunk.Get{get})
		r.wantErr(what, err, chunk.ErrInvalid)
	}
}
