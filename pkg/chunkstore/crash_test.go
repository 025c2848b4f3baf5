package chunkstore_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/chunkstore"
	"rozobox/pkg/chunkstore/crashfs"
)

// TestSuiteWithPowerLoss holds the store to the contract where each unclean
// restart tears what was not synced.
func TestSuiteWithPowerLoss(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	chunktest.Suite(t, func(t *testing.T) chunktest.Subject {
		fs := crashfs.New()
		s := chunkstore.MustOpen(t, crashOptions(fs))
		t.Cleanup(func() { s.Close() })
		return chunktest.Subject{Store: s, Reopen: func(t *testing.T, clean bool) chunk.Store {
			keep := crashfs.Torn
			if clean {
				keep = crashfs.Nothing // a clean stop leaves nothing unsynced
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			} else {
				s.Kill()
			}
			fs = fs.Crash(keep, rng)
			s = chunkstore.MustOpen(t, crashOptions(fs))
			return s
		}}
	})
}

func crashOptions(fs chunkstore.FS) chunkstore.Options {
	return chunkstore.Options{Dir: "card", Node: "pi1", Capacity: 64 << 20, SegmentSize: 8 << 10, FS: fs}
}

// step is one op of the history and what became of it.
type step struct {
	op     chunk.Op
	synced bool
}

// history is what a gateway did to a store, and what it was told.
type history struct {
	ctx        context.Context
	store      *chunkstore.Store
	term       chunk.Term
	steps      []step
	w          chunk.Version // told
	wSynced    chunk.Version
	epoch      uint32 // asked for
	granted    uint32 // replied to
	number     uint64 // likewise of superblocks
	superblock uint64
}

var errStop = errors.New("the power went off")

// check ends the history at the first error; the power was cut.
func check(err error) {
	if err != nil {
		panic(errStop)
	}
}

func (h *history) grant(epoch uint32) {
	h.epoch = epoch
	_, err := h.store.Grant(h.ctx, h.term.Volume, epoch, 7)
	check(err)
	h.granted, h.term.Epoch = epoch, epoch
}

func (h *history) putSuperblock() {
	h.number++
	check(h.store.PutSuperblock(h.ctx, h.term, chunk.Superblock{
		Volume: h.term.Volume, Number: h.number, Epoch: h.term.Epoch, Name: "disk",
		Body: bytes.Repeat([]byte{byte(h.number)}, 3000),
	}))
	h.superblock = h.number
}

func (h *history) write(ops ...chunk.Op) {
	for _, op := range ops {
		h.steps = append(h.steps, step{op: op})
	}
	ack, err := h.store.Write(h.ctx, h.term, ops)
	check(err)
	for _, err := range ack.Errs {
		check(err)
	}
}

func (h *history) sync(w chunk.Version) {
	h.w = max(h.w, w)
	h.term.Watermark = h.w
	_, err := h.store.Sync(h.ctx, h.term)
	check(err)
	h.wSynced = h.w
	for i := range h.steps {
		h.steps[i].synced = true
	}
}

func data(v chunk.Version) []byte {
	b := make([]byte, 1024+16*(uint64(v)%200))
	rng := rand.New(rand.NewPCG(uint64(v), 0))
	for i := 0; i < len(b); i += 8 {
		binary.BigEndian.PutUint64(b[i:], rng.Uint64())
	}
	return b
}

func put(block uint64, index uint8, v chunk.Version) chunk.Op {
	return chunk.Op{Kind: chunk.OpPut, Block: block, Index: index, Version: v, Data: data(v)}
}

func repair(block uint64, index uint8, v chunk.Version) chunk.Op {
	op := put(block, index, v)
	op.Repair = true
	return op
}

func tombstone(block uint64, index uint8, v chunk.Version) chunk.Op {
	return chunk.Op{Kind: chunk.OpTombstone, Block: block, Index: index, Version: v}
}

