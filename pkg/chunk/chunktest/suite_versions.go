package chunktest

import (
	"bytes"

	"rozobox/pkg/chunk"
)

var versionTests = []suiteTest{
	{"I3SameVersionAgainChangesNothing", testSameAgain},
	{"I2VersionsAboveWAreKept", testKeptAboveW},
	{"I2SupersededIsKeptUntilSynced", testKeptUntilSynced},
	{"I2SupersededIsKeptWithoutW", testKeptWithoutW},
	{"SupersededIsFreed", testFreed},
	{"SettledPutIsRefused", testSettled},
	{"SettledPutThatIsHeldIsAcknowledged", testSettledHeld},
	{"RepairPutsBelowW", testRepair},
	{"RepairIsIgnoredBelowNewer", testRepairIgnored},
	{"RepairNeverHidesNewer", testRepairBelowUnsettled},
	{"TombstoneHidesOlder", testTombstone},
	{"OlderAfterNewer", testOlderAfterNewer},
}

func testSameAgain(r *rig) {
	v := r.version()
	r.write(putOp(1, 0, v))
	other := putOp(1, 0, v)
	other.Data = bytes.Repeat([]byte{1}, 4096)
	r.write(other)
	r.has(1, 0, v)
	r.write(putOp(1, 0, v), putOp(1, 0, v))
	r.listed(1, 0, v)
	r.write(tombstoneOp(2, 0, v), tombstoneOp(2, 0, v))
	r.listed(2, 0, v)
}

func testKeptAboveW(r *rig) {
	r.write(putOp(1, 0, 10), putOp(1, 0, 20), putOp(1, 0, 30))
	r.settle(9)
	r.listed(1, 0, 10, 20, 30)
	r.settle(20)
	r.listed(1, 0, 20, 30)
	r.settle(29)
	r.listed(1, 0, 20, 30)
	r.hasAtMost(1, 0, 29, 20)
	r.has(1, 0, 30)
}

// timeline:  put 10, sync, W 10 | put 20 and W 20 told, not synced: power may
// fail now, and 10 is all that is left.
func testKeptUntilSynced(r *rig) {
	r.write(putOp(1, 0, 10))
	r.settle(10)
	r.write(putOp(1, 0, 20))
	r.term.Watermark = 20
	r.list(0, 1)
	r.hasAtMost(1, 0, 19, 10)
	r.listed(1, 0, 10, 20)
}

func testKeptWithoutW(r *rig) {
	r.write(putOp(1, 0, 10))
	r.settle(10)
	r.write(putOp(1, 0, 20), tombstoneOp(1, 0, 30))
	r.sync()
	r.sync()
	r.listed(1, 0, 10, 20, 30)
}

func testFreed(r *rig) {
	r.write(putOp(1, 0, 10), putOp(1, 1, 10), putOp(1, 0, 20), tombstoneOp(2, 0, 15), putOp(2, 0, 25))
	r.settle(30)
	r.sync()
	r.listed(1, 0, 20)
	r.listed(1, 1, 10)
	r.listed(2, 0, 25)
	r.lacks(1, 0, 19)
}

func testSettled(r *rig) {
	r.settle(20)
	r.refuse("put below W", putOp(1, 0, 10), chunk.ErrSettled)
	r.refuse("put at W", putOp(1, 0, 20), chunk.ErrSettled)
	r.refuse("tombstone below W", tombstoneOp(1, 0, 10), chunk.ErrSettled)
	r.lacks(1, 0, 0)
	r.write(putOp(1, 0, 21))
	r.has(1, 0, 21)
}

func testSettledHeld(r *rig) {
	r.write(putOp(1, 0, 10), tombstoneOp(2, 0, 10))
	r.settle(20)
	r.write(putOp(1, 0, 10), tombstoneOp(2, 0, 10))
	r.listed(1, 0, 10)
	r.listed(2, 0, 10)
}

func testRepair(r *rig) {
	r.settle(20)
	r.write(repairOp(putOp(1, 0, 10)), repairOp(tombstoneOp(2, 0, 20)), repairOp(putOp(3, 0, 30)))
	r.has(1, 0, 10)
	r.hidden(2, 0, 20)
	r.has(3, 0, 30)
	r.write(repairOp(putOp(1, 0, 15)))
	r.has(1, 0, 15)
	r.settle(20)
	r.wantW(20)
}

