package chunktest

import (
	"bytes"
	"slices"
	"strings"

	"rozobox/pkg/chunk"
)

var officeTests = []suiteTest{
	{"HelloNeedsNoTerm", testHello},
	{"GrantTellsStoreAndInstance", testGrantTells},
	{"GrantIsRepeatable", testGrantRepeatable},
	{"GrantOfUnknownVolume", testGrantUnknown},
	{"GrantBounds", testGrantBounds},
	{"I5LowerOrEqualEpochIsNotGranted", testGrantDeposed},
	{"I5DeposedGatewayIsRefused", testDeposed},
	{"I5TermNotGrantedIsRefused", testNotGranted},
	{"BeatTellsW", testBeat},
	{"WNeverGoesDown", testWatermarkMonotonic},
	{"WRidesOnEveryRequest", testWatermarkRides},
	{"TermsOfTwoVolumesAreTheirOwn", testTwoVolumes},
}

func (r *rig) state(id chunk.VolumeID) (chunk.VolumeState, bool) {
	r.Helper()
	h, err := r.store.Hello(r.ctx)
	r.must(err)
	i := slices.IndexFunc(h.Volumes, func(v chunk.VolumeState) bool { return v.ID == id })
	if i < 0 {
		return chunk.VolumeState{}, false
	}
	return h.Volumes[i], true
}

func (r *rig) wantW(want chunk.Version) {
	r.Helper()
	if s, _ := r.state(r.term.Volume); s.Watermark != want {
		r.Errorf("w is %s, want %s", s.Watermark, want)
	}
}

func testHello(r *rig) {
	h, err := r.store.Hello(r.ctx)
	r.must(err)
	if h.Node == "" || h.Store == (chunk.StoreID{}) || h.Instance == (chunk.InstanceID{}) || h.ReadOnly {
		r.Errorf("hello: %+v", h)
	}
	if s, ok := r.state(r.term.Volume); !ok || s.Epoch != 1 || s.Watermark != 0 || s.Deleted {
		r.Errorf("volume: %+v", s)
	}
}

func testGrantTells(r *rig) {
	h, err := r.store.Hello(r.ctx)
	r.must(err)
	r.putSuperblock(r.superblock(1, "disk"))
	r.settle(5)
	r.term.Epoch = 2
	g := r.grant(r.term)
	if g.Store != h.Store || g.Instance != h.Instance || g.Watermark != 5 {
		r.Errorf("granted %+v by %+v", g, h)
	}
	if g.Superblock.Number != 1 || g.Superblock.Name != "disk" {
		r.Errorf("superblock %+v", g.Superblock)
	}
	if s, _ := r.state(r.term.Volume); s.Epoch != 2 {
		r.Errorf("epoch %d after a grant of 2", s.Epoch)
	}
}

func testGrantRepeatable(r *rig) {
	v := r.version()
	r.write(putOp(1, 0, v))
	r.grant(r.term)
	r.has(1, 0, v)
}

func testGrantUnknown(r *rig) {
	term := chunk.Term{Volume: newVolumeID(), Epoch: 9, Nonce: 1}
	if g := r.grant(term); g.Superblock.Number != 0 || g.Watermark != 0 {
		r.Errorf("granted %+v of a new volume", g)
	}
	_, err := r.store.Beat(r.ctx, term)
	r.must(err)
}

func testGrantBounds(r *rig) {
	_, err := r.store.Grant(r.ctx, r.term.Volume, 0, 1)
	r.wantErr("epoch 0", err, chunk.ErrInvalid)
	_, err = r.store.Grant(r.ctx, r.term.Volume, chunk.MaxEpoch+1, 1)
	r.wantErr("epoch above the last", err, chunk.ErrInvalid)
	r.term.Epoch = chunk.MaxEpoch
	r.grant(r.term)
}

