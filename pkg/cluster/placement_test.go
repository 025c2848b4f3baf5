package cluster

import (
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"testing"

	"rozobox/pkg/chunk"
)

// testNodes returns n nodes pi1, pi2, ... of weight 1.
func testNodes(n int) []Member {
	nodes := make([]Member, n)
	for i := range nodes {
		nodes[i] = Member{ID: chunk.NodeID(fmt.Sprintf("pi%d", i+1)), Weight: 1, State: In}
	}
	return nodes
}

func testGeometry() Geometry {
	return Geometry{Size: 1 << 30, BlockSize: 64 << 10, Data: 4, Parity: 2, Extent: 1}
}

var testVolume = chunk.VolumeID{1, 2, 3}

// Chunks on disk are found by these rows: a change of this table is a loss of
// every volume.
func TestPlacementNeverChanges(t *testing.T) {
	nodes := testNodes(8)
	nodes[7].Weight = 3
	p := NewPlacement(testVolume, nodes, testGeometry())
	golden := map[uint64]string{
		0:       "[3 4 7 0 1 5 6 2]",
		1:       "[0 7 4 2 5 6 1 3]",
		4095:    "[7 1 3 0 6 5 4 2]",
		4096:    "[2 7 1 4 3 0 6 5]",
		1 << 40: "[3 7 4 6 1 0 5 2]",
	}
	for block, want := range golden {
		if got := fmt.Sprint(p.Place(block)); got != want {
			t.Errorf("block %d: placed on %s, want %s", block, got, want)
		}
	}
	const all = "61be6602e6cb91ec135c1a2149315271db2bb33233da54186c028d6ad6c4fbd8"
	if got := fmt.Sprintf("%x", sha256.Sum256(p.table)); got != all {
		t.Errorf("the whole table hashes to %s, want %s", got, all)
	}
}

func TestPlaceReturnsPermutations(t *testing.T) {
	for _, n := range []int{3, 6, 8, 64} {
		p := NewPlacement(testVolume, testNodes(n), testGeometry())
		for block := range uint64(rows) {
			row := slices.Clone(p.Place(block))
			slices.Sort(row)
			for i := range n {
				if len(row) != n || int(row[i]) != i {
					t.Fatalf("%d nodes, block %d: %v is no permutation", n, block, p.Place(block))
				}
			}
		}
	}
}

func TestPlacementIgnoresOrderAndState(t *testing.T) {
	nodes := testNodes(8)
	turned := slices.Clone(nodes)
	slices.Reverse(turned)
	turned[3].State = Lost
	turned[4].Store = chunk.StoreID{9}
	p := NewPlacement(testVolume, nodes, testGeometry())
	q := NewPlacement(testVolume, turned, testGeometry())
	for block := range uint64(rows) {
		for slot, i := range p.Place(block) {
			if j := q.Place(block)[slot]; turned[j].ID != nodes[i].ID {
				t.Fatalf("block %d slot %d: %s, in another order %s", block, slot, nodes[i].ID, turned[j].ID)
			}
		}
	}
}

func TestVolumesArePlacedApart(t *testing.T) {
	p := NewPlacement(testVolume, testNodes(8), testGeometry())
	q := NewPlacement(chunk.VolumeID{4}, testNodes(8), testGeometry())
	same := 0
	for block := range uint64(rows) {
		if p.Place(block)[0] == q.Place(block)[0] {
			same++
		}
	}
	if share := float64(same) / rows; math.Abs(share-1.0/8) > 0.03 {
		t.Errorf("first home is the same for %.3f of the blocks, want 1/8", share)
	}
}

// Of the 4096 rows each node should have 1/8 of each slot; chance alone moves
// one slot by 4 % (one sigma), the six homes together by 0.9 %.
func TestNodesShareEverySlot(t *testing.T) {
	const n, width = 8, 6
	p := NewPlacement(testVolume, testNodes(n), testGeometry())
	var homes [n]int
	for slot := range n {
		var count [n]int
		for block := range uint64(rows) {
			count[p.Place(block)[slot]]++
		}
		for node, c := range count {
			checkShare(t, fmt.Sprintf("slot %d node %d", slot, node), c, rows/n, 0.13)
			if slot < width {
				homes[node] += c
			}
		}
	}
	for node, c := range homes {
		checkShare(t, fmt.Sprintf("homes of node %d", node), c, rows*width/n, 0.03)
	}
}

func TestWeightsAreShares(t *testing.T) {
	nodes := testNodes(8)
	nodes[2].Weight, nodes[5].Weight = 4, 2
	p := NewPlacement(testVolume, nodes, testGeometry())
	count := make([]int, len(nodes))
	for block := range uint64(rows) {
		count[p.Place(block)[0]]++
	}
	for i, c := range count {
		checkShare(t, string(nodes[i].ID), c, rows*int(nodes[i].Weight)/12, 0.15)
	}
}

