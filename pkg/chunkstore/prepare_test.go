package chunkstore_test

import (
	"strings"
	"testing"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunkstore"
)

// Syncs after a few small records each seldom grow the file, those after large
// ones leave no zeroes behind, and neither does a clean stop.
func TestSmallSyncsDoNotGrowTheFile(t *testing.T) {
	long := func(o *chunkstore.Options) { o.SegmentSize = 1 << 20 }
	r := newRig(t, long)
	version := chunk.Version(0)
	grew := func(size int) (times int) {
		last := r.fs.Used()
		for range 32 {
			version++
			r.write(chunk.Op{Kind: chunk.OpPut, Version: version, Data: make([]byte, size)})
			r.sync(0)
			if used := r.fs.Used(); used != last {
				last, times = used, times+1
			}
		}
		return times
	}
	if times := grew(1 << 10); times > 2 {
		t.Errorf("32 small syncs grew the file %d times", times)
	}
	grew(16 << 10) // uses the zeroes up
	if times := grew(16 << 10); times < 32 {
		t.Errorf("32 syncs of 16 KiB grew the file %d times", times)
	}
	grew(1 << 10)
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	r.fs.Trace()
	opts := crashOptions(r.fs)
	long(&opts)
	r.store = chunkstore.MustOpen(t, opts)
	for _, change := range r.fs.Trace() {
		if strings.Contains(change, "segment-") {
			t.Errorf("a start after a clean stop: %s", change)
		}
	}
}