func testGrantDeposed(r *rig) {
	r.term.Epoch = 5
	r.grant(r.term)
	_, err := r.store.Grant(r.ctx, r.term.Volume, 4, r.term.Nonce)
	r.wantErr("lower epoch", err, chunk.ErrDeposed)
	_, err = r.store.Grant(r.ctx, r.term.Volume, 5, r.term.Nonce+1)
	r.wantErr("same epoch, other gateway", err, chunk.ErrDeposed)
	_, err = r.store.Beat(r.ctx, r.term)
	r.must(err)
}

// everyRequest makes each request that carries a term.
func (r *rig) everyRequest(term chunk.Term) map[string]error {
	v := chunk.MakeVersion(term.Epoch, 1000)
	_, beat := r.store.Beat(r.ctx, term)
	sb := r.store.PutSuperblock(r.ctx, term, chunk.Superblock{
		Volume: term.Volume, Number: 77, Epoch: term.Epoch, Name: "other", Body: []byte{1},
	})
	_, write := r.store.Write(r.ctx, term, []chunk.Op{putOp(50, 0, v), dropOp(1, 0, v)})
	_, read := r.store.Read(r.ctx, term, []chunk.Get{{Block: 1}})
	_, sync := r.store.Sync(r.ctx, term)
	_, _, list := r.store.List(r.ctx, term, chunk.ListRequest{Limit: 1})
	return map[string]error{
		"Beat": beat, "PutSuperblock": sb, "Write": write, "Read": read, "Sync": sync, "List": list,
	}
}

// refusesAll checks that the term is refused everywhere, without effect.
func (r *rig) refusesAll(term chunk.Term, want error) {
	r.Helper()
	before, _ := r.state(r.term.Volume)
	for name, err := range r.everyRequest(term) {
		r.wantErr(name, err, want)
	}
	if after, _ := r.state(r.term.Volume); after != before {
		r.Errorf("refused requests changed %+v to %+v", before, after)
	}
	r.lacks(50, 0, 0)
	if _, err := r.store.Superblock(r.ctx, r.term.Volume); err == nil {
		r.Error("a refused superblock was stored")
	}
}

func testDeposed(r *rig) {
	v := r.version()
	r.write(putOp(1, 0, v))
	old := r.term
	old.Watermark = chunk.MakeVersion(1, 1<<30)
	r.term.Epoch, r.term.Nonce = 2, old.Nonce+1
	r.grant(r.term)
	r.refusesAll(old, chunk.ErrDeposed)
	other := r.term
	other.Nonce++
	r.refusesAll(other, chunk.ErrDeposed)
	r.has(1, 0, v)
}

func testNotGranted(r *rig) {
	v := r.version()
	r.write(putOp(1, 0, v))
	higher := r.term
	higher.Epoch, higher.Watermark = 2, chunk.MakeVersion(2, 1<<30)
	r.refusesAll(higher, chunk.ErrNotGranted)
	r.has(1, 0, v)
	for name, err := range r.everyRequest(chunk.Term{Volume: newVolumeID(), Epoch: 1}) {
		r.wantErr(name+" of an unknown volume", err, chunk.ErrNotGranted)
	}
}

func testBeat(r *rig) {
	h, err := r.store.Hello(r.ctx)
	r.must(err)
	r.term.Watermark = 42
	p, err := r.store.Beat(r.ctx, r.term)
	r.must(err)
	if p.Instance != h.Instance || p.Watermark != 42 || p.FreeBytes == 0 {
		r.Errorf("pulse %+v", p)
	}
	r.wantW(42)
}

func testWatermarkMonotonic(r *rig) {
	r.term.Watermark = 42
	r.sync()
	r.term.Watermark = 7
	p, err := r.store.Beat(r.ctx, r.term)
	r.must(err)
	if p.Watermark != 42 {
		r.Errorf("w went from 42 to %d", p.Watermark)
	}
	r.refuse("put at or below the highest W", putOp(1, 0, 40), chunk.ErrSettled)
}

