package erasure

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// widths are k+m from the smallest to the largest.
var widths = [][2]int{{2, 1}, {3, 1}, {3, 2}, {4, 2}, {4, 3}, {8, 4}, {10, 4}, {31, 1}, {16, 15}}

// lengths are all short ones, and some at which the libraries' inner loops
// and cache portions begin and end.
func lengths() []int {
	var l []int
	for n := 1; n <= 130; n++ {
		l = append(l, n)
	}
	return append(l, 255, 256, 257, 511, 1000, 4095, 4096, 4097, 16<<10, 16<<10+1, 24<<10+15, 32<<10-1, 50001)
}

func newCode(t testing.TB, k, m int) *Code {
	t.Helper()
	c, err := New(k, m)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// guard surrounds the shards of tests: coding must not touch it.
const guard = 0xa5

// stripe returns k+m shards of n bytes, the first k random, inside buffers
// that are filled with guards, and at odd addresses.
func stripe(r *rand.Rand, k, m, n int) (shards, buffers [][]byte) {
	for i := range k + m {
		buffer := bytes.Repeat([]byte{guard}, n+64)
		shard := buffer[1+i%31:][:n]
		if i < k {
			for b := range shard {
				shard[b] = byte(r.Uint32())
			}
		}
		shards, buffers = append(shards, shard), append(buffers, buffer)
	}
	return shards, buffers
}

func checkGuards(t *testing.T, shards, buffers [][]byte) {
	t.Helper()
	for i, buffer := range buffers {
		before, after := buffer[:1+i%31], buffer[1+i%31+len(shards[i]):]
		if len(bytes.Trim(before, "\xa5")) != 0 || len(bytes.Trim(after, "\xa5")) != 0 {
			t.Fatalf("shard %d of %d bytes: written beyond its end", i, len(shards[i]))
		}
	}
}

func TestEncodeIsTheFormula(t *testing.T) {
	for _, w := range widths {
		t.Run(fmt.Sprintf("%d+%d", w[0], w[1]), func(t *testing.T) {
			c, r := newCode(t, w[0], w[1]), rand.New(rand.NewPCG(1, uint64(w[0])))
			for _, n := range lengths() {
				if n > 1000 && w[0] > 10 {
					break // the formula is slow
				}
				shards, buffers := stripe(r, w[0], w[1], n)
				if err := c.Encode(shards); err != nil {
					t.Fatal(err)
				}
				checkGuards(t, shards, buffers)
				for i := w[0]; i < len(shards); i++ {
					if !bytes.Equal(shards[i], parityByFormula(shards[:w[0]], i)) {
						t.Fatalf("parity %d of %d bytes differs from the formula", i, n)
					}
				}
			}
		})
	}
}

// Chunks on cards were made by these bytes.
func TestCodeNeverChanges(t *testing.T) {
	for _, g := range []struct {
		k, m int
		want uint32
	}{{2, 1, 0x41f102d6}, {4, 2, 0x20ecb478}, {8, 4, 0x1d855547}, {10, 4, 0x7125a2dc}} {
		shards := make([][]byte, g.k+g.m)
		for i := range shards {
			shards[i] = make([]byte, 1000)
			for b := range shards[i] {
				shards[i][b] = byte(i*i + b + b>>8)
			}
		}
		if err := newCode(t, g.k, g.m).Encode(shards); err != nil {
			t.Fatal(err)
		}
		if got := crc32.ChecksumIEEE(slices.Concat(shards...)); got != g.want {
			t.Errorf("%d+%d: CRC %#x, want %#x", g.k, g.m, got, g.want)
		}
	}
}

// subsets calls f with every set of n of the chunks 0 to width-1.
func subsets(width, n int, f func(in, out []int)) {
	for set := range 1 << width {
		var in, out []int
		for i := range width {
			if set&(1<<i) != 0 {
				in = append(in, i)
			} else {
				out = append(out, i)
			}
		}
		if len(in) == n {
			f(in, out)
		}
	}
}

// Every k of the chunks give every set of the others, of every length.
func TestReconstructEverythingFromAnyK(t *testing.T) {
	for _, w := range [][2]int{{2, 1}, {3, 1}, {3, 2}, {4, 2}, {4, 3}} {
		k, m := w[0], w[1]
		t.Run(fmt.Sprintf("%d+%d", k, m), func(t *testing.T) {
			c, r := newCode(t, k, m), rand.New(rand.NewPCG(2, 2))
			for _, n := range []int{1, 15, 16, 17, 33, 64, 127, 1000} {
				shards, buffers := stripe(r, k, m, n)
				if err := c.Encode(shards); err != nil {
					t.Fatal(err)
				}
				subsets(k+m, k, func(have, missing []int) {
					for wanted := 0; wanted <= m; wanted++ {
						subsets(m, wanted, func(choice, _ []int) {
							want := make([]int, wanted)
							for i := range want {
								want[i] = missing[choice[i]]
							}
							checkReconstruct(t, c, shards, have, want)
						})
					}
				})
				checkGuards(t, shards, buffers)
			}
		})
	}
}

// checkReconstruct recomputes some shards from some others in a copy that has
// nothing but these.
func checkReconstruct(t *testing.T, c *Code, shards [][]byte, have, want []int) {
	t.Helper()
	work := make([][]byte, len(shards))
	for _, i := range have {
		work[i] = slices.Clone(shards[i])
	}
	for _, i := range want {
		work[i] = bytes.Repeat([]byte{guard}, len(shards[i]))
	}
	if err := c.Reconstruct(work, have, want); err != nil {
		t.Fatalf("%v from %v: %v", want, have, err)
	}
	for i := range work {
		if work[i] != nil && !bytes.Equal(work[i], shards[i]) {
			t.Fatalf("%v from %v, %d bytes: shard %d is wrong", want, have, len(shards[have[0]]), i)
		}
	}
}

func TestReconstructAtRandom(t *testing.T) {
	for _, w := range widths {
		k, m := w[0], w[1]
		t.Run(fmt.Sprintf("%d+%d", k, m), func(t *testing.T) {
			c, r := newCode(t, k, m), rand.New(rand.NewPCG(3, uint64(k)))
			for _, n := range lengths() {
				shards, _ := stripe(r, k, m, n)
				if err := c.Encode(shards); err != nil {
					t.Fatal(err)
				}
				order := r.Perm(k + m)
				at := k + r.IntN(m) // more than k may be at hand
				checkReconstruct(t, c, shards, order[:at], order[at:])
			}
		})
	}
}

// A degraded read decodes only the range that it wants.
func TestReconstructRanges(t *testing.T) {
	c, r := newCode(t, 4, 2), rand.New(rand.NewPCG(4, 4))
	shards, _ := stripe(r, 4, 2, 4096)
	if err := c.Encode(shards); err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		from := r.IntN(4096)
		to := from + 1 + r.IntN(4096-from)
		part := make([][]byte, 6)
		for i := range part {
			part[i] = shards[i][from:to]
		}
		order := r.Perm(6)
		checkReconstruct(t, c, part, order[:4], order[4:4+r.IntN(3)])
	}
}

