package volume

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const blockSize = 4096

// fake is an array in memory. Each call takes a millisecond. It checks that
// nobody touches a block while it is written.
type fake struct {
	t *testing.T

	mu       sync.Mutex // guards all below
	blocks   map[uint64][]byte
	busy     map[uint64]int // -1 while written, else readers
	writes   int
	reads    int
	flushes  int
	failWith error
	stall    chan struct{} // calls wait for it while it is not nil
}

func (f *fake) hold(ctx context.Context, first, last uint64, delta int) (func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for b := first; b <= last; b++ {
		if delta < 0 && f.busy[b] != 0 || delta > 0 && f.busy[b] < 0 {
			f.t.Errorf("block %d is used by two at once", b)
		}
		f.busy[b] += delta
	}
	stall, err := f.stall, f.failWith
	f.mu.Unlock()
	defer f.mu.Lock()
	if stall != nil {
		select {
		case <-stall:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	time.Sleep(time.Millisecond)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for b := first; b <= last; b++ {
			f.busy[b] -= delta
		}
	}, err
}

func (f *fake) ReadAt(ctx context.Context, p []byte, off int64) error {
	first, last := uint64(off/blockSize), uint64((off+int64(len(p))-1)/blockSize)
	release, err := f.hold(ctx, first, last, 1)
	defer release()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	for i := range p {
		at := off + int64(i)
		p[i] = 0
		if data := f.blocks[uint64(at/blockSize)]; data != nil {
			p[i] = data[at%blockSize]
		}
	}
	return err
}

func (f *fake) WriteBlock(ctx context.Context, block uint64, data []byte) error {
	release, err := f.hold(ctx, block, block, -1)
	defer release()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	if err == nil {
		f.blocks[block] = data
	}
	return err
}

func (f *fake) Update(
	ctx context.Context, block uint64, lo, hi int, edit func(p []byte) bool,
) error {
	buf := make([]byte, blockSize)
	if err := f.ReadAt(ctx, buf, int64(block)*blockSize); err != nil {
		return err
	}
	if !edit(buf[lo:hi]) {
		return nil
	}
	return f.WriteBlock(ctx, block, buf)
}

func (f *fake) Overwrite(ctx context.Context, block uint64, lo int, data []byte) error {
	return f.Update(ctx, block, lo, lo+len(data), func(p []byte) bool { return copy(p, data) > 0 })
}

func (f *fake) Discard(ctx context.Context, block uint64) error {
	return f.WriteBlock(ctx, block, nil)
}

func (f *fake) Allocated(_ context.Context, first uint64, n int) ([]bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]bool, n)
	for i := range list {
		list[i] = f.blocks[first+uint64(i)] != nil
	}
	return list, f.failWith
}

func (f *fake) Flush(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flushes++
	return f.failWith
}

func (f *fake) Serving(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failWith
}

// inBubble runs f with a volume of 64 blocks over a fake. At the end no queue
// may be left: one would stand in the way for ever.
func inBubble(t *testing.T, f func(*testing.T, *Volume, *fake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := &fake{t: t, blocks: map[uint64][]byte{}, busy: map[uint64]int{}}
		v := New(a, Options{Size: 64 * blockSize, BlockSize: blockSize})
		f(t, v, a)
		v.Close()
		synctest.Wait()
		if n := len(v.queues.blocks); n != 0 {
			t.Errorf("%d queues are left", n)
		}
	})
}

// TestModel compares concurrent requests on disjoint stretches, which share
// blocks, with plain memory.
func TestModel(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Volume, _ *fake) {
		const stretch = 3000 // no divisor of the block size
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		var group sync.WaitGroup
		for worker := range 20 {
			group.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(worker)))
				model := make([]byte, stretch)
				base := int64(worker * stretch)
				for range 100 {
					step(t, v, rng, base, model)
				}
			})
		}
		group.Wait()
	})
}

