package chunktest

import (
	"bytes"

	"rozobox/pkg/chunk"
)

var swapTests = []suiteTest{
	{"I3SwapAnswersWhatItReplaced", testSwap},
	{"I3SwapAgainAnswersTheSame", testSwapAgain},
	{"I3SwapNeedsTheVersionBefore", testSwapNeedsBase},
	{"I3SwapNeedsItsInstance", testSwapNeedsInstance},
	{"I2SwapLeavesTheVersionBeforeUntilSettled", testSwapKeepsBase},
	{"SwapsAmongOthersInOneWrite", testSwapsAmongOthers},
}

// swapOp makes a new version of what base made.
func (r *rig) swapOp(base chunk.Op, off int, data string) chunk.Op {
	r.Helper()
	hello, err := r.store.Hello(r.ctx)
	r.must(err)
	op := chunk.Op{
		Kind: chunk.OpSwap, Block: base.Block, Index: base.Index, Version: r.version(),
		Off: uint32(off), Data: []byte(data), Instance: hello.Instance,
	}
	whole := bytes.Clone(r.content(op.Block, op.Index, base.Version))
	if off+len(data) <= len(whole) {
		copy(whole[off:], data)
	}
	r.patched[chunk.Position{Block: op.Block, Index: op.Index, Version: op.Version}] = whole
	return op
}

// replaced checks what a swap of base's bytes was answered.
func (r *rig) replaced(old chunk.Old, base, swap chunk.Op) {
	r.Helper()
	want := r.content(base.Block, base.Index, base.Version)[swap.Off:][:len(swap.Data)]
	if old.Base != base.Version || !bytes.Equal(old.Data, want) {
		r.Errorf("swap replaced %.16x of version %s, want %.16x of %s", old.Data, old.Base, want, base.Version)
	}
}

func testSwap(r *rig) {
	put := putOp(1, 2, r.version())
	first := r.swapOp(put, 7, "changed")
	bump := r.patchOp(first, 0, "")
	second := r.swapOp(bump, 9, "again")
	if ack := r.write(put); ack.Olds != nil {
		r.Errorf("a put has replaced %v", ack.Olds)
	}
	r.replaced(r.write(first).Olds[0], put, first)
	r.write(bump)
	r.replaced(r.write(second).Olds[0], bump, second)
	for _, op := range []chunk.Op{put, first, bump, second} {
		r.hasAtMost(1, 2, op.Version, op.Version)
	}
	r.listed(1, 2, put.Version, first.Version, bump.Version, second.Version)
}

func testSwapAgain(r *rig) {
	put := putOp(1, 0, r.version())
	swap := r.swapOp(put, 100, "x")
	newer := putOp(1, 0, r.version())
	r.write(put)
	for range 2 {
		r.replaced(r.write(swap).Olds[0], put, swap)
		r.settle(put.Version)
	}
	r.write(newer)
	r.replaced(r.write(swap).Olds[0], put, swap)
	r.has(1, 0, newer.Version)
	r.settle(swap.Version)
	r.refuse("swap whose version before is gone", swap, chunk.ErrNoBase)
}

func testSwapNeedsBase(r *rig) {
	base, newer := r.version(), r.version()
	refuse := func(what string, op chunk.Op, why error) {
		r.Helper()
		r.refuse(what, op, why)
		if c, _ := r.read(op.Block, op.Index, 0); c.Version >= op.Version && c.Version != newer {
			r.Errorf("%s: it was stored", what)
		}
	}
	refuse("swap in nothing", r.swapOp(putOp(1, 0, base), 0, "x"), chunk.ErrEmpty)
	r.write(tombstoneOp(2, 0, base))
	refuse("swap in a tombstone", r.swapOp(putOp(2, 0, base), 0, "x"), chunk.ErrEmpty)
	r.write(putOp(3, 0, base), dropOp(3, 0, base))
	refuse("swap in what was dropped", r.swapOp(putOp(3, 0, base), 0, "x"), chunk.ErrEmpty)
	named := r.swapOp(putOp(3, 0, base), 0, "x")
	named.Base = base
	refuse("swap in a version that was dropped", named, chunk.ErrNoBase)
	r.write(putOp(4, 1, base))
	refuse("swap in another chunk", r.swapOp(putOp(4, 0, base), 0, "x"), chunk.ErrEmpty)
	r.write(putOp(5, 0, base))
	refuse("swap beyond the end", r.swapOp(putOp(5, 0, base), len(content(5, 0, base)), "x"), chunk.ErrNoBase)
	r.write(putOp(7, 0, base))
	other := r.swapOp(putOp(7, 0, base), 0, "x")
	other.Base = newer
	refuse("swap in another version than named", other, chunk.ErrNoBase)
	other.Base = base
	r.write(other)
	late := r.swapOp(putOp(6, 0, base), 0, "x")
	newer = r.version()
	r.write(putOp(6, 0, base), putOp(6, 0, newer))
	refuse("swap behind a newer version", late, chunk.ErrNoBase)
}

// A node that was started anew may lack the version before, and have an older one.
func testSwapNeedsInstance(r *rig) {
	put, unsynced := putOp(1, 0, r.version()), putOp(1, 0, r.version())
	swap := r.swapOp(unsynced, 0, "x")
	r.write(put)
	r.settle(put.Version)
	r.write(unsynced)
	r.reopen(false)
	r.refuse("swap in what another instance had", swap, chunk.ErrNoBase)
	if c, _ := r.read(1, 0, 0); c.Version >= swap.Version {
		r.Error("it was stored")
	}
	r.write(unsynced)
	again := r.swapOp(unsynced, 0, "x")
	r.replaced(r.write(again).Olds[0], unsynced, again)
}

func testSwapKeepsBase(r *rig) {
	put := putOp(1, 0, r.version())
	r.keeps(put, r.swapOp(put, 0, "x"))
}

func testSwapsAmongOthers(r *rig) {
	one, two := putOp(1, 0, r.version()), putOp(2, 0, r.version())
	r.write(one, two)
	first, second := r.swapOp(one, 3, "first"), r.swapOp(two, 500, "second")
	ack, err := r.store.Write(r.ctx, r.term, []chunk.Op{
		first, r.swapOp(putOp(3, 0, one.Version), 0, "x"), putOp(4, 0, r.version()), second, {Kind: chunk.OpSync},
	})
	r.must(err)
	if len(ack.Olds) < 4 || len(ack.Errs) != 5 {
		r.Fatalf("%d bytes replaced, %d errors for 5 operations", len(ack.Olds), len(ack.Errs))
	}
	r.wantErr("swap in nothing", ack.Errs[1], chunk.ErrEmpty)
	for _, i := range []int{0, 2, 3, 4} {
		r.must(ack.Errs[i])
	}
	r.replaced(ack.Olds[0], one, first)
	r.replaced(ack.Olds[3], two, second)
	for _, i := range []int{1, 2} {
		if ack.Olds[i].Base != 0 || ack.Olds[i].Data != nil {
			r.Errorf("operation %d has replaced %v", i, ack.Olds[i])
		}
	}
}
