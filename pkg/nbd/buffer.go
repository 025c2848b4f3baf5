package nbd

import (
	"math/bits"
	"sync"
)

// Buffers come in powers of two from a page to MaxPayload.
const (
	minBufferBits = 12
	maxBufferBits = 26
)

// buffer is a piece of memory with one owner at a time: the parser while it
// reads a payload, the worker while the Device has it, the writer while it
// sends a reply. The last owner frees it. Its old content is anyone's data, so
// that only what was overwritten may be sent.
type buffer struct {
	data  []byte // of the length that was asked for
	class int
}

// buffers are the free ones of each size. sync.Pool gives them back to the
// collector when they are not used, so that they need no bound of their own.
type buffers struct {
	free [maxBufferBits - minBufferBits + 1]sync.Pool
}

// bufferClass is the index of the smallest size that holds n bytes.
func bufferClass(n int) int { return max(bits.Len(uint(n-1))-minBufferBits, 0) }

// bufferSize is what a buffer for n bytes really takes.
func bufferSize(n int) int { return 1 << (bufferClass(n) + minBufferBits) }

// get returns a buffer of n bytes, 0 < n <= MaxPayload.
func (p *buffers) get(n int) *buffer {
	class := bufferClass(n)
	b, ok := p.free[class].Get().(*buffer)
	if !ok {
		b = &buffer{data: make([]byte, bufferSize(n)), class: class}
	}
	b.data = b.data[:n]
	return b
}

// put frees b, which may be nil.
func (p *buffers) put(b *buffer) {
	if b != nil {
		p.free[b.class].Put(b)
	}
}
