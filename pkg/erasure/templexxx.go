//go:build amd64 && !klauspost

package erasure

import "github.com/templexxx/reedsolomon"

type templexxx struct{ *reedsolomon.RS }

func newLibrary(data, parity int) (library, error) {
	rs, err := reedsolomon.New(data, parity)
	return templexxx{rs}, err
}

func (t templexxx) reconstruct(shards [][]byte, have, missing []int) error {
	return t.Reconst(shards, have, missing)
}

// newMultiplier makes an encoder, for what it finds out about the processor,
// and gives it another matrix.
func newMultiplier(matrix [][]byte) (multiplier, error) {
	columns := len(matrix[0])
	rs, err := reedsolomon.New(columns, len(matrix))
	if err != nil {
		return nil, err
	}
	for i, row := range matrix {
		copy(rs.GenMatrix[i*columns:], row)
	}
	return rs, nil
}