func testWatermarkRides(r *rig) {
	for i, request := range []func(){
		func() { r.sync() },
		func() { r.list(0, 1) },
		func() { r.read(1, 0, 0) },
		func() { r.write(putOp(1, 0, 1000)) },
		func() { r.putSuperblock(r.superblock(1, "disk")) },
	} {
		r.term.Watermark++
		request()
		if s, _ := r.state(r.term.Volume); s.Watermark != r.term.Watermark {
			r.Errorf("request %d: w is %d, told %d", i, s.Watermark, r.term.Watermark)
		}
	}
}

func testTwoVolumes(r *rig) {
	other := *r
	other.term = chunk.Term{Volume: newVolumeID(), Epoch: 7, Nonce: 7}
	other.grant(other.term)
	v := r.version()
	r.write(putOp(1, 0, v))
	other.lacks(1, 0, 0)
	w := other.version()
	other.write(putOp(1, 0, w))
	other.settle(w)
	r.has(1, 0, v)
	other.has(1, 0, w)
	r.wantW(0)
}

var superblockTests = []suiteTest{
	{"UnknownVolume", testSuperblockUnknown},
	{"IsStoredWhole", testSuperblockStored},
	{"SameAgainIsAccepted", testSuperblockAgain},
	{"NotNewerIsInvalid", testSuperblockNotNewer},
	{"HigherEpochSupersedes", testSuperblockEpoch},
	{"Bounds", testSuperblockBounds},
	{"NameIsClaimed", testNameTaken},
	{"DeletedGivesUpNameAndChunks", testDeleted},
	{"DeletedStaysDeleted", testDeletedStays},
}

func (r *rig) superblock(number uint64, name string) chunk.Superblock {
	return chunk.Superblock{
		Volume: r.term.Volume, Number: number, Epoch: r.term.Epoch, Name: name,
		Body: bytes.Repeat([]byte{byte(number), 0xa5}, 1000),
	}
}

func (r *rig) putSuperblock(sb chunk.Superblock) {
	r.Helper()
	r.must(r.store.PutSuperblock(r.ctx, r.term, sb))
}

func (r *rig) hasSuperblock(want chunk.Superblock) {
	r.Helper()
	got, err := r.store.Superblock(r.ctx, want.Volume)
	r.must(err)
	if got.Volume != want.Volume || got.Number != want.Number || got.Epoch != want.Epoch ||
		got.Name != want.Name || got.Deleted != want.Deleted || !bytes.Equal(got.Body, want.Body) {
		r.Errorf("superblock %d of epoch %d (%q), want %d of %d (%q)",
			got.Number, got.Epoch, got.Name, want.Number, want.Epoch, want.Name)
	}
}

func testSuperblockUnknown(r *rig) {
	_, err := r.store.Superblock(r.ctx, newVolumeID())
	r.wantErr("never heard of", err, chunk.ErrUnknownVolume)
	_, err = r.store.Superblock(r.ctx, r.term.Volume)
	r.wantErr("only granted", err, chunk.ErrUnknownVolume)
}

func testSuperblockStored(r *rig) {
	for n := range uint64(5) { // more often than there are slots
		sb := r.superblock(n+1, "disk")
		sb.Body = sb.Body[:n*100]
		r.putSuperblock(sb)
		r.hasSuperblock(sb)
	}
}

func testSuperblockAgain(r *rig) {
	sb := r.superblock(3, "disk")
	r.putSuperblock(sb)
	r.putSuperblock(sb)
	r.hasSuperblock(sb)
}

func testSuperblockNotNewer(r *rig) {
	sb := r.superblock(3, "disk")
	r.putSuperblock(sb)
	lower := r.superblock(2, "disk")
	r.wantErr("lower number", r.store.PutSuperblock(r.ctx, r.term, lower), chunk.ErrInvalid)
	other := r.superblock(3, "disk")
	other.Body = []byte("another content")
	r.wantErr("same number, other content", r.store.PutSuperblock(r.ctx, r.term, other), chunk.ErrInvalid)
	r.hasSuperblock(sb)
}

