package chunkstore_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunkstore"
)

func benchStore(b *testing.B) (*chunkstore.Store, chunk.Term) {
	s, err := chunkstore.Open(chunkstore.Options{Dir: b.TempDir(), Node: "pi1", Capacity: 8 << 30})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	term := chunk.Term{Volume: chunk.VolumeID{1}, Epoch: 1, Nonce: 1}
	if _, err := s.Grant(context.Background(), term.Volume, 1, 1); err != nil {
		b.Fatal(err)
	}
	return s, term
}

// BenchmarkWrite appends batches, without waiting for the card: checksums,
// copying, the write to the page cache, the index.
func BenchmarkWrite(b *testing.B) {
	for _, c := range []struct{ size, batch int }{{4 << 10, 1}, {16 << 10, 1}, {16 << 10, 64}} {
		b.Run(fmt.Sprintf("%dKiB-by-%d", c.size>>10, c.batch), func(b *testing.B) {
			s, term := benchStore(b)
			ops := make([]chunk.Op, c.batch)
			payload := make([]byte, c.size)
			rand.NewChaCha8([32]byte{}).Read(payload)
			b.SetBytes(int64(c.size * c.batch))
			b.ReportAllocs()
			v := chunk.Version(0)
			for b.Loop() {
				for i := range ops {
					v++
					ops[i] = chunk.Op{Kind: chunk.OpPut, Block: uint64(v) % 20000, Version: v, Data: payload}
				}
				term.Watermark = max(v, 1000) - 1000
				ack, err := s.Write(context.Background(), term, ops)
				if err != nil || ack.Errs != nil {
					b.Fatal(err, ack.Errs)
				}
				if v%20000 < chunk.Version(c.batch) {
					if _, err := s.Sync(context.Background(), term); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkRead reads 4 KiB at random out of chunks of 16 KiB that the page
// cache has.
func BenchmarkRead(b *testing.B) {
	s, term := benchStore(b)
	const blocks = 8192
	payload := make([]byte, 16<<10)
	for i := range uint64(blocks) {
		binary.BigEndian.PutUint64(payload, i)
		op := chunk.Op{Kind: chunk.OpPut, Block: i, Version: chunk.Version(i + 1), Data: payload}
		if _, err := s.Write(context.Background(), term, []chunk.Op{op}); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(4 << 10)
	b.ReportAllocs()
	gets := []chunk.Get{{Dst: make([]byte, 4<<10)}}
	for b.Loop() {
		gets[0].Block, gets[0].Off = rand.Uint64N(blocks), rand.Uint32N(4)*4096
		found, err := s.Read(context.Background(), term, gets)
		if err != nil || found[0].State != chunk.Present {
			b.Fatal(err, found)
		}
	}
}