func drop(block uint64, index uint8, v chunk.Version) chunk.Op {
	return chunk.Op{Kind: chunk.OpDrop, Block: block, Index: index, Version: v}
}

// patch changes data(base), or a patch of it, into version v; nothing but the version
// where difference is empty.
func patch(block uint64, index uint8, base, v chunk.Version, difference string) chunk.Op {
	return chunk.Op{
		Kind: chunk.OpPatch, Block: block, Index: index, Version: v, Base: base, Data: []byte(difference),
	}
}

// content is what a version reads as.
func (h *history) content(v chunk.Version) []byte {
	for _, s := range h.steps {
		if s.op.Version == v && s.op.Kind == chunk.OpPatch {
			changed := bytes.Clone(h.content(s.op.Base))
			for i, b := range s.op.Data {
				changed[i] ^= b
			}
			return changed
		}
	}
	return data(v)
}

// run plays the history until it ends or the power does.
func (h *history) run() (done bool) {
	defer func() {
		if r := recover(); r != nil && r != errStop {
			panic(r)
		}
	}()
	h.grant(1)
	h.putSuperblock()
	h.write(put(1, 0, 10), put(2, 1, 11), put(3, 2, 12))
	h.sync(0)
	h.write(put(1, 0, 20), put(4, 0, 21))
	h.sync(12)
	h.write(put(1, 0, 30))
	h.sync(21)
	h.write(tombstone(2, 1, 31), put(5, 0, 32))
	h.putSuperblock()
	h.sync(32)
	h.write(put(30, 0, 33), patch(30, 0, 33, 34, ""), put(31, 1, 35))
	h.write(patch(30, 0, 34, 36, ""))
	bumped, patched := chunk.Version(36), chunk.Version(35)
	h.write(drop(3, chunk.AllIndexes, 12), drop(2, 1, 31))
	h.write(repair(3, 2, 12))
	h.sync(32)
	v := chunk.Version(40)
	for round := range 4 { // fills segments with what is dead soon
		for block := range uint64(6) {
			h.write(put(10+block, 0, v), put(20+uint64(round), uint8(block), v))
			v++
		}
		h.write(patch(30, 0, bumped, v, ""))
		h.write(patch(31, 1, patched, v+1, "x"[:round%2]))
		bumped, patched, v = v, v+1, v+2
		h.sync(v - 1)
		h.store.CompactSoon() // while the next round is written
	}
	h.write(drop(20, chunk.AllIndexes, v), drop(21, 3, v), put(4, 0, v))
	h.sync(v)
	h.store.CompactAll()
	h.grant(2)
	v = chunk.MakeVersion(2, 1)
	h.write(put(1, 0, v), tombstone(10, 0, v), put(11, 0, v+1))
	h.sync(v)
	h.putSuperblock()
	h.write(patch(30, 0, bumped, v+2, ""), patch(31, 1, patched, v+3, ""))
	h.write(put(1, 0, v+5), drop(12, 0, v))
	h.sync(v + 1)
	h.store.CompactAll()
	h.write(put(21, 0, v+9), patch(30, 0, v+2, v+10, ""), patch(31, 1, v+3, v+11, "x"))
	return true
}

// verify compares a store with what the history allows.
func (h *history) verify(s *chunkstore.Store) error {
	h.ctx, h.store = context.Background(), s
	if err := s.Failed(); err != nil {
		return err
	}
	hello, err := s.Hello(h.ctx)
	if err != nil {
		return err
	}
	if err := h.verifyOffice(hello); err != nil {
		return err
	}
	if h.epoch == 0 {
		return nil
	}
	// A new gateway takes over and looks.
	h.term = chunk.Term{Volume: h.term.Volume, Epoch: h.epoch + 1, Nonce: 9}
	g, err := s.Grant(h.ctx, h.term.Volume, h.term.Epoch, 9)
	if err != nil {
		return err
	}
	if g.Watermark < h.wSynced || g.Watermark > h.w {
		return fmt.Errorf("w is %s, synced %s, told %s", g.Watermark, h.wSynced, h.w)
	}
	return h.verifyChunks(g.Watermark)
}

