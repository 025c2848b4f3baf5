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

func benchmarkWrite(b *testing.B, over Transport, depth, ops, size int) {
	client := loopback(b, over, newSink())
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

func benchmarkRead(b *testing.B, over Transport, depth, ops, size int) {
	client := loopback(b, over, newSink())
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

// Benchmark has one for each transport, such as Benchmark/tls/write/16K/q32.
func Benchmark(b *testing.B) {
	for _, over := range transports {
		b.Run(string(over), func(b *testing.B) {
			b.Run("stream", func(b *testing.B) { benchmarkStream(b, over) })
			b.Run("write/16K/q32", func(b *testing.B) { benchmarkWrite(b, over, 32, 1, 16<<10) })
			b.Run("write/16K/q1", func(b *testing.B) { benchmarkWrite(b, over, 1, 1, 16<<10) })
			b.Run("write/4K/q32", func(b *testing.B) { benchmarkWrite(b, over, 32, 1, 4<<10) })
			b.Run("write/8x16K/q8", func(b *testing.B) { benchmarkWrite(b, over, 8, 8, 16<<10) })
			b.Run("write/8x512K/q4", func(b *testing.B) { benchmarkWrite(b, over, 4, 8, 512<<10) })
			b.Run("read/16K/q32", func(b *testing.B) { benchmarkRead(b, over, 32, 1, 16<<10) })
			b.Run("read/4K/q32", func(b *testing.B) { benchmarkRead(b, over, 32, 1, 4<<10) })
			b.Run("read/4K/q1", func(b *testing.B) { benchmarkRead(b, over, 1, 1, 4<<10) })
			b.Run("read/8x512K/q4", func(b *testing.B) { benchmarkRead(b, over, 4, 8, 512<<10) })
		})
	}
}
