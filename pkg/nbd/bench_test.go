package nbd

import (
	"bufio"
	"context"
	"fmt"
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

// dispatcher takes a request from its header to its encoded reply, without a
// socket.
type dispatcher struct {
	session *session
	header  []byte
	pool    buffers
	out     reply
}

func newDispatcher(kind uint16) *dispatcher {
	return &dispatcher{
		session: &session{export: newExport("", nullDevice{1 << 30}, false)},
		header:  (&client{}).encode(command{kind: kind, offset: 4096, length: 4096}),
	}
}

func (d *dispatcher) do(tb testing.TB) {
	req, err := decodeRequest(d.header, false)
	if err == nil {
		err = d.session.validate(&req)
	}
	if err != nil {
		tb.Fatal(err)
	}
	data := d.pool.get(int(req.length))
	if req.kind == cmdRead {
		d.out = d.session.dataReply(&req, req.offset, data, true)
	} else {
		req.payload = data
		d.out = d.session.resultReply(&req, d.session.export.change(tb.Context(), &req))
	}
	d.pool.put(data)
}

func BenchmarkDispatch(b *testing.B) {
	for name, kind := range map[string]uint16{"read": cmdRead, "write": cmdWrite} {
		b.Run(name, func(b *testing.B) {
			d := newDispatcher(kind)
			b.ReportAllocs()
			for b.Loop() {
				d.do(b)
			}
		})
	}
}

// TestDispatchDoesNotAllocate: but for the pool, which the collector may empty
// and the race detector does, at random.
func TestDispatchDoesNotAllocate(t *testing.T) {
	for name, kind := range map[string]uint16{"read": cmdRead, "write": cmdWrite} {
		d := newDispatcher(kind)
		if n := testing.AllocsPerRun(1000, func() { d.do(t) }); n >= 1 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}
