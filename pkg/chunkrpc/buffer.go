package chunkrpc

import (
	"math/bits"
	"sync"
)

// buffer is a pooled byte slice. It has one owner at any time, who passes it
// on or frees it, once.
type buffer struct {
	b []byte
}

// Pools hold buffers of 512 bytes to 8 MiB, a pool for each power of two. What
// is in them is bounded by what was in use at once, and the garbage collector
// takes it back.
const (
	minBufferBits = 9
	maxBufferBits = 23
)

var pools [maxBufferBits + 1]sync.Pool

// getBuffer returns a buffer of length n with whatever content. n is at most
// a frame's largest size, which the caller has checked.
func getBuffer(n int) *buffer {
	class := max(bits.Len(uint(max(n, 1)-1)), minBufferBits)
	if b, ok := pools[class].Get().(*buffer); ok {
		b.b = b.b[:n]
		return b
	}
	return &buffer{b: make([]byte, n, 1<<class)}
}

// free ends the use of b. A buffer that append has moved elsewhere goes to the
// pool that fits what it has now.
func (b *buffer) free() {
	class := bits.Len(uint(cap(b.b))) - 1
	if class >= minBufferBits && class <= maxBufferBits {
		pools[class].Put(b)
	}
}
