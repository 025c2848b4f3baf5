package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"rozobox/pkg/chunk"
)

// rows is how many permutations a volume uses at most. It is part of the truth
// on disk and never changes. 4096 spread the chunks of 8 nodes within a few per
// cent, take 32 KiB then, and are computed within some milliseconds.
const rows = 4096

// drawsPerRow spaces the rows in a node's sequence of draws.
const drawsPerRow = 64

var _ [drawsPerRow - chunk.MaxNodes]struct{} // a draw for each slot

// Placement says where the blocks of one volume live. It is immutable.
type Placement struct {
	extent uint64
	nodes  int
	rows   uint64  // that the volume uses
	table  []uint8 // rows of node indexes
}

// NewPlacement computes the placement of a volume over nodes, of which only
// the ids and weights matter. They and g must be as a valid superblock has
// them.
func NewPlacement(volume chunk.VolumeID, nodes []Member, g Geometry) *Placement {
	p := &Placement{
		extent: uint64(g.Extent),
		nodes:  len(nodes),
		rows:   min(rows, (g.Blocks()-1)/uint64(g.Extent)+1),
	}
	p.table = make([]uint8, int(p.rows)*len(nodes))
	candidates := make([]candidate, len(nodes))
	for i := range candidates {
		candidates[i] = candidate{index: uint8(i), id: nodes[i].ID,
			weight: uint64(nodes[i].Weight), seed: seed(volume, nodes[i].ID)}
	}
	for row := range p.rows {
		fill(p.row(row), row, candidates)
	}
	return p
}

// Place returns the nodes of a block as indexes into the list that the
// placement was made of: slot i below k+m is the home of chunk i, the rest
// are spares in order. The slice is shared and must not be changed. A block
// beyond the volume has some place too: a node may name any.
func (p *Placement) Place(block uint64) []uint8 {
	group := block / p.extent
	return p.row((group ^ mix(group/rows)) % rows % p.rows)
}

func (p *Placement) row(i uint64) []uint8 {
	at := int(i) * p.nodes
	return p.table[at : at+p.nodes : at+p.nodes]
}

// candidate is a node that slots of a row are given to.
type candidate struct {
	index  uint8
	id     chunk.NodeID
	weight uint64
	seed   uint64
}

// fill writes one row; it reorders candidates.
func fill(row []uint8, number uint64, candidates []candidate) {
	for slot := range row {
		best, left := 0, candidates[slot:]
		draw := number*drawsPerRow + uint64(slot)
		bestDistance := left[0].distance(draw)
		for i := 1; i < len(left); i++ {
			d := left[i].distance(draw)
			if left[i].beats(&left[best], d, bestDistance) {
				best, bestDistance = i, d
			}
		}
		left[0], left[best] = left[best], left[0]
		row[slot] = left[0].index
	}
}

// distance is -log2 of the node's draw; divided by the weight, the smallest
// wins the slot.
func (c *candidate) distance(draw uint64) uint64 {
	return negLog2(mix(c.seed + (draw+1)*0x9e3779b97f4a7c15))
}

// beats compares without dividing: a distance is below 2^31 and a weight below
// 2^16, so that their product fits. Equals are told apart by id, because the
// order of the list must not matter.
func (c *candidate) beats(other *candidate, mine, its uint64) bool {
	a, b := mine*other.weight, its*c.weight
	return a < b || a == b && c.id < other.id
}

func seed(volume chunk.VolumeID, id chunk.NodeID) uint64 {
	text := append([]byte("rozobox placement 1"), volume[:]...)
	sum := sha256.Sum256(append(text, id...))
	return binary.BigEndian.Uint64(sum[:])
}

// mix is a permutation of 64-bit words in which every bit of x changes every
// bit of the result; see doc.go for its source.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// logBits is the precision of negLog2 after the point.
const logBits = 24

// negLog2 returns -log2((u+1) / 2^64) with logBits bits after the point,
// rounded up; it is 0 to 64<<logBits.
func negLog2(u uint64) uint64 {
	if u == 1<<64-1 {
		return 0
	}
	zeros := bits.LeadingZeros64(u + 1)
	x := (u + 1) << zeros // u+1 = x / 2^zeros, and x / 2^63 is in [1, 2)
	log := uint64(0)
	for range logBits { // squaring doubles the logarithm: its next bit shows
		square, _ := bits.Mul64(x, x)
		bit := square >> 63
		log = log<<1 | bit
		x = square << (1 - bit)
	}
	return uint64(zeros+1)<<logBits - log
}
