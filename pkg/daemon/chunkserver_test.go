package daemon

import (
	"context"
	"runtime/debug"
	"testing"

	"rozobox/pkg/chunk"
)

// large is a store of a million chunks.
type large struct{ chunk.Store }

func (large) Stat(context.Context) (chunk.Stat, error) {
	return chunk.Stat{Chunks: 1e6, Volumes: make([]chunk.VolumeStat, 2)}, nil
}

// A chunk server's memory is limited by what it stores, or as the user wants.
func TestAChunkServerLimitsItsMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	once, cancel := context.WithCancel(t.Context())
	cancel()
	limitMemory(once, large{})
	if got := debug.SetMemoryLimit(123 << 20); got != 28<<20+32e6 {
		t.Errorf("a million chunks in two volumes: %d bytes", got)
	}
	limitMemory(once, large{})
	if got := debug.SetMemoryLimit(-1); got != 123<<20 {
		t.Errorf("the user's limit is now %d bytes", got)
	}
}
