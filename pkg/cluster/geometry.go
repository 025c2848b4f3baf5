package cluster

import (
	"fmt"

	"rozobox/pkg/chunk"
)

// Geometry says how a volume is cut into chunks. It never changes, except
// that a volume may be created anew.
type Geometry struct {
	Size      int64 // bytes, whole blocks
	BlockSize int   // bytes, a power of two
	Data      int   // k: chunks that a block is split into
	Parity    int   // m: chunks that are computed, fewer than k
	Extent    int64 // blocks per placement group
}

// Validate refuses a geometry that cannot be served, naming field and value.
func (g Geometry) Validate() error {
	b := g.BlockSize
	switch {
	case b < chunk.MinBlockSize || b > chunk.MaxBlockSize || b&(b-1) != 0:
		return fmt.Errorf("block size %d is not a power of two from %d to %d",
			b, chunk.MinBlockSize, chunk.MaxBlockSize)
	case g.Parity < 1:
		return fmt.Errorf("parity chunks %d: at least 1 is needed", g.Parity)
	case g.Data <= g.Parity:
		// Two quorums of N-m must meet although only k+m nodes are left.
		return fmt.Errorf("data chunks %d: more than the %d parity chunks are needed", g.Data, g.Parity)
	case g.Data > chunk.MaxWidth || g.Width() > chunk.MaxWidth:
		return fmt.Errorf("data chunks %d + parity chunks %d: more than %d in all",
			g.Data, g.Parity, chunk.MaxWidth)
	case b%g.Data != 0 || g.ChunkSize()%chunk.ChunkAlign != 0:
		return fmt.Errorf("data chunks %d do not divide block size %d into multiples of %d bytes",
			g.Data, b, chunk.ChunkAlign)
	case g.Size <= 0 || g.Size%int64(b) != 0:
		return fmt.Errorf("size %d is not a positive multiple of block size %d", g.Size, b)
	case g.Extent < 1:
		return fmt.Errorf("extent %d: at least 1 block is needed", g.Extent)
	}
	return nil
}

// ChunkSize returns the bytes of one chunk.
func (g Geometry) ChunkSize() int { return g.BlockSize / g.Data }

// Blocks returns the number of blocks.
func (g Geometry) Blocks() uint64 { return uint64(g.Size) / uint64(g.BlockSize) }

// Width returns k+m, the number of chunks of a stripe.
func (g Geometry) Width() int { return g.Data + g.Parity }
