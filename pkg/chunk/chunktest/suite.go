package chunktest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"rozobox/pkg/chunk"
)

// Subject is an empty store under test. Reopen ends the store and starts it
// again with what it has kept: cleanly, or as a loss of power or a kill would.
// It is nil where the store cannot be restarted.
type Subject struct {
	Store  chunk.Store
	Reopen func(t *testing.T, clean bool) chunk.Store
}

// Suite holds a chunk.Store to every sentence of its contract. open is called
// once for each test and cleans up after itself.
func Suite(t *testing.T, open func(t *testing.T) Subject) {
	for _, group := range []struct {
		name  string
		tests []suiteTest
	}{
		{"Office", officeTests},
		{"Superblock", superblockTests},
		{"Write", writeTests},
		{"Read", readTests},
		{"Versions", versionTests},
		{"Patches", patchTests},
		{"Swaps", swapTests},
		{"Drop", dropTests},
		{"Catalog", catalogTests},
		{"Concurrent", concurrentTests},
		{"Restart", restartTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, test := range group.tests {
				t.Run(test.name, func(t *testing.T) { test.run(newRig(t, open(t))) })
			}
		})
	}
}

type suiteTest struct {
	name string
	run  func(r *rig)
}

// rig is one store, and one gateway with a term for one volume.
type rig struct {
	*testing.T
	ctx   context.Context
	store chunk.Store
	subj  Subject
	term  chunk.Term
	next  uint64 // the last sequence number given out

	patched map[chunk.Position][]byte // the content of versions that came from patches
}

// newRig grants epoch 1 of a new volume.
func newRig(t *testing.T, subj Subject) *rig {
	r := &rig{T: t, ctx: context.Background(), store: subj.Store, subj: subj,
		patched: map[chunk.Position][]byte{}}
	r.term = chunk.Term{Volume: newVolumeID(), Epoch: 1, Nonce: rand.Uint64()}
	r.grant(r.term)
	t.Cleanup(r.checkAll)
	return r
}

