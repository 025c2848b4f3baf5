package erasure

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
)

// maxWidth bounds k+m: sets of chunks are words of 32 bits.
const maxWidth = 32

// maxDecoders bounds the decode matrices that are kept. 4+2 has 45 ways to
// lose chunks and want some back, 8+4 some thousands; a matrix and what the
// library keeps with it take some KiB at most.
const maxDecoders = 1024

// Code encodes and decodes with fixed numbers of chunks. It may be used by
// many goroutines at once.
type Code struct {
	data, parity int
	library      library

	mu       sync.Mutex // guards decoders; not held while coding
	decoders map[pattern]multiplier
}

// pattern is a task of decoding: sets of chunk indexes.
type pattern struct{ have, want uint32 }

// library is one of the two reedsolomon modules, behind what we need of it.
type library interface {
	multiplier
	// reconstruct recomputes the missing shards from the k that are in have.
	// Both lists are ascending and may be overwritten.
	reconstruct(shards [][]byte, have, missing []int) error
}

// multiplier computes the last of shards as a matrix times the first ones.
type multiplier interface {
	Encode(shards [][]byte) error
}

// New returns a code of data+parity chunks after checking that it computes
// what doc.go says.
func New(data, parity int) (*Code, error) {
	if parity < 1 || data <= parity || data > maxWidth-parity {
		return nil, fmt.Errorf("erasure: %d+%d chunks: want data > parity >= 1, at most %d in all",
			data, parity, maxWidth)
	}
	l, err := newLibrary(data, parity)
	if err != nil {
		return nil, fmt.Errorf("erasure: %d+%d chunks: %w", data, parity, err)
	}
	c := &Code{data: data, parity: parity, library: l, decoders: map[pattern]multiplier{}}
	if err := c.selfTest(); err != nil {
		return nil, fmt.Errorf("erasure: self-test of %d+%d chunks: %w", data, parity, err)
	}
	return c, nil
}

// Encode fills the last m of k+m shards of equal length from the first k.
func (c *Code) Encode(shards [][]byte) error {
	if err := c.checkSizes(shards, 1<<len(shards)-1); err != nil {
		return fmt.Errorf("erasure: encode: %w", err)
	}
	return c.library.Encode(shards)
}

// Reconstruct fills shards[i] for each i in want from k of the shards in have.
// The shards of both must be of equal length, which may be that of any range
// of a chunk, and must not overlap; the others are not looked at.
func (c *Code) Reconstruct(shards [][]byte, have, want []int) error {
	p, err := c.pattern(have, want)
	if err != nil {
		return fmt.Errorf("erasure: reconstruct: %w", err)
	}
	if err := c.checkSizes(shards, p.have|p.want); err != nil {
		return fmt.Errorf("erasure: reconstruct: %w", err)
	}
	if p.want == 0 {
		return nil
	}
	m, err := c.decoder(p)
	if err != nil {
		return fmt.Errorf("erasure: reconstruct: %w", err)
	}
	vectors := make([][]byte, 0, c.data+len(want))
	for set := p.have; set != 0; set &= set - 1 {
		vectors = append(vectors, shards[bits.TrailingZeros32(set)])
	}
	for set := p.want; set != 0; set &= set - 1 {
		vectors = append(vectors, shards[bits.TrailingZeros32(set)])
	}
	return m.Encode(vectors)
}

// pattern takes the first k of have, and all of want.
func (c *Code) pattern(have, want []int) (pattern, error) {
	if len(have) < c.data {
		return pattern{}, fmt.Errorf("%d chunks at hand, %d are needed", len(have), c.data)
	}
	all, err := c.set(0, have)
	if err != nil {
		return pattern{}, err
	}
	both, err := c.set(all, want)
	if err != nil {
		return pattern{}, err
	}
	used, err := c.set(0, have[:c.data])
	return pattern{have: used, want: both &^ all}, err
}

// set adds indexes to a set; none may be in it already.
func (c *Code) set(set uint32, indexes []int) (uint32, error) {
	for _, i := range indexes {
		if i < 0 || i >= c.data+c.parity {
			return 0, fmt.Errorf("chunk index %d of %d+%d", i, c.data, c.parity)
		}
		if set&(1<<i) != 0 {
			return 0, fmt.Errorf("chunk index %d is given twice", i)
		}
		set |= 1 << i
	}
	return set, nil
}

// checkSizes refuses shards of a set that are empty or of unequal length.
func (c *Code) checkSizes(shards [][]byte, set uint32) error {
	if len(shards) != c.data+c.parity {
		return fmt.Errorf("%d shards for %d+%d chunks", len(shards), c.data, c.parity)
	}
	size := len(shards[bits.TrailingZeros32(set)])
	for ; set != 0; set &= set - 1 {
		i := bits.TrailingZeros32(set)
		if n := len(shards[i]); n == 0 || n != size {
			return fmt.Errorf("shard %d has %d bytes, another %d", i, n, size)
		}
	}
	return nil
}

// decoder returns the multiplier for a pattern.
func (c *Code) decoder(p pattern) (multiplier, error) {
	c.mu.Lock()
	m := c.decoders[p]
	c.mu.Unlock()
	if m != nil {
		return m, nil
	}
	m, err := c.newDecoder(p)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.decoders) >= maxDecoders {
		clear(c.decoders) // so many patterns do not come back soon
	}
	c.decoders[p] = m
	return m, nil
}

// newDecoder finds the matrix that leads from the k chunks at hand to those
// wanted. Column j is what they are when chunk j of those at hand is 1 and
// the others are 0; as bytes do not depend on each other, byte j of vectors
// of k bytes computes it.
func (c *Code) newDecoder(p pattern) (multiplier, error) {
	vectors := make([][]byte, c.data+c.parity)
	var have, missing []int
	for i := range vectors {
		vectors[i] = make([]byte, c.data)
		if p.have&(1<<i) == 0 {
			missing = append(missing, i)
			continue
		}
		vectors[i][len(have)] = 1
		have = append(have, i)
	}
	if err := c.library.reconstruct(vectors, have, missing); err != nil {
		return nil, err
	}
	var matrix [][]byte
	for set := p.want; set != 0; set &= set - 1 {
		matrix = append(matrix, vectors[bits.TrailingZeros32(set)])
	}
	return newMultiplier(matrix)
}

// errWrongBytes means that the library, as built for this processor, does not
// compute the code; data written with it could not be read elsewhere.
var errWrongBytes = errors.New("the library computes other bytes than the formula")
