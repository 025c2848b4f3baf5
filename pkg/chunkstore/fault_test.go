package chunkstore_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunkstore"
	"rozobox/pkg/chunkstore/crashfs"
)

// rig is a store on a crashfs with one volume, granted and with a superblock.
type rig struct {
	*testing.T
	*history
	fs *crashfs.FS
}

func newRig(t *testing.T, change func(o *chunkstore.Options)) *rig {
	fs := crashfs.New()
	r := &rig{T: t, fs: fs}
	opts := crashOptions(fs)
	if change != nil {
		change(&opts)
	}
	r.history = newHistory(chunkstore.MustOpen(t, opts))
	t.Cleanup(func() { r.store.Close() })
	r.grant(1)
	r.putSuperblock()
	return r
}

// tryWrite returns the first error of a write.
func (r *rig) tryWrite(ops ...chunk.Op) error {
	ack, err := r.store.Write(r.ctx, r.term, ops)
	for _, e := range ack.Errs {
		err = errors.Join(err, e)
	}
	return err
}

func (r *rig) reads(op chunk.Op, want chunk.ChunkState) {
	r.Helper()
	get := chunk.Get{Block: op.Block, Index: op.Index, AtMost: op.Version, Dst: make([]byte, len(op.Data))}
	found, err := r.store.Read(r.ctx, r.term, []chunk.Get{get})
	if err != nil {
		r.Fatal(err)
	}
	if found[0].State != want || want == chunk.Present && !bytes.Equal(get.Dst, op.Data) {
		r.Errorf("block %d version %s: %v, want state %d", op.Block, op.Version, found[0], want)
	}
}

func failing(op, prefix string, err error) func(string, string) error {
	return func(o, name string) error {
		if o == op && strings.HasPrefix(name, prefix) {
			return err
		}
		return nil
	}
}

// After a failed fdatasync the kernel may have dropped what it could not
// write, and the next fdatasync may succeed: nothing may be believed any more.
func TestFailedSyncIsFinal(t *testing.T) {
	for _, op := range []string{"sync", "write", "syncdir"} {
		t.Run(op, func(t *testing.T) {
			r := newRig(t, nil)
			held := put(1, 0, 10)
			r.write(held)
			r.sync(0)
			prefix := "segment-"
			if op == "syncdir" {
				prefix = ""
			}
			r.fs.Fault(failing(op, prefix, syscall.EIO))
			var err error
			for v := chunk.Version(20); v < 40 && err == nil; v++ {
				if err = r.tryWrite(put(2, 0, v)); err == nil {
					_, err = r.store.Sync(r.ctx, r.term)
				}
			}
			r.fs.Fault(nil)
			if !errors.Is(err, chunk.ErrReadOnly) || !errors.Is(err, syscall.EIO) {
				t.Fatalf("the failed %s says %v", op, err)
			}
			r.isReadOnly()
			r.reads(held, chunk.Present)
		})
	}
}

func (r *rig) isReadOnly() {
	r.Helper()
	_, sync := r.store.Sync(r.ctx, r.term)
	_, grant := r.store.Grant(r.ctx, r.term.Volume, 99, 1)
	sb := r.store.PutSuperblock(r.ctx, r.term, chunk.Superblock{Volume: r.term.Volume, Number: 99, Epoch: 1})
	for what, err := range map[string]error{
		"write": r.tryWrite(put(3, 0, 50)), "sync": sync, "grant": grant, "superblock": sb,
	} {
		if !errors.Is(err, chunk.ErrReadOnly) {
			r.Errorf("%s after a failure: %v", what, err)
		}
	}
	hello, _ := r.store.Hello(r.ctx)
	stat, _ := r.store.Stat(r.ctx)
	if !hello.ReadOnly || !stat.ReadOnly {
		r.Error("the store does not say that it is read-only")
	}
}

func TestFailedGrantIsNotReplied(t *testing.T) {
	r := newRig(t, nil)
	r.fs.Fault(failing("sync", "volume-", syscall.EIO))
	if _, err := r.store.Grant(r.ctx, r.term.Volume, 2, 8); !errors.Is(err, chunk.ErrReadOnly) {
		t.Errorf("grant: %v", err)
	}
	r.fs.Fault(nil)
	r.isReadOnly()
}