func newVolumeID() (id chunk.VolumeID) {
	binary.BigEndian.PutUint64(id[:], rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	return id
}

func (r *rig) grant(term chunk.Term) chunk.Granted {
	r.Helper()
	g, err := r.store.Grant(r.ctx, term.Volume, term.Epoch, term.Nonce)
	r.must(err)
	return g
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) wantErr(what string, got, want error) {
	r.Helper()
	if !errors.Is(got, want) {
		r.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

// version gives out the next version of the rig's epoch.
func (r *rig) version() chunk.Version {
	r.next++
	return chunk.MakeVersion(r.term.Epoch, r.next)
}

// content is what a version of a chunk reads as.
func (r *rig) content(block uint64, index uint8, v chunk.Version) []byte {
	if data, ok := r.patched[chunk.Position{Block: block, Index: index, Version: v}]; ok {
		return data
	}
	return content(block, index, v)
}

// content is the one content of a version that was put: 1 KiB to 16 KiB.
func content(block uint64, index uint8, v chunk.Version) []byte {
	rng := rand.New(rand.NewPCG(block<<8|uint64(index), uint64(v)))
	b := make([]byte, 1024<<(uint64(v)%5))
	for i := 0; i < len(b); i += 8 {
		binary.BigEndian.PutUint64(b[i:], rng.Uint64())
	}
	return b
}

func putOp(block uint64, index uint8, v chunk.Version) chunk.Op {
	return chunk.Op{
		Kind: chunk.OpPut, Block: block, Index: index, Version: v, Data: content(block, index, v),
	}
}

func repairOp(op chunk.Op) chunk.Op {
	op.Repair = true
	return op
}

func tombstoneOp(block uint64, index uint8, v chunk.Version) chunk.Op {
	return chunk.Op{Kind: chunk.OpTombstone, Block: block, Index: index, Version: v}
}

func dropOp(block uint64, index uint8, v chunk.Version) chunk.Op {
	return chunk.Op{Kind: chunk.OpDrop, Block: block, Index: index, Version: v}
}

// write does the ops, all of which must be acknowledged.
func (r *rig) write(ops ...chunk.Op) chunk.Ack {
	r.Helper()
	ack, err := r.store.Write(r.ctx, r.term, ops)
	r.must(err)
	if ack.Errs != nil {
		r.Fatalf("write: %v", ack.Errs)
	}
	return ack
}

// refuse does one op, which must be refused.
func (r *rig) refuse(what string, op chunk.Op, want error) {
	r.Helper()
	ack, err := r.store.Write(r.ctx, r.term, []chunk.Op{op})
	if err == nil && len(ack.Errs) == 1 {
		err = ack.Errs[0]
	}
	r.wantErr(what, err, want)
}

func (r *rig) sync() {
	r.Helper()
	_, err := r.store.Sync(r.ctx, r.term)
	r.must(err)
}

// settle tells W and makes everything durable, W included.
func (r *rig) settle(w chunk.Version) {
	r.Helper()
	r.term.Watermark = max(r.term.Watermark, w)
	r.sync()
}

// read returns what the newest version at or below atMost is, whole.
func (r *rig) read(block uint64, index uint8, atMost chunk.Version) (chunk.Chunk, []byte) {
	r.Helper()
	head := []chunk.Get{{Block: block, Index: index, AtMost: atMost}}
	found, err := r.store.Read(r.ctx, r.term, head)
	r.must(err)
	if len(found) != 1 {
		r.Fatalf("read of one chunk returned %d", len(found))
	}
	if found[0].State != chunk.Present {
		return found[0], nil
	}
	get := head[0]
	get.AtMost = found[0].Version
	get.Dst = make([]byte, len(r.content(block, index, found[0].Version)))
	found, err = r.store.Read(r.ctx, r.term, []chunk.Get{get})
	r.must(err)
	return found[0], get.Dst
}

// has checks that the newest version of a chunk is v, with v's content.
func (r *rig) has(block uint64, index uint8, v chunk.Version) {
	r.Helper()
	r.hasAtMost(block, index, 0, v)
}

func (r *rig) hasAtMost(block uint64, index uint8, atMost, v chunk.Version) {
	r.Helper()
	c, data := r.read(block, index, atMost)
	if c != (chunk.Chunk{Version: v, State: chunk.Present}) {
		r.Errorf("block %d index %d at most %s: got %v, want version %s", block, index, atMost, c, v)
	} else if !bytes.Equal(data, r.content(block, index, v)) {
		r.Errorf("block %d index %d version %s: wrong content", block, index, v)
	}
}

func (r *rig) lacks(block uint64, index uint8, atMost chunk.Version) {
	r.Helper()
	if c, _ := r.read(block, index, atMost); c != (chunk.Chunk{State: chunk.Absent}) {
		r.Errorf("block %d index %d at most %s: got %v, want absence", block, index, atMost, c)
	}
}

func (r *rig) hidden(block uint64, index uint8, v chunk.Version) {
	r.Helper()
	if c, _ := r.read(block, index, 0); c != (chunk.Chunk{Version: v, State: chunk.Tombstone}) {
		r.Errorf("block %d index %d: got %v, want tombstone %s", block, index, c, v)
	}
}

// list returns all entries above since, by pages of the given size.
func (r *rig) list(since chunk.Version, page int) []chunk.Entry {
	r.Helper()
	var all []chunk.Entry
	req := chunk.ListRequest{Since: since, Limit: page}
	for more := true; more; {
		var entries []chunk.Entry
		var err error
		entries, more, err = r.store.List(r.ctx, r.term, req)
		r.must(err)
		if more && len(entries) == 0 {
			r.Fatal("list: an empty page, and more to come")
		}
		all = append(all, entries...)
		if len(all) > 0 {
			req.After = all[len(all)-1].Position
		}
	}
	return all
}

// listed checks what is held of one chunk.
func (r *rig) listed(block uint64, index uint8, want ...chunk.Version) {
	r.Helper()
	var got []chunk.Version
	for _, e := range r.list(0, chunk.MaxListEntries) {
		if e.Block == block && e.Index == index {
			got = append(got, e.Version)
		}
	}
	if len(got) != len(want) {
		r.Errorf("block %d index %d: holds %v, want %v", block, index, got, want)
		return
	}
	for i := range got {
		if got[i] != want[i] {
			r.Errorf("block %d index %d: holds %v, want %v", block, index, got, want)
		}
	}
}

// checkAll compares everything that the store lists with what it reads, if
// the rig's term still stands.
func (r *rig) checkAll() {
	if _, err := r.store.Beat(r.ctx, r.term); err != nil || r.Failed() {
		return
	}
	var last chunk.Position
	for _, e := range r.list(0, 7) {
		if !last.Less(e.Position) {
			r.Errorf("list: %v after %v", e.Position, last)
		}
		last = e.Position
		c, data := r.read(e.Block, e.Index, e.Version)
		switch {
		case c.Version != e.Version || (c.State == chunk.Tombstone) != e.Tombstone:
			r.Errorf("%v is listed, but reads as %v", e, c)
		case e.Damaged || c.State == chunk.Damaged:
			r.Errorf("%v is damaged", e)
		case c.State == chunk.Present && !bytes.Equal(data, r.content(e.Block, e.Index, e.Version)):
			r.Errorf("%v has wrong content", e)
		}
	}
}

func (r *rig) reopen(clean bool) {
	r.Helper()
	if r.subj.Reopen == nil {
		r.Skip("this store cannot be restarted")
	}
	r.store = r.subj.Reopen(r.T, clean)
}