func checkShare(t *testing.T, what string, got, want int, tolerance float64) {
	t.Helper()
	if off := float64(got)/float64(want) - 1; math.Abs(off) > tolerance {
		t.Errorf("%s: %d blocks, want %d within %.0f %%", what, got, want, 100*tolerance)
	}
}

func TestExtentSharesOneRow(t *testing.T) {
	g := testGeometry()
	g.Extent = 100
	p := NewPlacement(testVolume, testNodes(8), g)
	one := NewPlacement(testVolume, testNodes(8), testGeometry())
	for block := range uint64(5000) {
		if got, want := p.Place(block), one.Place(block/100); !slices.Equal(got, want) {
			t.Fatalf("block %d: %v, its group is on %v", block, got, want)
		}
	}
}

// A small volume is placed as the beginning of a large one is. A block beyond
// its end, which a node may well name, must have some place.
func TestSmallVolumeIsPlacedAsALargeOne(t *testing.T) {
	g := testGeometry()
	large := NewPlacement(testVolume, testNodes(8), g)
	g.Size = 100 * int64(g.BlockSize)
	small := NewPlacement(testVolume, testNodes(8), g)
	for block := range g.Blocks() {
		if got, want := small.Place(block), large.Place(block); !slices.Equal(got, want) {
			t.Fatalf("block %d: %v, in the large volume %v", block, got, want)
		}
	}
	for _, beyond := range []uint64{100, rows - 1, rows, math.MaxUint64} {
		if n := len(small.Place(beyond)); n != 8 {
			t.Errorf("block %d has %d places", beyond, n)
		}
	}
}

// Consecutive groups use every row once; groups a power of two apart must not
// meet in a few rows, as they would if the row were only group mod rows.
func TestRowsAreUsedEvenly(t *testing.T) {
	p := NewPlacement(testVolume, testNodes(8), testGeometry())
	rowsOf := func(first, stride uint64) int {
		seen := map[*uint8]bool{}
		for i := range uint64(rows) {
			seen[&p.Place(first + i*stride)[0]] = true
		}
		return len(seen)
	}
	for _, first := range []uint64{0, rows, 1000 * rows} {
		if n := rowsOf(first, 1); n != rows {
			t.Errorf("%d groups from %d use %d rows", rows, first, n)
		}
	}
	for shift := 1; shift < 40; shift++ {
		// Drawn at random, 4096 groups meet 63 % of the rows.
		if n := rowsOf(0, 1<<shift); n < rows/2 {
			t.Errorf("%d groups 2^%d apart use %d rows", rows, shift, n)
		}
	}
}

func TestPlaceDoesNotAllocate(t *testing.T) {
	p := NewPlacement(testVolume, testNodes(8), testGeometry())
	block, sum := uint64(0), 0
	allocs := testing.AllocsPerRun(1000, func() {
		sum += int(p.Place(block)[0])
		block += 12345
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want none", allocs)
	}
}

func TestNegLog2(t *testing.T) {
	for _, u := range []uint64{0, 1, 2, 3, 1000, 1 << 31, 1<<32 - 1, 1 << 63, 3 << 62, 1<<64 - 2, 1<<64 - 1} {
		want := 64 - math.Log2(float64(u)+1)
		if got := float64(negLog2(u)) / (1 << logBits); math.Abs(got-want) > 1e-6 {
			t.Errorf("negLog2(%d) = %v, want %v", u, got, want)
		}
	}
}

// Nodes that draw alike are told apart by their ids alone.
func TestEqualDrawsIgnoreOrder(t *testing.T) {
	for _, order := range [][]chunk.NodeID{{"a", "b", "c"}, {"c", "b", "a"}, {"b", "c", "a"}} {
		var candidates []candidate
		for i, id := range order {
			candidates = append(candidates, candidate{index: uint8(i), id: id, weight: math.MaxUint16, seed: 7})
		}
		row := make([]uint8, len(order))
		fill(row, 5, candidates)
		for slot, want := range []chunk.NodeID{"a", "b", "c"} {
			if got := order[row[slot]]; got != want {
				t.Errorf("of %v slot %d goes to %s, want %s", order, slot, got, want)
			}
		}
	}
}

func BenchmarkNewPlacement(b *testing.B) {
	for _, n := range []int{8, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				NewPlacement(testVolume, testNodes(n), testGeometry())
			}
		})
	}
}

func BenchmarkPlace(b *testing.B) {
	p := NewPlacement(testVolume, testNodes(8), testGeometry())
	b.ReportAllocs()
	block := uint64(0)
	for b.Loop() {
		p.Place(block)
		block += 12345
	}
}
