//go:build !amd64 || klauspost

package erasure

import "github.com/klauspost/reedsolomon"

type klauspost struct{ reedsolomon.Encoder }

// newLibrary asks for the Cauchy matrix, which is the other library's, for no
// goroutines, since callers code many blocks at once, and for no cache of
// inverted matrices, since Code keeps one that is bounded.
func newLibrary(data, parity int) (library, error) {
	encoder, err := reedsolomon.New(data, parity, reedsolomon.WithCauchyMatrix(),
		reedsolomon.WithMaxGoroutines(1), reedsolomon.WithInversionCache(false))
	return klauspost{encoder}, err
}

func (k klauspost) reconstruct(shards [][]byte, _, missing []int) error {
	for _, i := range missing {
		shards[i] = shards[i][:0]
	}
	return k.Reconstruct(shards)
}

func newMultiplier(matrix [][]byte) (multiplier, error) {
	return reedsolomon.New(len(matrix[0]), len(matrix), reedsolomon.WithCustomMatrix(matrix),
		reedsolomon.WithMaxGoroutines(1), reedsolomon.WithInversionCache(false))
}
