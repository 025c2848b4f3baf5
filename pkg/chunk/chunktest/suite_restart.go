package chunktest

import (
	"errors"
	"math/rand/v2"

	"rozobox/pkg/chunk"
)

var restartTests = []suiteTest{
	{"SyncedSurvives", bothWays(testSyncedSurvives)},
	{"SyncedByItsWriteSurvives", bothWays(testSyncedByWrite)},
	{"UnsyncedIsIntactOrAbsent", bothWays(testUnsynced)},
	{"I5GrantSurvives", bothWays(testGrantSurvives)},
	{"SuperblockSurvives", bothWays(testSuperblockSurvives)},
	{"PatchSurvives", bothWays(testPatchSurvives)},
	{"I6DropAndTombstoneSurvive", bothWays(testDropSurvives)},
	{"I6DeletedStaysDeleted", bothWays(testDeletedSurvives)},
	{"I2SupersededAfterRestart", bothWays(testFreedAfterRestart)},
}

// bothWays runs a test with a clean stop and with an unclean one.
func bothWays(test func(r *rig, clean bool)) func(r *rig) {
	return func(r *rig) {
		test(r, true)
		if !r.Failed() {
			r.term.Epoch++
			r.term.Volume, r.term.Watermark, r.next = newVolumeID(), 0, 0
			r.grant(r.term)
			test(r, false)
		}
	}
}

func testSyncedSurvives(r *rig, clean bool) {
	h, err := r.store.Hello(r.ctx)
	r.must(err)
	a, b, c := r.version(), r.version(), r.version()
	r.write(putOp(1, 0, a), putOp(2, 5, a), putOp(1, 0, b))
	r.settle(a)
	r.reopen(clean)
	again, err := r.store.Hello(r.ctx)
	r.must(err)
	if again.Node != h.Node || again.Store != h.Store || again.Instance == h.Instance {
		r.Errorf("%+v came back as %+v", h, again)
	}
	r.wantW(a)
	r.listed(1, 0, a, b)
	r.has(2, 5, a)
	r.write(putOp(1, 0, c))
	r.has(1, 0, c)
	r.has(1, 0, c)
}

func testSyncedByWrite(r *rig, clean bool) {
	a, b, c := r.version(), r.version(), r.version()
	r.write(putOp(1, 0, a))
	r.term.Watermark = a
	r.write(putOp(1, 0, b), putOp(2, 5, b), chunk.Op{Kind: chunk.OpSync})
	r.reopen(clean)
	r.wantW(a)
	r.listed(1, 0, a, b)
	r.has(2, 5, b)
	ack, err := r.store.Write(r.ctx, r.term, []chunk.Op{putOp(1, 0, c), putOp(1, 1, a), {Kind: chunk.OpSync}})
	r.must(err)
	if len(ack.Errs) != 3 || ack.Errs[0] != nil || !errors.Is(ack.Errs[1], chunk.ErrSettled) || ack.Errs[2] != nil {
		r.Errorf("a refused put between others: %v", ack.Errs)
	}
	r.reopen(clean)
	r.has(1, 0, c)
	d := r.version()
	r.write(putOp(1, 0, d))
	r.write(chunk.Op{Kind: chunk.OpSync})
	r.reopen(clean)
	r.has(1, 0, d)
}

func testUnsynced(r *rig, clean bool) {
	r.write(putOp(1, 0, r.version()))
	r.sync()
	for range 20 {
		v := r.version()
		r.write(putOp(v.Seq(), 0, v), putOp(1, 0, v))
	}
	r.reopen(clean)
	// Everything that is listed is intact (checkAll); and what was lost is
	// lost, not damaged.
	for v := chunk.MakeVersion(r.term.Epoch, 2); v <= chunk.MakeVersion(r.term.Epoch, r.next); v++ {
		if c, _ := r.read(v.Seq(), 0, 0); c.State == chunk.Present {
			r.has(v.Seq(), 0, c.Version)
		} else if c.State != chunk.Absent {
			r.Errorf("version %s: %v", v, c)
		}
	}
	if c, _ := r.read(1, 0, 0); c.State != chunk.Present {
		r.Errorf("an unsynced overwrite cost the synced version: %v", c)
	}
}

func testGrantSurvives(r *rig, clean bool) {
	old := r.term
	r.term.Epoch, r.term.Nonce = old.Epoch+4, rand.Uint64()
	r.grant(r.term)
	r.reopen(clean)
	_, err := r.store.Beat(r.ctx, r.term)
	r.must(err)
	_, err = r.store.Beat(r.ctx, old)
	r.wantErr("the older gateway", err, chunk.ErrDeposed)
	_, err = r.store.Grant(r.ctx, r.term.Volume, r.term.Epoch, r.term.Nonce+1)
	r.wantErr("the same epoch to another", err, chunk.ErrDeposed)
}

func testSuperblockSurvives(r *rig, clean bool) {
	name := r.term.Volume.String()
	r.putSuperblock(r.superblock(1, name))
	sb := r.superblock(2, name)
	r.putSuperblock(sb)
	r.reopen(clean)
	r.hasSuperblock(sb)
	other := *r
	other.term = chunk.Term{Volume: newVolumeID(), Epoch: 1, Nonce: 7}
	other.grant(other.term)
	err := r.store.PutSuperblock(r.ctx, other.term, other.superblock(1, name))
	r.wantErr("a name claimed before the restart", err, chunk.ErrNameTaken)
}

func testDropSurvives(r *rig, clean bool) {
	r.write(putOp(1, 0, 10), putOp(2, 0, 10), putOp(2, 1, 10), putOp(3, 0, 10), putOp(4, 0, 10))
	r.sync()
	r.write(dropOp(1, 0, 10), dropOp(2, chunk.AllIndexes, 10), tombstoneOp(3, 0, 20), dropOp(4, 0, 10))
	r.write(putOp(4, 0, 10))
	r.sync()
	for range 2 {
		r.reopen(clean)
		r.lacks(1, 0, 0)
		r.lacks(2, 0, 0)
		r.lacks(2, 1, 0)
		r.hidden(3, 0, 20)
		r.has(4, 0, 10)
	}
}

func testDeletedSurvives(r *rig, clean bool) {
	sb := r.superblock(1, r.term.Volume.String())
	r.putSuperblock(sb)
	r.write(putOp(1, 0, r.version()))
	r.sync()
	sb.Number, sb.Deleted = 2, true
	r.putSuperblock(sb)
	r.reopen(clean)
	r.lacks(1, 0, 0)
	r.hasSuperblock(sb)
	if s, _ := r.state(r.term.Volume); !s.Deleted {
		r.Error("hello does not say that the volume is deleted")
	}
}

func testFreedAfterRestart(r *rig, clean bool) {
	r.write(putOp(1, 0, 10), putOp(1, 0, 20), putOp(1, 0, 30))
	r.settle(20)
	r.reopen(clean)
	r.wantW(20)
	r.listed(1, 0, 20, 30)
	r.settle(30)
	r.sync()
	r.listed(1, 0, 30)
	r.refuse("put below W", putOp(1, 0, 25), chunk.ErrSettled)
}