func (h *history) verifyOffice(hello chunk.Hello) error {
	epoch := uint32(0)
	if len(hello.Volumes) == 1 {
		epoch = hello.Volumes[0].Epoch
	}
	if epoch < h.granted || epoch > h.epoch {
		return fmt.Errorf("epoch %d, granted %d, asked for %d", epoch, h.granted, h.epoch)
	}
	sb, err := h.store.Superblock(h.ctx, h.term.Volume)
	if err != nil && h.superblock == 0 {
		return nil
	}
	if err != nil || sb.Number < h.superblock || sb.Number > h.number ||
		!bytes.Equal(sb.Body, bytes.Repeat([]byte{byte(sb.Number)}, 3000)) {
		return fmt.Errorf("superblock %d (%v), stored %d, sent %d", sb.Number, err, h.superblock, h.number)
	}
	return nil
}

type chunkKey struct {
	block uint64
	index uint8
}

// held lists the store, and checks that each version is intact (I3).
func (h *history) held() (map[chunkKey][]chunk.Entry, error) {
	entries, _, err := h.store.List(h.ctx, h.term, chunk.ListRequest{Limit: chunk.MaxListEntries})
	if err != nil {
		return nil, err
	}
	held := map[chunkKey][]chunk.Entry{}
	for _, e := range entries {
		k := chunkKey{e.Block, e.Index}
		held[k] = append(held[k], e)
		get := chunk.Get{Block: e.Block, Index: e.Index, AtMost: e.Version}
		want := chunk.Chunk{Version: e.Version, State: chunk.Tombstone}
		if !e.Tombstone {
			get.Dst, want.State = make([]byte, len(h.content(e.Version))), chunk.Present
		}
		found, err := h.store.Read(h.ctx, h.term, []chunk.Get{get})
		if err != nil {
			return nil, err
		}
		if found[0] != want || !e.Tombstone && !bytes.Equal(get.Dst, h.content(e.Version)) {
			return nil, fmt.Errorf("%v reads as %v", e, found[0])
		}
	}
	return held, nil
}

func (h *history) verifyChunks(w chunk.Version) error {
	held, err := h.held()
	if err != nil {
		return err
	}
	for i, s := range h.steps {
		if s.op.Kind == chunk.OpDrop {
			continue
		}
		k := chunkKey{s.op.Block, s.op.Index}
		present := slices.ContainsFunc(held[k], func(e chunk.Entry) bool { return e.Version == s.op.Version })
		superseded := slices.ContainsFunc(held[k], func(e chunk.Entry) bool {
			return e.Version > s.op.Version && e.Version <= w
		})
		if err := h.verifyPut(i, present, superseded); err != nil {
			return fmt.Errorf("block %d index %d version %s: %w; w %s, held %v",
				k.block, k.index, s.op.Version, err, w, held[k])
		}
	}
	for k, entries := range held {
		for _, e := range entries {
			if !slices.ContainsFunc(h.steps, func(s step) bool {
				return s.op.Block == k.block && s.op.Index == k.index && s.op.Version == e.Version
			}) {
				return fmt.Errorf("%v was never written", e)
			}
		}
	}
	return nil
}

