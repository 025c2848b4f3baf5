package stripe

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/cluster"
)

// instant is a store that takes writes at once and keeps nothing of them, so
// that what is measured is this package.
type instant struct {
	chunk.Store
	ack chunk.Ack
}

func (s *instant) Write(context.Context, chunk.Term, []chunk.Op) (chunk.Ack, error) {
	return s.ack, nil
}
func (s *instant) Sync(context.Context, chunk.Term) (chunk.Ack, error) { return s.ack, nil }

// Benchmark does one request after another on 4 + 2 nodes that answer at once:
// bytes and allocations are those of this package and, for reads, of the store
// in memory.
func Benchmark(b *testing.B) {
	for _, c := range requests(b) {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestAllocations bounds what a request allocates, a third above what it does.
func TestAllocations(t *testing.T) {
	for _, c := range requests(t) {
		do := func() {
			if err := c.do(); err != nil {
				t.Fatal(err)
			}
		}
		if n := testing.AllocsPerRun(1000, do); n > c.allocs {
			t.Errorf("%s: %v allocations, want at most %v", c.name, n, c.allocs)
		}
	}
}

type request struct {
	name   string
	allocs float64 // at most
	do     func() error
}

// requests are for one array, and in this order: nothing is there of what is
// written after the reads.
func requests(b testing.TB) []request {
	a := openForBenchmark(b)
	buf, n := make([]byte, a.geo.BlockSize), uint64(0)
	next := func() uint64 { n++; return n % a.geo.Blocks() }
	return []request{
		{"read-4KiB", 20, func() error { return a.ReadAt(b.Context(), buf[:4096], int64(next())*int64(len(buf))) }},
		{"read-32KiB", 58, func() error { return a.ReadAt(b.Context(), buf, int64(next())*int64(len(buf))) }},
		{"write-32KiB", 110, func() error { return a.WriteBlock(b.Context(), next(), bytes.Clone(buf)) }},
	}
}

// openForBenchmark opens a volume of 64 blocks of 32 KiB, all written.
func openForBenchmark(b testing.TB) *Array {
	var opts Options
	var stores []*instant
	for i := range 6 {
		id := chunk.NodeID(fmt.Sprintf("n%d", i))
		s := &instant{Store: chunktest.NewMemory(id)}
		stores = append(stores, s)
		opts.Nodes = append(opts.Nodes, Node{ID: id, Store: s.Store, Background: s.Store})
	}
	geo := cluster.Geometry{Size: 64 << 15, BlockSize: 32 << 10, Data: 4, Parity: 2, Extent: 1}
	id, err := Create(b.Context(), opts, "v", geo)
	if err != nil {
		b.Fatal(err)
	}
	a := mustOpen(b, opts, id)
	for block := range geo.Blocks() {
		if err := a.WriteBlock(b.Context(), block, make([]byte, geo.BlockSize)); err != nil {
			b.Fatal(err)
		}
	}
	if err := a.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	for i, s := range stores {
		hello, err := s.Hello(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		s.ack = chunk.Ack{Instance: hello.Instance, FreeBytes: 1 << 40}
		opts.Nodes[i].Store = s
	}
	return mustOpen(b, opts, id)
}

func mustOpen(b testing.TB, opts Options, id chunk.VolumeID) *Array {
	a, err := Open(b.Context(), opts, id)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(a.Wait)
	b.Cleanup(a.Abandon)
	return a
}