// A full disk refuses what is new and loses nothing, and the store goes on
// when there is room again.
func TestFullDiskLosesNothing(t *testing.T) {
	r := newRig(t, nil)
	held := []chunk.Op{put(1, 0, 10), put(2, 0, 11)}
	r.write(held...)
	r.fs.Fault(failing("write", "segment-", syscall.ENOSPC))
	refused := []chunk.Op{put(3, 0, 20), put(1, 0, 20)}
	if err := r.tryWrite(refused...); !errors.Is(err, chunk.ErrNoSpace) {
		t.Fatalf("write to a full disk: %v", err)
	}
	r.term.Watermark = 11
	r.reads(held[0], chunk.Present)
	if _, err := r.store.Sync(r.ctx, r.term); !errors.Is(err, chunk.ErrNoSpace) {
		t.Errorf("W could not be noted, and sync says %v", err)
	}
	r.fs.Fault(nil)
	later := put(4, 0, 30)
	r.write(later)
	r.sync(11)
	r.store.Kill()
	r.store = chunkstore.MustOpen(t, crashOptions(r.fs.Crash(crashfs.Nothing, nil)))
	for _, op := range append(held, later) {
		r.reads(op, chunk.Present)
	}
	r.reads(refused[0], chunk.Absent)
	if h, _ := r.store.Hello(r.ctx); h.Volumes[0].Watermark != 11 {
		t.Errorf("w is %s", h.Volumes[0].Watermark)
	}
}

// A card that has become read-only is still read, even after an unclean stop.
func TestReadOnlyDisk(t *testing.T) {
	r := newRig(t, nil)
	r.write(put(1, 0, 10))
	r.sync(10)
	r.store.Kill()
	r.fs = r.fs.Crash(crashfs.Everything, nil)
	r.fs.Fault(func(op, name string) error {
		if op == "read" {
			return nil
		}
		return syscall.EROFS
	})
	r.store = chunkstore.MustOpen(t, crashOptions(r.fs))
	r.isReadOnly()
	r.reads(put(1, 0, 10), chunk.Present)
}

// Half of a refused batch may have reached the file before the disk was full.
func TestRefusedBatchDoesNotComeBack(t *testing.T) {
	r := newRig(t, nil)
	r.write(put(1, 0, 10))
	r.fs.Fault(failing("write", "segment-", syscall.ENOSPC))
	if err := r.tryWrite(put(3, 0, 20), put(4, 0, 20)); !errors.Is(err, chunk.ErrNoSpace) {
		t.Fatalf("write to a full disk: %v", err)
	}
	r.fs.Fault(nil)
	r.store.Kill()
	r.store = chunkstore.MustOpen(t, crashOptions(r.fs.Crash(crashfs.Everything, nil)))
	r.reads(put(1, 0, 10), chunk.Present)
	r.reads(put(3, 0, 20), chunk.Absent)
}

// A card without room for new data still takes what repairs and what frees.
func TestReserve(t *testing.T) {
	r := newRig(t, func(o *chunkstore.Options) { o.Capacity = 256 << 10 })
	var err error
	v := chunk.Version(1)
	for ; err == nil; v++ {
		err = r.tryWrite(put(uint64(v), 0, v))
	}
	last := put(uint64(v-2), 0, v-2)
	if !errors.Is(err, chunk.ErrNoSpace) {
		t.Fatal(err)
	}
	if st, _ := r.store.Stat(r.ctx); st.FreeBytes > 4<<10 || st.UsedBytes < 150<<10 {
		t.Errorf("full, but free %d, used %d of %d", st.FreeBytes, st.UsedBytes, st.CapacityBytes)
	}
	if err := r.tryWrite(repair(500, 0, v), tombstone(501, 0, v), drop(1, 0, v)); err != nil {
		t.Errorf("into the reserve: %v", err)
	}
	r.reads(last, chunk.Present)
	r.grant(2)
	r.putSuperblock()
	for n := uint64(600); err == nil || n == 600; n++ {
		err = r.tryWrite(repair(n, 0, v))
	}
	if !errors.Is(err, chunk.ErrNoSpace) {
		t.Errorf("the deeper reserve is gone: %v", err)
	}
	r.write(drop(500, 0, v), drop(2, 0, v), drop(3, 0, v), drop(4, 0, v))
}

