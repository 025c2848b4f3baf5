package chunkrpc

import (
	"testing"

	"rozobox/pkg/chunk"
)

// exchange is a small request on its way through the codec, without a stream:
// laid out by the client and read by the server.
type exchange struct {
	ops  []chunk.Op
	gets []chunk.Get
	room []byte
	body []byte
}

func newExchange() *exchange {
	data := make([]byte, 4<<10)
	return &exchange{
		ops:  []chunk.Op{{Kind: chunk.OpPut, Block: 7, Version: 9, Data: data}},
		gets: []chunk.Get{{Block: 7, Dst: data}},
		room: make([]byte, len(data)),
		body: make([]byte, 0, 8<<10),
	}
}

func (x *exchange) layOutWrite() {
	x.body = appendWrite(x.body[:0], chunk.Term{Epoch: 1}, x.ops)
	x.body = append(x.body, x.ops[0].Data...)
}

func (x *exchange) layOutRead() { x.body = appendRead(x.body[:0], chunk.Term{Epoch: 1}, x.gets) }

func BenchmarkCodec(b *testing.B) {
	x := newExchange()
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			x.layOutWrite()
			if _, _, err := decodeWrite(1, x.body); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			x.layOutRead()
			if _, _, err := decodeRead(1, x.body, x.room); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestLayingOutDoesNotAllocate: what a frame is laid out in comes from a pool.
func TestLayingOutDoesNotAllocate(t *testing.T) {
	x := newExchange()
	for name, f := range map[string]func(){"write": x.layOutWrite, "read": x.layOutRead} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations, want none", name, n)
		}
	}
}
