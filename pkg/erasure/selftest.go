package erasure

import (
	"bytes"
	"slices"
)

// selfTestSize has every step of the libraries' vector code in it: 64, 32 and
// 16 bytes at once, and single bytes.
const selfTestSize = 64 + 32 + 16 + 15

// selfTest encodes a block and compares it with the formula, then decodes it
// without its first m chunks.
func (c *Code) selfTest() error {
	shards := make([][]byte, c.data+c.parity)
	for i := range shards {
		shards[i] = make([]byte, selfTestSize)
		for b := range shards[i] {
			shards[i][b] = byte(151*i + 37*b + 1)
		}
	}
	if err := c.Encode(shards); err != nil {
		return err
	}
	for i := c.data; i < len(shards); i++ {
		if !bytes.Equal(shards[i], parityByFormula(shards[:c.data], i)) {
			return errWrongBytes
		}
	}
	return c.selfTestDecode(shards)
}

func (c *Code) selfTestDecode(shards [][]byte) error {
	decoded := slices.Clone(shards)
	var have, want []int
	for i := range shards {
		if i < c.parity {
			want = append(want, i)
			decoded[i] = make([]byte, selfTestSize)
		} else {
			have = append(have, i)
		}
	}
	if err := c.Reconstruct(decoded, have, want); err != nil {
		return err
	}
	if !slices.EqualFunc(decoded, shards, bytes.Equal) {
		return errWrongBytes
	}
	return nil
}

// parityByFormula returns parity chunk i of the data chunks.
func parityByFormula(data [][]byte, i int) []byte {
	parity := make([]byte, len(data[0]))
	for j := range data {
		factor := inverse(byte(i ^ j))
		for b := range parity {
			parity[b] ^= multiply(factor, data[j][b])
		}
	}
	return parity
}

// multiply is the product in GF(2^8), bit by bit: the peer of the libraries'
// tables, which it must not share.
func multiply(x, y byte) byte {
	product := byte(0)
	for ; y != 0; y >>= 1 {
		if y&1 != 0 {
			product ^= x
		}
		overflow := x >> 7
		x = x<<1 ^ overflow*0x1d
	}
	return product
}

// inverse returns x^254, which is 1/x, because x^255 is 1.
func inverse(x byte) byte {
	power := byte(1)
	for range 254 {
		power = multiply(power, x)
	}
	return power
}