// A superblock that reached too few nodes before a takeover is superseded by
// the successor's of the same number.
func testSuperblockEpoch(r *rig) {
	r.putSuperblock(r.superblock(3, "disk"))
	r.term.Epoch = 2
	r.grant(r.term)
	sb := r.superblock(3, "disk")
	sb.Body = []byte("the successor's")
	r.putSuperblock(sb)
	r.hasSuperblock(sb)
	older := r.superblock(9, "disk")
	older.Epoch = 1
	r.wantErr("of an older epoch", r.store.PutSuperblock(r.ctx, r.term, older), chunk.ErrInvalid)
}

func testSuperblockBounds(r *rig) {
	for what, change := range map[string]func(sb *chunk.Superblock){
		"number 0":       func(sb *chunk.Superblock) { sb.Number = 0 },
		"other volume":   func(sb *chunk.Superblock) { sb.Volume = newVolumeID() },
		"epoch to come":  func(sb *chunk.Superblock) { sb.Epoch = r.term.Epoch + 1 },
		"body too large": func(sb *chunk.Superblock) { sb.Body = make([]byte, chunk.MaxSuperblock+1) },
		"name too long":  func(sb *chunk.Superblock) { sb.Name = strings.Repeat("x", chunk.MaxName+1) },
	} {
		sb := r.superblock(1, "disk")
		change(&sb)
		r.wantErr(what, r.store.PutSuperblock(r.ctx, r.term, sb), chunk.ErrInvalid)
	}
	largest := r.superblock(1, strings.Repeat("x", chunk.MaxName))
	largest.Body = bytes.Repeat([]byte{7}, chunk.MaxSuperblock)
	r.putSuperblock(largest)
	r.hasSuperblock(largest)
}

func testNameTaken(r *rig) {
	r.putSuperblock(r.superblock(1, "disk"))
	other := *r
	other.term = chunk.Term{Volume: newVolumeID(), Epoch: 1, Nonce: 7}
	other.grant(other.term)
	sb := other.superblock(1, "disk")
	r.wantErr("name of another", r.store.PutSuperblock(r.ctx, other.term, sb), chunk.ErrNameTaken)
	_, err := r.store.Superblock(r.ctx, sb.Volume)
	r.wantErr("refused superblock", err, chunk.ErrUnknownVolume)
	deleted := r.superblock(2, "disk")
	deleted.Deleted = true
	r.putSuperblock(deleted)
	other.putSuperblock(sb)
	other.hasSuperblock(sb)
}

func testDeleted(r *rig) {
	r.putSuperblock(r.superblock(1, "disk"))
	r.write(putOp(1, 0, r.version()), tombstoneOp(2, 0, r.version()))
	r.sync()
	deleted := r.superblock(2, "disk")
	deleted.Deleted = true
	r.putSuperblock(deleted)
	r.lacks(1, 0, 0)
	r.lacks(2, 0, 0)
	if all := r.list(0, 10); len(all) != 0 {
		r.Errorf("a deleted volume lists %v", all)
	}
	r.hasSuperblock(deleted)
	if s, _ := r.state(r.term.Volume); !s.Deleted {
		r.Error("hello does not say that the volume is deleted")
	}
}

func testDeletedStays(r *rig) {
	deleted := r.superblock(1, "disk")
	deleted.Deleted = true
	r.putSuperblock(deleted)
	live := r.superblock(2, "disk")
	r.wantErr("a live superblock", r.store.PutSuperblock(r.ctx, r.term, live), chunk.ErrInvalid)
	r.hasSuperblock(deleted)
	r.refuse("a put", putOp(1, 0, r.version()), chunk.ErrInvalid)
	r.lacks(1, 0, 0)
}
