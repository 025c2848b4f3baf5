package erasure

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	klauspostrs "github.com/klauspost/reedsolomon"
	templexxxrs "github.com/templexxx/reedsolomon"
)

// A volume that was written through a gateway on amd64 must be readable
// through one on arm64, and the other way round. Each library takes several
// ways through its code, by what the processor has.
func TestBothLibrariesGiveTheSameBytes(t *testing.T) {
	for _, w := range widths {
		k, m := w[0], w[1]
		t.Run(fmt.Sprintf("%d+%d", k, m), func(t *testing.T) {
			encoders := allEncoders(t, k, m)
			r := rand.New(rand.NewPCG(9, uint64(k)))
			for _, n := range lengths() {
				var first [][]byte
				for name, e := range encoders {
					shards, _ := stripe(r, k, m, n)
					if first == nil {
						first = shards
					}
					for i := range k {
						copy(shards[i], first[i])
					}
					if err := e.Encode(shards); err != nil {
						t.Fatal(err)
					}
					for i := range shards {
						if !bytes.Equal(shards[i], first[i]) {
							t.Fatalf("%s: chunk %d of %d bytes differs", name, i, n)
						}
					}
				}
			}
		})
	}
}

func allEncoders(t *testing.T, k, m int) map[string]multiplier {
	t.Helper()
	encoders := map[string]multiplier{}
	for name, option := range map[string]klauspostrs.Option{
		"klauspost, its best": klauspostrs.WithMaxGoroutines(1),
		"klauspost, no GFNI":  klauspostrs.WithGFNI(false),
		"klauspost, no AVX2":  klauspostrs.WithAVX2(false),
	} {
		e, err := klauspostrs.New(k, m, klauspostrs.WithCauchyMatrix(), option)
		if err != nil {
			t.Fatal(err)
		}
		encoders[name] = e
	}
	defer func(was bool) { templexxxrs.EnableAVX512 = was }(templexxxrs.EnableAVX512)
	for _, templexxxrs.EnableAVX512 = range []bool{true, false} {
		e, err := templexxxrs.New(k, m)
		if err != nil {
			t.Fatal(err)
		}
		encoders[fmt.Sprintf("templexxx, AVX512 %v", templexxxrs.EnableAVX512)] = e
	}
	return encoders
}