// verifyPut says whether a version may be present, or absent (I2, I6).
// superseded says that the node holds a newer one, at or below its W.
func (h *history) verifyPut(i int, present, superseded bool) error {
	s := h.steps[i]
	mayBeDropped, mustBeDropped, mayBeFreed := false, false, superseded
	for _, o := range h.steps[i+1:] {
		same := o.op.Block == s.op.Block && (o.op.Index == s.op.Index || o.op.Index == chunk.AllIndexes)
		switch {
		case !same:
		case o.op.Kind == chunk.OpDrop && o.op.Version >= s.op.Version:
			mayBeDropped = true
			mustBeDropped = mustBeDropped || o.synced
		case o.op.Kind != chunk.OpDrop && o.op.Version == s.op.Version:
			return nil // the later one decides
		case o.op.Kind != chunk.OpDrop && o.op.Version > s.op.Version:
			mayBeFreed = mayBeFreed || o.synced && o.op.Version <= h.wSynced
		}
	}
	switch {
	case present && mustBeDropped:
		return errors.New("dropped, and back again")
	case !present && s.synced && !mayBeDropped && !mayBeFreed:
		return errors.New("synced, and lost")
	}
	return nil
}

func newHistory(s *chunkstore.Store) *history {
	return &history{ctx: context.Background(), store: s, term: chunk.Term{Volume: chunk.VolumeID{1}, Nonce: 7}}
}

// TestI2EveryCutPoint cuts the power before each change of a short history,
// and again while the store recovers from that.
func TestI2EveryCutPoint(t *testing.T) {
	for cut := 1; ; cut++ {
		finished := false
		for _, keep := range []crashfs.Keep{crashfs.Keep(cut % 2), crashfs.Torn} {
			seed := rand.Uint64()
			rng := rand.New(rand.NewPCG(uint64(cut), seed))
			fs := crashfs.New()
			h := newHistory(chunkstore.MustOpen(t, crashOptions(fs)))
			fs.CutAfter(cut)
			finished = h.run()
			h.store.Kill()
			if err := recoverTwice(t, h, fs.Crash(keep, rng), keep, rng); err != nil {
				t.Fatalf("cut %d, keep %d, seed %d: %v", cut, keep, seed, err)
			}
		}
		if finished {
			t.Logf("%d cut points", cut-1)
			return
		}
	}
}

// recoverTwice loses power during the recovery too, then lets it finish, and
// checks that a clean restart changes nothing.
func recoverTwice(t *testing.T, h *history, fs *crashfs.FS, keep crashfs.Keep, rng *rand.Rand) error {
	fs.CutAfter(1 + rng.IntN(12))
	if s, err := chunkstore.Open(crashOptions(fs)); err == nil {
		s.Kill()
	}
	fs = fs.Crash(keep, rng)
	s, err := chunkstore.Open(crashOptions(fs))
	if err != nil {
		return err
	}
	if err := h.verify(s); err != nil {
		return err
	}
	if h.epoch == 0 {
		return s.Close()
	}
	before, err := h.held()
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	h.store = chunkstore.MustOpen(t, crashOptions(fs.Crash(crashfs.Nothing, rng)))
	defer h.store.Close()
	after, err := h.held()
	if err == nil && fmt.Sprint(before) != fmt.Sprint(after) {
		err = fmt.Errorf("a clean restart changed %v to %v", before, after)
	}
	return err
}

// TestRecoveryMayBeCutToo cuts the power during the recovery of a log whose
// first segment is finished but not sealed.
func TestRecoveryMayBeCutToo(t *testing.T) {
	for cut := range 20 {
		for range 6 {
			seed := rand.Uint64()
			rng := rand.New(rand.NewPCG(seed, 0))
			fs := crashfs.New()
			h := newHistory(chunkstore.MustOpen(t, crashOptions(fs)))
			h.grant(1)
			for v := chunk.Version(1); v < 9; v++ {
				h.write(put(uint64(v), 0, v))
			}
			h.sync(8)
			h.store.Kill()
			fs = fs.Crash(crashfs.Nothing, nil)
			fs.CutAfter(cut + 1)
			if s, err := chunkstore.Open(crashOptions(fs)); err == nil {
				s.Kill()
			}
			s := chunkstore.MustOpen(t, crashOptions(fs.Crash(crashfs.Torn, rng)))
			if err := h.verify(s); err != nil {
				t.Fatalf("cut %d, seed %d: %v", cut+1, seed, err)
			}
			s.Close()
		}
	}
}
