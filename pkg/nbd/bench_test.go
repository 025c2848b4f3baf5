package nbd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"testing"
)

// nullDevice does nothing, so that a benchmark sees the server alone.
type nullDevice struct{ size int64 }

func (d nullDevice) Size() int64                                  { return d.size }
func (d nullDevice) ReadAt(context.Context, []byte, int64) error  { return nil }
func (d nullDevice) WriteAt(context.Context, []byte, int64) error { return nil }
func (d nullDevice) Flush(context.Context) error                  { return nil }

// BenchmarkRequests keeps depth requests under way on one connection.
func BenchmarkRequests(b *testing.B) {
	for _, depth := range []int{1, 32} {
		for _, size := range []int{4 << 10, 128 << 10, 1 << 20} {
			for name, kind := range map[string]uint16{"read": cmdRead, "write": cmdWrite} {
				b.Run(fmt.Sprintf("%s/size=%d/depth=%d", name, size, depth), func(b *testing.B) {
					benchmark(b, kind, size, depth)
				})
			}
		}
	}
}

func benchmark(b *testing.B, kind uint16, size, depth int) {
	addr := serve(b, Options{Exports: exporting(nullDevice{1 << 30})})
	c := connected(b, addr, simple)
	q := command{kind: kind, length: uint64(size)}
	reply := 16
	if kind == cmdWrite {
		q.payload = make([]byte, size)
	} else {
		reply += size
	}
	request := c.encode(q)
	tokens := make(chan struct{}, depth)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	done := make(chan error, 1)
	go func() {
		r := bufio.NewReaderSize(c, 256<<10)
		for range b.N {
			if _, err := r.Discard(reply); err != nil {
				done <- err
				return
			}
			<-tokens
		}
		done <- nil
	}()
	w := bufio.NewWriterSize(c, 4<<10)
	for range b.N {
		select {
		case tokens <- struct{}{}:
		default:
			w.Flush()
			tokens <- struct{}{}
		}
		if _, err := w.Write(request); err != nil {
			b.Fatal(err)
		}
	}
	w.Flush()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkDispatch is the way of a request from its header to its encoded
// reply, without a socket.
func BenchmarkDispatch(b *testing.B) {
	s := &session{export: newExport("", nullDevice{1 << 30}, false)}
	header := (&client{}).encode(command{kind: cmdRead, offset: 4096, length: 4096})
	var pool buffers
	b.ReportAllocs()
	for b.Loop() {
		req, err := decodeRequest(header, false)
		if err == nil {
			err = s.validate(&req)
		}
		if err != nil {
			b.Fatal(err)
		}
		data := pool.get(int(req.length))
		r := s.dataReply(&req, req.offset, data, true)
		_, _ = io.Discard.Write(r.head[:r.headSize])
		pool.put(r.buffer)
	}
}
