package chunktest

import (
	"bytes"

	"rozobox/pkg/chunk"
)

var patchTests = []suiteTest{
	{"I3PatchMakesAWholeChunk", testPatch},
	{"I3PatchAgainChangesNothing", testPatchAgain},
	{"I3PatchNeedsItsBase", testPatchNeedsBase},
	{"I2PatchLeavesItsBaseUntilSettled", testPatchKeepsBase},
	{"I2PatchOutlivesItsBase", testPatchOutlivesBase},
	{"PatchesInOneWrite", testPatchesInOneWrite},
	{"SettledPatchIsRefused", testPatchSettled},
}

// patchOp makes a new version of what base made.
func (r *rig) patchOp(base chunk.Op, off uint32, difference string) chunk.Op {
	op := chunk.Op{
		Kind: chunk.OpPatch, Block: base.Block, Index: base.Index, Version: r.version(),
		Base: base.Version, Off: off, Data: []byte(difference),
	}
	data := bytes.Clone(r.content(op.Block, op.Index, op.Base))
	for i, b := range op.Data {
		data[int(off)+i] ^= b
	}
	r.patched[chunk.Position{Block: op.Block, Index: op.Index, Version: op.Version}] = data
	return op
}

func testPatch(r *rig) {
	put := putOp(1, 2, r.version())
	patch := r.patchOp(put, 7, "changed")
	bump := r.patchOp(patch, 0, "")
	r.write(put)
	r.write(patch)
	r.write(bump)
	r.hasAtMost(1, 2, put.Version, put.Version)
	r.hasAtMost(1, 2, patch.Version, patch.Version)
	r.has(1, 2, bump.Version)
	r.listed(1, 2, put.Version, patch.Version, bump.Version)
}

func testPatchAgain(r *rig) {
	put := putOp(1, 0, r.version())
	patch := r.patchOp(put, 1000, "x")
	newer := putOp(1, 0, r.version())
	r.write(put, patch)
	r.write(patch)
	r.write(newer)
	r.write(patch) // that it is no longer the newest does not matter
	r.hasAtMost(1, 0, patch.Version, patch.Version)
	r.has(1, 0, newer.Version)
}

func testPatchNeedsBase(r *rig) {
	old, base, newer := r.version(), r.version(), r.version()
	refuse := func(what string, op chunk.Op) {
		r.Helper()
		r.refuse(what, op, chunk.ErrNoBase)
		if c, _ := r.read(op.Block, op.Index, 0); c.Version >= op.Version {
			r.Errorf("%s: it was stored", what)
		}
	}
	refuse("patch of nothing", r.patchOp(putOp(1, 0, base), 0, "x"))
	r.write(putOp(2, 0, old))
	refuse("bump of nothing", r.patchOp(putOp(1, 0, base), 0, ""))
	refuse("patch of an older version", r.patchOp(putOp(2, 0, base), 0, "x"))
	r.write(putOp(3, 0, base), putOp(3, 0, newer))
	refuse("patch behind a newer version", r.patchOp(putOp(3, 0, base), 0, "x"))
	r.write(tombstoneOp(4, 0, base))
	refuse("patch of a tombstone", r.patchOp(putOp(4, 0, base), 0, "x"))
	refuse("bump of a tombstone", r.patchOp(putOp(4, 0, base), 0, ""))
	r.write(putOp(5, 0, base), dropOp(5, 0, base))
	refuse("patch of what was dropped", r.patchOp(putOp(5, 0, base), 0, "x"))
	r.write(putOp(6, 1, base))
	refuse("patch of another chunk", r.patchOp(putOp(6, 0, base), 0, "x"))
	r.write(putOp(7, 0, base))
	beyond := r.patchOp(putOp(7, 0, base), 0, "x")
	beyond.Off = uint32(len(content(7, 0, base)))
	refuse("patch beyond the end", beyond)
}

func testPatchKeepsBase(r *rig) {
	put := putOp(1, 0, r.version())
	r.keeps(put, r.patchOp(put, 0, "x"))
}

// keeps checks that what changes a put leaves it until W has passed the change.
func (r *rig) keeps(put, change chunk.Op) {
	r.Helper()
	r.write(put)
	r.settle(put.Version)
	r.write(change)
	r.sync()
	r.hasAtMost(1, 0, put.Version, put.Version)
	r.settle(change.Version)
	r.listed(1, 0, change.Version)
}

func testPatchOutlivesBase(r *rig) {
	put := putOp(1, 0, r.version())
	patch := r.patchOp(put, 0, "x")
	r.write(put, patch)
	r.settle(patch.Version)
	r.sync()
	r.listed(1, 0, patch.Version)
	again := r.patchOp(patch, 1, "y")
	r.write(again)
	r.has(1, 0, again.Version)
}

func testPatchesInOneWrite(r *rig) {
	put := putOp(1, 0, r.version())
	first := r.patchOp(put, 0, "x")
	second := r.patchOp(first, 0, "y")
	r.write(put, first, tombstoneOp(1, 1, first.Version), second)
	r.has(1, 0, second.Version)
	bump := r.patchOp(second, 0, "")
	again := r.patchOp(bump, 0, "")
	third := r.patchOp(again, 0, "z")
	r.write(bump, again, third)
	r.hasAtMost(1, 0, again.Version, again.Version)
	r.has(1, 0, third.Version)
}

func testPatchSettled(r *rig) {
	put := putOp(1, 0, r.version())
	patch := r.patchOp(put, 0, "x")
	r.write(put)
	r.settle(patch.Version)
	r.refuse("patch at W", patch, chunk.ErrSettled)
}

func testPatchSurvives(r *rig, clean bool) {
	put := putOp(1, 0, r.version())
	patch := r.patchOp(put, 0, "x")
	r.write(put, patch)
	r.settle(put.Version)
	r.reopen(clean)
	r.hasAtMost(1, 0, put.Version, put.Version)
	r.has(1, 0, patch.Version)
}