// step does one random request within a worker's stretch.
func step(t *testing.T, v *Volume, rng *rand.Rand, base int64, model []byte) {
	lo := rng.IntN(len(model))
	n := 1 + rng.IntN(len(model)-lo)
	off, part := base+int64(lo), model[lo:lo+n]
	var err error
	switch rng.IntN(4) {
	case 0:
		err = v.Zero(t.Context(), off, int64(n), rng.IntN(2) == 0)
		clear(part)
	case 1:
		for i := range part {
			part[i] = byte(rng.Uint32())
		}
		p := bytes.Clone(part)
		err = v.WriteAt(t.Context(), p, off)
		clear(p) // the buffer is the caller's again
	default:
		got := make([]byte, n)
		if err = v.ReadAt(t.Context(), got, off); !bytes.Equal(got, part) {
			t.Errorf("read %d+%d differs from the model", off, n)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// TestNeighboursMerge: 4 KiB-style small writes that wait for one block become
// one write of it, and need no read when they cover it together.
func TestNeighboursMerge(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Volume, a *fake) {
		a.stall = make(chan struct{})
		var group sync.WaitGroup
		group.Go(func() { v.WriteAt(t.Context(), make([]byte, blockSize), 0) })
		synctest.Wait()
		for i := range 8 {
			group.Go(func() {
				v.WriteAt(t.Context(), bytes.Repeat([]byte{byte(i + 1)}, blockSize/8), int64(i*blockSize/8))
			})
		}
		synctest.Wait()
		close(a.stall)
		group.Wait()
		if a.writes != 2 || a.reads != 0 {
			t.Errorf("%d block writes and %d reads, want 2 and 0", a.writes, a.reads)
		}
		for i := range 8 {
			if got := a.blocks[0][i*blockSize/8]; got != byte(i+1) {
				t.Errorf("eighth %d is %d", i, got)
			}
		}
	})
}

// TestI7OrderOfOverlappingWrites: the kernel sends a write again on another
// connection, and then a newer one:
//
//	connection 1:  write old ........(queued)......... dies
//	connection 2:            write old again   write new
//
// The first copy was queued first; it must not come after the newer write.
func TestI7OrderOfOverlappingWrites(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Volume, a *fake) {
		a.stall = make(chan struct{})
		dying, kill := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { v.WriteAt(t.Context(), make([]byte, 100), 0) })
		synctest.Wait()
		group.Go(func() {
			if err := v.WriteAt(dying, []byte("old"), 0); !errors.Is(err, context.Canceled) {
				t.Errorf("queued write of a dead connection: %v", err)
			}
		})
		synctest.Wait()
		kill()
		synctest.Wait()
		for _, s := range []string{"old", "new"} {
			group.Go(func() { v.WriteAt(t.Context(), []byte(s), 0) })
			synctest.Wait()
		}
		close(a.stall)
		group.Wait()
		if got := string(a.blocks[0][:3]); got != "new" {
			t.Errorf("block begins with %q", got)
		}
	})
}

// TestNothingIsAppliedAfterItsError: a write that waited in a queue until its
// time was up fails, and never happens.
func TestNothingIsAppliedAfterItsError(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Volume, a *fake) {
		a.stall = make(chan struct{})
		var group sync.WaitGroup
		group.Go(func() { v.WriteAt(t.Context(), []byte("first"), 0) })
		synctest.Wait()
		time.Sleep(time.Second)
		group.Go(func() {
			short, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := v.WriteAt(short, []byte("late"), 0); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("write that waited too long: %v", err)
			}
		})
		time.Sleep(2 * time.Second)
		close(a.stall)
		group.Wait()
		if got := string(a.blocks[0][:5]); got != "first" {
			t.Errorf("block begins with %q", got)
		}
	})
}

func TestTimeoutIsSaid(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Volume, a *fake) {
		a.stall = make(chan struct{})
		if err := v.WriteAt(t.Context(), make([]byte, 10), 0); !errors.Is(err, ErrTimeout) {
			t.Errorf("write: %v", err)
		}
		if err := v.ReadAt(t.Context(), make([]byte, 10), 0); !errors.Is(err, ErrTimeout) {
			t.Errorf("read: %v", err)
		}
		close(a.stall)
	})
}

// TestI6TrimLeavesNeighbours: Trim rounds inwards, Zero is exact, and what
// holds nothing costs nothing.
func TestI6TrimLeavesNeighbours(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Volume, a *fake) {
		ones := bytes.Repeat([]byte{1}, 4*blockSize)
		if err := v.WriteAt(t.Context(), ones, 0); err != nil {
			t.Fatal(err)
		}
		a.writes = 0
		if err := v.Trim(t.Context(), 1, 64*blockSize-2); err != nil {
			t.Fatal(err)
		}
		if a.writes != 3 {
			t.Errorf("%d blocks discarded, want the 3 that were whole and held data", a.writes)
		}
		if a.blocks[0] == nil || a.blocks[1] != nil {
			t.Error("trim touched a byte outside its range, or left a block")
		}
		if err := v.Zero(t.Context(), 10, 20*blockSize, false); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, blockSize)
		if err := v.ReadAt(t.Context(), got, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[:10], ones[:10]) || !zero(got[10:]) {
			t.Error("zero is not exact")
		}
	})
}

func TestExtents(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Volume, _ *fake) {
		if err := v.WriteAt(t.Context(), make([]byte, 2*blockSize), 3*blockSize); err != nil {
			t.Fatal(err)
		}
		got, err := v.Extents(t.Context(), blockSize+5, 9*blockSize)
		want := []Extent{{2*blockSize - 5, true}, {2 * blockSize, false}, {5*blockSize + 5, true}}
		if err != nil || len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
			t.Errorf("extents %v, %v, want %v", got, err, want)
		}
	})
}

// TestI7NothingBeginsAfterItsEnd: a request whose connection is gone when it
// arrives changes nothing, even where nobody stands in its way.
func TestI7NothingBeginsAfterItsEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Volume, a *fake) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := v.WriteAt(ctx, make([]byte, blockSize), 0); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want %v", err, context.Canceled)
		}
		if a.writes != 0 {
			t.Errorf("%d blocks were written", a.writes)
		}
	})
}
