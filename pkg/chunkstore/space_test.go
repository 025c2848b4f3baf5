package chunkstore_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunkstore"
)

// smallCard makes cards of 32 segments.
func smallCard(o *chunkstore.Options) { o.Capacity, o.SegmentSize = cardSize, cardSize/32 }

const cardSize = 1 << 20

// fill writes blocks until the card is full, and returns how many it took.
func (r *rig) fill() (blocks uint64, v chunk.Version) {
	r.Helper()
	for v = 1; ; v++ {
		err := r.tryWrite(put(blocks, 0, v))
		if errors.Is(err, chunk.ErrNoSpace) {
			return blocks, v
		}
		if err != nil {
			r.Fatal(err)
		}
		blocks++
	}
}

func (r *rig) beat(w chunk.Version) chunk.Pulse {
	r.Helper()
	r.term.Watermark = w
	p, err := r.store.Beat(r.ctx, r.term)
	if err != nil {
		r.Fatal(err)
	}
	return p
}

// A gateway that has nothing more to write tells W by heartbeats alone. What it
// supersedes is freed all the same, and its space comes back.
func TestFullCardFreesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, smallCard)
		blocks, v := r.fill()
		first := v
		for block := range blocks {
			if err := r.tryWrite(tombstone(block, 0, v)); err != nil {
				t.Fatal(err)
			}
			v++
		}
		r.sync(first - 1) // W cannot be higher: the tombstones are not settled yet
		full := r.beat(first - 1).FreeBytes
		r.beat(v - 1)
		time.Sleep(2 * time.Second)
		if free := r.beat(v - 1).FreeBytes; free < cardSize/2 {
			t.Errorf("%d bytes free after all was trimmed, %d before", free, full)
		}
		if n := r.store.Physical(); n > cardSize/4 {
			t.Errorf("%d bytes of files after all was trimmed", n)
		}
		if err := r.tryWrite(put(1, 0, v)); err != nil {
			t.Error(err)
		}
	})
}

// An idle card is not synced again and again.
func TestIdleCardIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.write(put(1, 0, 1), put(1, 0, 2), put(1, 0, 9))
		r.sync(0)
		r.beat(2) // frees version 1, keeps 9
		time.Sleep(time.Minute)
		r.fs.Trace()
		for range 100 {
			r.beat(2)
			time.Sleep(time.Second)
		}
		if trace := r.fs.Trace(); len(trace) > 0 {
			t.Errorf("an idle card: %v", trace)
		}
	})
}

// A disk that is full to the last byte: what is dead as a whole goes without a
// copy.
func TestDeadSegmentsNeedNoRoom(t *testing.T) {
	r := newRig(t, smallCard)
	blocks, v := r.fill()
	r.fs.Fault(func(op, name string) error {
		if strings.HasSuffix(name, ".new") {
			return syscall.ENOSPC
		}
		return nil
	})
	before := r.store.Physical()
	for block := range blocks {
		if err := r.tryWrite(tombstone(block, 0, v)); err != nil {
			t.Fatal(err)
		}
		v++
	}
	r.sync(v - 1)
	r.sync(v - 1)
	r.store.CompactAll()
	if after := r.store.Physical(); after > before/2 {
		t.Errorf("%d bytes of files, %d before all was trimmed", after, before)
	}
}

// On a disk of its own the store never meets its end, whatever is done to it:
// compaction has its room, and what was freed comes back.
func TestCompactionHasItsRoom(t *testing.T) {
	for _, size := range []int{256, 4096} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, smallCard)
			r.fs.Resize(r.fs.Used() + cardSize)
			r.churn(size)
		})
	}
}

// Where there is room, what is dead may stay for a while, but not without end: a
// volume that is written over at random, so that few segments die as a whole,
// takes what is live, the slack, and not much more.
func TestDeadRecordsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const blocks, size, segment = 100, 2048, 32 << 10
		r := newRig(t, func(o *chunkstore.Options) { o.Capacity, o.SegmentSize = 1<<30, segment })
		rng := rand.New(rand.NewPCG(1, 2))
		for v := range chunk.Version(20 * blocks) {
			op := put(rng.Uint64N(blocks), 0, v+1)
			op.Data = make([]byte, size)
			r.write(op)
			r.sync(v)
			synctest.Wait()
		}
		const most = blocks*(size+128) + (chunkstore.SlackSegments+3)*segment
		if n := r.store.Physical(); n > most {
			t.Errorf("%d bytes of files for %d blocks of %d bytes, want at most %d", n, blocks, size, most)
		}
	})
}

// Many writers at once who write over what is there, on a card with room for all of
// it but not for what is dead as well: each waits for compaction, none is refused
// because another took the room that it had waited for.
func TestWritersShareTheRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const writers, blocks = 8, 12
		r := newRig(t, smallCard)
		var last atomic.Uint64
		var group sync.WaitGroup
		for w := range uint64(writers) {
			group.Go(func() {
				for i := range uint64(40 * blocks) {
					v := chunk.Version(last.Add(1))
					op := put(w*blocks+i%blocks, 0, v)
					op.Data = make([]byte, 4096)
					term := r.term
					term.Watermark = max(v, 2*writers) - 2*writers
					ack, err := r.store.Write(r.ctx, term, []chunk.Op{op})
					if err = errors.Join(append(ack.Errs, err)...); errors.Is(err, chunk.ErrNoSpace) {
						t.Errorf("write %d of %d: %v", i, w, err)
						return
					}
				}
			})
		}
		group.Wait()
	})
}

// churn overwrites and trims on a card that is full.
func (r *rig) churn(size int) {
	r.Helper()
	v, blocks := chunk.Version(1), uint64(0)
	piece := func(block uint64) chunk.Op {
		op := put(block, 0, v)
		op.Data = make([]byte, size)
		return op
	}
	write := func(block uint64) bool {
		free := r.beat(v - 1).FreeBytes
		if free < uint64(2*size+256) {
			return false
		}
		if err := r.tryWrite(piece(block)); err != nil {
			r.Fatalf("%d bytes are free, but block %d: %v", free, block, err)
		}
		r.sync(v)
		v++
		return true
	}
	for write(blocks) {
		blocks++
	}
	written := 0
	for i := range 2 * blocks { // scattered
		block := i * 17 % blocks
		if err := r.tryWrite(tombstone(block, 0, v)); err != nil {
			r.Fatalf("trim after %d writes: %v", written, err)
		}
		r.sync(v)
		r.sync(v) // W is durable
		v++
		for n := i; n <= i+3 && write(n*31%blocks); n++ {
			written++
		}
	}
	if written < int(blocks) {
		r.Errorf("only %d writes into what %d trims freed", written, 2*blocks)
	}
	if err := r.store.Failed(); err != nil {
		r.Fatal(err)
	}
}