// Overwriting the same blocks for ever must never run out of space: dead
// records are taken back.
func TestCompactionKeepsUp(t *testing.T) {
	r := newRig(t, func(o *chunkstore.Options) { o.Capacity = 256 << 10 })
	v := chunk.Version(1)
	for range 60 {
		for block := range uint64(20) {
			r.write(put(block, 0, v))
			v++
		}
		r.sync(v - 1)
	}
	if n := r.store.Physical(); n > 256<<10 {
		t.Errorf("%d bytes of files on a card of 256 KiB", n)
	}
	held, err := r.held()
	if err != nil || len(held) != 20 {
		t.Errorf("%d chunks, %v", len(held), err)
	}
}

// What a drop hides may stand in a segment that compaction leaves alone, while
// the drop's own is written anew again and again.
func TestI6CompactionKeepsWhatHides(t *testing.T) {
	r := newRig(t, nil)
	r.write(put(1, 0, 10), put(2, 0, 10), put(3, 5, 10))
	for b := uint64(100); b < 103; b++ { // keeps the first segment mostly live
		r.write(put(b, 0, 10))
	}
	r.sync(0)
	r.write(drop(1, 0, 10), tombstone(2, 0, 11), drop(3, chunk.AllIndexes, 10))
	v := chunk.Version(20)
	for range 5 {
		for range 30 {
			r.write(put(50, 0, v))
			v++
		}
		r.sync(v - 1)
		r.store.CompactAll()
		r.store.Kill()
		r.fs = r.fs.Crash(crashfs.Nothing, nil)
		r.store = chunkstore.MustOpen(t, crashOptions(r.fs))
		r.reads(put(1, 0, 10), chunk.Absent)
		r.reads(put(3, 5, 10), chunk.Absent)
		if held, _ := r.held(); len(held[chunkKey{2, 0}]) != 1 || !held[chunkKey{2, 0}][0].Tombstone {
			t.Errorf("tombstoned block: %v", held[chunkKey{2, 0}])
		}
	}
}

// Compaction takes away what an unsynced drop hides. Then power fails, and the
// drop is lost: what is left must not be the older of the two versions.
func TestI10UnsyncedDropAndCompaction(t *testing.T) {
	r := newRig(t, nil)
	older, newer := put(1, 0, 5), put(1, 0, 9)
	r.write(newer)
	for v := chunk.Version(30); v < 70; v++ {
		r.write(put(2, 0, v))
	}
	r.write(older) // in the active segment, which compaction leaves alone
	r.sync(0)
	r.write(drop(1, 0, 9), drop(2, 0, 69))
	r.store.CompactAll()
	r.store.Kill()
	r.fs = r.fs.Crash(crashfs.Nothing, nil)
	r.store = chunkstore.MustOpen(t, crashOptions(r.fs))
	if held, err := r.held(); err != nil || len(held[chunkKey{1, 0}]) == 1 {
		t.Errorf("of two versions that were dropped together, %v is back (%v)", held[chunkKey{1, 0}], err)
	}
}