func testRepairIgnored(r *rig) {
	r.write(putOp(1, 0, 15), tombstoneOp(2, 0, 15))
	r.settle(20)
	r.write(repairOp(putOp(1, 0, 10)), repairOp(putOp(2, 0, 10)))
	r.listed(1, 0, 15)
	r.listed(2, 0, 15)
}

func testRepairBelowUnsettled(r *rig) {
	r.settle(20)
	r.write(putOp(1, 0, 25))
	r.write(repairOp(putOp(1, 0, 10)))
	r.listed(1, 0, 10, 25)
	r.has(1, 0, 25)
	r.settle(25)
	r.sync()
	r.listed(1, 0, 25)
}

func testTombstone(r *rig) {
	r.write(putOp(1, 0, 10))
	r.write(tombstoneOp(1, 0, 20))
	r.hidden(1, 0, 20)
	r.hasAtMost(1, 0, 19, 10)
	r.settle(20)
	r.sync()
	r.listed(1, 0, 20)
	r.hidden(1, 0, 20)
	r.write(putOp(1, 0, 30))
	r.has(1, 0, 30)
}

func testOlderAfterNewer(r *rig) {
	r.write(putOp(1, 0, 30))
	r.write(putOp(1, 0, 10), putOp(1, 0, 20))
	r.has(1, 0, 30)
	r.listed(1, 0, 10, 20, 30)
	r.settle(20)
	r.listed(1, 0, 20, 30)
}

var dropTests = []suiteTest{
	{"I6DropRemovesUpToItsVersion", testDrop},
	{"DropOfOneIndex", testDropIndex},
	{"DropOfAllIndexes", testDropAll},
	{"DropOfNothing", testDropNothing},
	{"PutAfterDropStays", testPutAfterDrop},
}

func testDrop(r *rig) {
	r.write(putOp(1, 0, 10), tombstoneOp(1, 0, 20), putOp(1, 0, 30))
	r.write(dropOp(1, 0, 20))
	r.listed(1, 0, 30)
	r.write(dropOp(1, 0, 29))
	r.has(1, 0, 30)
	r.write(dropOp(1, 0, 30))
	r.lacks(1, 0, 0)
	r.sync()
	r.lacks(1, 0, 0)
}

func testDropIndex(r *rig) {
	r.write(putOp(1, 0, 10), putOp(1, 1, 10), putOp(2, 0, 10))
	r.write(dropOp(1, 0, 10))
	r.lacks(1, 0, 0)
	r.has(1, 1, 10)
	r.has(2, 0, 10)
}

func testDropAll(r *rig) {
	r.write(putOp(1, 0, 10), putOp(1, 5, 20), putOp(1, 31, 10), putOp(0, 31, 10), putOp(2, 0, 10))
	r.write(dropOp(1, chunk.AllIndexes, 15))
	r.lacks(1, 0, 0)
	r.has(1, 5, 20)
	r.lacks(1, 31, 0)
	r.has(0, 31, 10)
	r.has(2, 0, 10)
}

func testDropNothing(r *rig) {
	r.write(dropOp(1, 0, 10), dropOp(1, chunk.AllIndexes, 10))
	r.settle(20)
	r.write(dropOp(1, 0, 10)) // no put: W does not refuse it
	if all := r.list(0, 10); len(all) != 0 {
		r.Errorf("drops are listed: %v", all)
	}
}

// A drop removes what the node held when it came, not what comes later: a node
// that gets a chunk back holds it.
func testPutAfterDrop(r *rig) {
	r.write(putOp(1, 0, 10), putOp(2, 3, 10))
	r.write(dropOp(1, 0, 20), dropOp(2, chunk.AllIndexes, 20))
	r.write(putOp(1, 0, 10), putOp(2, 3, 15))
	r.has(1, 0, 10)
	r.has(2, 3, 15)
	r.sync()
	r.has(1, 0, 10)
}