func TestReconstructLeavesItsListsAlone(t *testing.T) {
	c, r := newCode(t, 4, 2), rand.New(rand.NewPCG(5, 5))
	shards, _ := stripe(r, 4, 2, 64)
	have, want := []int{5, 3, 1, 4}, []int{2, 0}
	if err := c.Reconstruct(shards, have, want); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(have, []int{5, 3, 1, 4}) || !slices.Equal(want, []int{2, 0}) {
		t.Errorf("have became %v, want became %v", have, want)
	}
}

// Many goroutines code at once, with more patterns than are kept.
func TestCodeIsSafeForConcurrentUse(t *testing.T) {
	c := newCode(t, 10, 4)
	var g sync.WaitGroup
	for seed := range uint64(8) {
		g.Go(func() {
			r := rand.New(rand.NewPCG(6, seed))
			shards, _ := stripe(r, 10, 4, 100)
			if err := c.Encode(shards); err != nil {
				t.Error(err)
				return
			}
			for range 500 {
				order := r.Perm(14)
				work := slices.Clone(shards)
				for _, i := range order[10:] {
					work[i] = make([]byte, 100)
				}
				err := c.Reconstruct(work, order[:10], order[10:10+r.IntN(5)])
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	g.Wait()
	if n := len(c.decoders); n > maxDecoders {
		t.Errorf("%d decode matrices are kept", n)
	}
}

func TestBadInputIsRefused(t *testing.T) {
	for _, w := range [][2]int{{0, 0}, {1, 0}, {1, 1}, {2, 2}, {2, 3}, {-1, -2}, {31, 2}, {math.MaxInt, math.MaxInt - 1}} {
		if _, err := New(w[0], w[1]); err == nil {
			t.Errorf("%d+%d: accepted", w[0], w[1])
		}
	}
	c := newCode(t, 2, 1)
	shards := func(sizes ...int) [][]byte {
		var s [][]byte
		for _, n := range sizes {
			s = append(s, make([]byte, n))
		}
		return s
	}
	for _, bad := range [][]int{{}, {8, 8}, {8, 8, 8, 8}, {0, 0, 0}, {8, 8, 7}, {8, 0, 8}} {
		if err := c.Encode(shards(bad...)); err == nil {
			t.Errorf("encode of sizes %v: accepted", bad)
		}
	}
	for _, bad := range []struct {
		sizes, have, want []int
		names             string
	}{
		{[]int{8, 8, 8}, []int{0}, []int{2}, "1 chunks at hand"},
		{[]int{8, 8, 8}, []int{0, 0}, []int{2}, "index 0 is given twice"},
		{[]int{8, 8, 8}, []int{0, 1}, []int{1}, "index 1 is given twice"},
		{[]int{8, 8, 8}, []int{0, 1}, []int{3}, "index 3"},
		{[]int{8, 8, 8}, []int{-1, 1}, []int{2}, "index -1"},
		{[]int{8, 8, 7}, []int{0, 1}, []int{2}, "shard 2 has 7 bytes"},
		{[]int{8, 0, 8}, []int{0, 1}, []int{2}, "shard 1 has 0 bytes"},
		{[]int{8, 8}, []int{0, 1}, nil, "2 shards"},
	} {
		err := c.Reconstruct(shards(bad.sizes...), bad.have, bad.want)
		if err == nil || !strings.Contains(err.Error(), bad.names) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// A library that computes something else must not get as far as a card.
func TestSelfTestFindsWrongBytes(t *testing.T) {
	c := newCode(t, 4, 2)
	c.library = wrongLibrary{c.library}
	if err := c.selfTest(); err == nil {
		t.Error("a library with a wrong byte in parity passed")
	}
	c = newCode(t, 4, 2)
	for p := range c.decoders {
		c.decoders[p] = wrongLibrary{newCode(t, 4, 2).library}
	}
	if err := c.selfTest(); err == nil {
		t.Error("a library with a wrong byte in decoding passed")
	}
}

// wrongLibrary errs in the last byte of what it computes.
type wrongLibrary struct{ library }

func (w wrongLibrary) Encode(shards [][]byte) error {
	err := w.library.Encode(shards)
	last := shards[len(shards)-1]
	last[len(last)-1] ^= 1
	return err
}

// Blocks of the sizes that volumes have, and that small requests need coded.
var benchmarkSizes = []int{4 << 10, 32 << 10, 128 << 10}

func forBlocks(b *testing.B, run func(b *testing.B, c *Code, shards [][]byte)) {
	for _, size := range benchmarkSizes {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			shards, _ := stripe(rand.New(rand.NewPCG(7, 7)), 4, 2, size/4)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			run(b, newCode(b, 4, 2), shards)
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	forBlocks(b, func(b *testing.B, c *Code, shards [][]byte) {
		for b.Loop() {
			if err := c.Encode(shards); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestEncodeDoesNotAllocate(t *testing.T) {
	c := newCode(t, 4, 2)
	shards, _ := stripe(rand.New(rand.NewPCG(7, 7)), 4, 2, 8<<10)
	if n := testing.AllocsPerRun(100, func() { c.Encode(shards) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// BenchmarkReconstruct computes one data chunk of a block, or two.
func BenchmarkReconstruct(b *testing.B) {
	for _, want := range [][]int{{0}, {0, 3}} {
		b.Run(fmt.Sprint(len(want)), func(b *testing.B) {
			have := slices.DeleteFunc([]int{0, 1, 2, 3, 4, 5}, func(i int) bool { return slices.Contains(want, i) })
			forBlocks(b, func(b *testing.B, c *Code, shards [][]byte) {
				for b.Loop() {
					if err := c.Reconstruct(shards, have, want); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
