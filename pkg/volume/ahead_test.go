package volume

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
)

// readBlocks reads whole blocks one after the other, each of which must be full
// of its number.
func readBlocks(t *testing.T, v *Volume, blocks ...int) {
	t.Helper()
	for _, b := range blocks {
		got := make([]byte, blockSize)
		if err := v.ReadAt(t.Context(), got, int64(b)*blockSize); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, full(byte(b))) {
			t.Fatalf("block %d has byte %d", b, got[0])
		}
	}
}

func full(b byte) []byte { return bytes.Repeat([]byte{b}, blockSize) }

// fill writes its number into each block.
func (f *fake) fill(blocks int) {
	for b := range blocks {
		f.blocks[uint64(b)] = full(byte(b))
	}
}

func TestSequentialReadersAreReadAhead(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Volume, a *fake) {
		a.fill(64)
		for b := range 64 {
			readBlocks(t, v, b)
		}
		if want := runsBefore + 3; a.reads > want { // the first ones, and one of the rest
			t.Errorf("%d reads of the array for 64 blocks in order, want at most %d", a.reads, want)
		}
		if len(v.ahead.kept) != 0 {
			t.Errorf("%d blocks are kept that nobody will read again", len(v.ahead.kept))
		}
	})
}

func TestReadersInNoOrderAreNotReadAhead(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Volume, a *fake) {
		a.fill(64)
		readBlocks(t, v, 5, 1, 17, 2, 33, 4, 8, 40)
		if a.reads != 8 {
			t.Errorf("%d reads of the array for 8 blocks", a.reads)
		}
	})
}

func TestDeepReadersAreNotReadAhead(t *testing.T) {
	var h ahead
	for i := range int64(8) {
		_, from, to := h.enter(i*aheadWindow, aheadWindow, 1<<40)
		if from != to {
			t.Errorf("request %d: read %d to %d ahead of what is under way", i, from, to)
		}
	}
}

// A block that was read ahead and then written reads as it was written.
func TestI7WriteIsSeenThroughWhatWasReadAhead(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Volume, a *fake) {
		a.fill(64)
		readBlocks(t, v, 0, 1, 2)
		synctest.Wait()
		if v.ahead.kept[20] == nil {
			t.Fatal("block 20 was not read ahead")
		}
		if err := v.WriteAt(t.Context(), []byte{99}, 20*blockSize+5); err != nil {
			t.Fatal(err)
		}
		if err := v.Trim(t.Context(), 21*blockSize, blockSize); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 2*blockSize)
		if err := v.ReadAt(t.Context(), got, 20*blockSize); err != nil {
			t.Fatal(err)
		}
		if got[4] != 20 || got[5] != 99 || got[blockSize] != 0 {
			t.Errorf("after the write: %d %d %d, want 20 99 0", got[4], got[5], got[blockSize])
		}
	})
}

// What was read ahead is not told once another gateway may have written.
func TestI5WhatWasReadAheadIsNotToldByADeposedGateway(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Volume, a *fake) {
		a.fill(64)
		readBlocks(t, v, 0, 1, 2)
		synctest.Wait()
		a.failWith = errors.New("deposed")
		if err := v.ReadAt(t.Context(), make([]byte, blockSize), 3*blockSize); !errors.Is(err, a.failWith) {
			t.Errorf("error %v, want %v", err, a.failWith)
		}
	})
}

// A read ahead that failed is no more than a read that was not done.
func TestFailedReadAheadCostsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, v *Volume, a *fake) {
		a.fill(64)
		readBlocks(t, v, 0, 1)
		a.failWith = errors.New("no quorum")
		v.ReadAt(t.Context(), make([]byte, blockSize), 2*blockSize)
		synctest.Wait()
		a.failWith = nil
		readBlocks(t, v, 3, 4, 5)
	})
}

func TestI9WhatIsKeptIsBounded(t *testing.T) {
	h := ahead{kept: map[uint64]*kept{}}
	for b := range uint64(2 * aheadBytes / blockSize) {
		h.keep([]*part{{block: b}}, blockSize)
	}
	if n := len(h.kept) * blockSize; n > aheadBytes {
		t.Errorf("%d bytes are kept, the bound is %d", n, aheadBytes)
	}
}
