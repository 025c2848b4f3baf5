package volume

import (
	"context"
	"testing"
)

// null does nothing, so that a benchmark sees the volume alone.
type null struct{}

func (null) ReadAt(context.Context, []byte, int64) error      { return nil }
func (null) WriteBlock(context.Context, uint64, []byte) error { return nil }
func (null) Update(context.Context, uint64, int, int, func([]byte) bool) error {
	return nil
}
func (null) Overwrite(context.Context, uint64, int, []byte) error   { return nil }
func (null) Discard(context.Context, uint64) error                  { return nil }
func (null) Flush(context.Context) error                            { return nil }
func (null) Serving(context.Context) error                          { return nil }
func (null) Allocated(context.Context, uint64, int) ([]bool, error) { return nil, nil }

var benchmarks = []struct {
	name string
	size int
	do   func(*Volume, context.Context, []byte, int64) error
}{
	{"read-4KiB", 4 << 10, (*Volume).ReadAt},
	{"write-4KiB", 4 << 10, (*Volume).WriteAt},
	{"read-1MiB", 1 << 20, (*Volume).ReadAt},
	{"write-1MiB", 1 << 20, (*Volume).WriteAt},
}

// BenchmarkRequest has one request after the other, in places that follow no
// stream.
func BenchmarkRequest(b *testing.B) {
	v := New(null{}, Options{Size: 1 << 30, BlockSize: 32 << 10})
	defer v.Close()
	for _, c := range benchmarks {
		b.Run(c.name, func(b *testing.B) {
			p, off := make([]byte, c.size), int64(0)
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			for b.Loop() {
				off = (off + 37<<20) % (1 << 30)
				if err := c.do(v, b.Context(), p, off); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
