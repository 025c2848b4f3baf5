package chunkstore_test

import (
	"context"
	"testing"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunkstore"
)

// BenchmarkStart opens a card of a million chunks, written in no order, after a
// clean stop and after a kill that left the last segment open. TMPDIR says on
// which file system: it needs 4.5 GB.
func BenchmarkStart(b *testing.B) {
	if testing.Short() {
		b.Skip("it writes 4.5 GB")
	}
	opts := chunkstore.Options{Dir: b.TempDir(), Node: "pi1", Capacity: 16 << 30}
	fillMillion(b, opts)
	b.Run("clean", func(b *testing.B) {
		for b.Loop() {
			s := open(b, opts)
			b.StopTimer()
			checkMillion(b, s)
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	b.Run("killed", func(b *testing.B) {
		v := chunk.Version(million)
		for b.Loop() {
			b.StopTimer()
			leaveOpen(b, opts, &v)
			b.StartTimer()
			s := open(b, opts)
			b.StopTimer()
			checkMillion(b, s)
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}

// leaveOpen writes the most of a segment, 48 MiB, after version v, and kills
// the store.
func leaveOpen(b *testing.B, opts chunkstore.Options, v *chunk.Version) {
	s := open(b, opts)
	for range 48 {
		writeChunks(b, s, *v, 256)
		*v += 256
	}
	if err := s.Kill(); err != nil {
		b.Fatal(err)
	}
}

const million = 1 << 20

var startTerm = chunk.Term{Volume: chunk.VolumeID{1}, Epoch: 1, Nonce: 1}

func open(b *testing.B, opts chunkstore.Options) *chunkstore.Store {
	s, err := chunkstore.Open(opts)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func fillMillion(b *testing.B, opts chunkstore.Options) {
	s := open(b, opts)
	if _, err := s.Grant(context.Background(), startTerm.Volume, 1, 1); err != nil {
		b.Fatal(err)
	}
	for v := chunk.Version(0); v < million; v += 256 {
		writeChunks(b, s, v, 256)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// writeChunks writes n versions after v; W is the version before them. Which
// block each has looks random, and each block has its turn once in a million.
func writeChunks(b *testing.B, s *chunkstore.Store, v chunk.Version, n int) {
	term, ops := startTerm, make([]chunk.Op, n)
	term.Watermark = v
	payload := make([]byte, 4<<10)
	for i := range ops {
		v++
		block := uint64(v) * 0x9e3779b1 % million
		ops[i] = chunk.Op{Kind: chunk.OpPut, Block: block, Version: v, Data: payload}
	}
	if ack, err := s.Write(context.Background(), term, ops); err != nil || ack.Errs != nil {
		b.Fatal(err, ack.Errs)
	}
}

func checkMillion(b *testing.B, s *chunkstore.Store) {
	stat, err := s.Stat(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	if stat.Chunks < million {
		b.Fatalf("%d chunks", stat.Chunks)
	}
}