// Many who wait for durability share one fdatasync, which covers only what
// came before it:
//
//	first    write, sync ──── fdatasync 1 (the disk is slow) ────┐
//	others            write, sync: wait ─────────────────────────┴─ fdatasync 2
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(o *chunkstore.Options) { o.SegmentSize = 1 << 20 })
		var syncs atomic.Int64
		r.fs.Fault(func(op, name string) error {
			if op == "sync" {
				syncs.Add(1)
			}
			return nil
		})
		goOn := make(chan struct{})
		r.fs.Stall("sync", goOn)
		const waiters = 50
		var wg sync.WaitGroup
		write := func(i int) {
			err := r.tryWrite(put(uint64(i), 0, chunk.Version(i+1)))
			_, serr := r.store.Sync(r.ctx, r.term)
			if err = errors.Join(err, serr); err != nil {
				t.Error(err)
			}
		}
		wg.Go(func() { write(0) })
		synctest.Wait() // the first is in its fdatasync
		for i := range waiters {
			wg.Go(func() { write(i + 1) })
		}
		synctest.Wait() // all others wait
		if n := syncs.Load(); n != 1 {
			t.Errorf("%d fdatasyncs at once", n)
		}
		close(goOn)
		wg.Wait()
		if n := syncs.Load(); n != 2 {
			t.Errorf("%d fdatasyncs for %d waiters, want 2", n, waiters+1)
		}
		r.fs.Fault(nil)
		r.store.Kill()
		r.store = chunkstore.MustOpen(t, crashOptions(r.fs.Crash(crashfs.Nothing, nil)))
		for i := range waiters + 1 {
			r.reads(put(uint64(i), 0, chunk.Version(i+1)), chunk.Present)
		}
	})
}

// The order of changes to the disk is what crash safety rests on.
func TestGoldenTrace(t *testing.T) {
	fs := crashfs.New()
	h := newHistory(chunkstore.MustOpen(t, crashOptions(fs)))
	h.grant(1)
	h.putSuperblock()
	h.write(chunk.Op{Kind: chunk.OpPut, Block: 1, Version: 1, Data: make([]byte, 4096)})
	h.sync(1)
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	volume := "volume-01000000000000000000000000000000"
	want := []string{
		"create store.new", "write store.new 0+93", "sync store.new", "rename store.new store", "syncdir ",
		"create " + volume, "write " + volume + " 0+81920", "sync " + volume, "syncdir ",
		"write " + volume + " 0+32", "sync " + volume,
		"write " + volume + " 8192+3036", "sync " + volume,
		"create segment-00000001", "write segment-00000001 0+64", "syncdir ",
		"write segment-00000001 64+4176", "write segment-00000001 4240+64", "sync segment-00000001",
		"write segment-00000001 4304+160", "sync segment-00000001",
		"write segment-00000001 4464+64", "sync segment-00000001",
	}
	if got := fs.Trace(); !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	s := chunkstore.MustOpen(t, crashOptions(fs))
	defer s.Close()
	if got := fs.Trace(); !slices.Equal(got, []string{"sync " + volume}) {
		t.Errorf("a start after a clean stop changes: %v", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "new", "card")
	opts := chunkstore.Options{Dir: dir, Node: "pi1"}
	s := chunkstore.MustOpen(t, opts)
	if st, err := s.Stat(ctx); err != nil || st.CapacityBytes == 0 || st.FreeBytes == 0 {
		t.Errorf("capacity of the file system: %+v, %v", st, err)
	}
	refuses := func(what string, o chunkstore.Options, want string) {
		t.Helper()
		if s, err := chunkstore.Open(o); err == nil || !strings.Contains(err.Error(), want) {
			if s != nil {
				s.Close()
			}
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	refuses("two processes", opts, "lock is held by another process")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	refuses("card of another node", chunkstore.Options{Dir: dir, Node: "pi2"}, `store: this is the card of node "pi1"`)
	refuses("no node", chunkstore.Options{Dir: dir}, "node id")
	refuses("bad node", chunkstore.Options{Dir: dir, Node: "a/b"}, "node id")
	refuses("tiny card", chunkstore.Options{Dir: dir, Node: "pi1", Capacity: 1000}, "capacity")
	if _, err := s.Hello(ctx); !errors.Is(err, chunk.ErrUnavailable) {
		t.Errorf("hello of a closed store: %v", err)
	}
	fs := crashfs.New()
	chunkstore.MustOpen(t, crashOptions(fs)).Close()
	fs.Corrupt("store", func(b []byte) []byte { b[30] ^= 1; return b })
	refuses("damaged store file", crashOptions(fs), "store: damaged")
	fs.Remove("store")
	h := newHistory(chunkstore.MustOpen(t, crashOptions(fs)))
	h.grant(1)
	h.store.Close()
	fs.Remove("store")
	refuses("no store file", crashOptions(fs), "store is missing beside volume-")
}
