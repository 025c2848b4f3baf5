package chunkrpc

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
)

// sink is a store that costs nothing, so that a benchmark shows the transport.
type sink struct {
	*chunktest.Memory
	content []byte
}

func newSink() *sink {
	return &sink{chunktest.NewMemory("pi3"), make([]byte, chunk.MaxChunkSize)}
}

func (s *sink) Write(context.Context, chunk.Term, []chunk.Op) (chunk.Ack, error) {
	return chunk.Ack{}, nil
}

func (s *sink) Read(_ context.Context, _ chunk.Term, gets []chunk.Get) ([]chunk.Chunk, error) {
	chunks := make([]chunk.Chunk, len(gets))
	for i, g := range gets {
		copy(g.Dst, s.content)
		chunks[i] = chunk.Chunk{Version: 1, State: chunk.Present}
	}
	return chunks, nil
}

// cpuTime is what this process, which runs both ends, has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// parallel runs b.N calls, depth at a time, and reports CPU time per call.
func parallel(b *testing.B, depth, size int, call func(worker int) error) {
	b.SetBytes(int64(size))
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	began := cpuTime()
	b.ResetTimer()
	for worker := range depth {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := call(worker); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-began).Microseconds())/float64(b.N), "cpu-µs/op")
}

func benchmarkWrite(b *testing.B, depth, ops, size int) {
	client := loopback(b, newSink())
	term := grant(b, client)
	data := make([]byte, size)
	batch := make([]chunk.Op, ops)
	for i := range batch {
		batch[i] = put(uint64(i), 1, data)
	}
	parallel(b, depth, ops*size, func(int) error {
		_, err := client.Write(b.Context(), term, batch)
		return err
	})
}

func benchmarkRead(b *testing.B, depth, ops, size int) {
	client := loopback(b, newSink())
	term := grant(b, client)
	room := make([][]byte, depth)
	for i := range room {
		room[i] = make([]byte, ops*size)
	}
	parallel(b, depth, ops*size, func(worker int) error {
		gets := make([]chunk.Get, ops)
		for i := range gets {
			gets[i].Dst = room[worker][i*size : (i+1)*size]
		}
		_, err := client.Read(b.Context(), term, gets)
		return err
	})
}

func BenchmarkWrite16KQ32(b *testing.B)   { benchmarkWrite(b, 32, 1, 16<<10) }
func BenchmarkWrite16KQ1(b *testing.B)    { benchmarkWrite(b, 1, 1, 16<<10) }
func BenchmarkWrite4KQ32(b *testing.B)    { benchmarkWrite(b, 32, 1, 4<<10) }
func BenchmarkWrite8x16KQ8(b *testing.B)  { benchmarkWrite(b, 8, 8, 16<<10) }
func BenchmarkWrite8x512KQ4(b *testing.B) { benchmarkWrite(b, 4, 8, 512<<10) }
func BenchmarkRead16KQ32(b *testing.B)    { benchmarkRead(b, 32, 1, 16<<10) }
func BenchmarkRead4KQ32(b *testing.B)     { benchmarkRead(b, 32, 1, 4<<10) }
func BenchmarkRead4KQ1(b *testing.B)      { benchmarkRead(b, 1, 1, 4<<10) }
func BenchmarkRead8x512KQ4(b *testing.B)  { benchmarkRead(b, 4, 8, 512<<10) }
