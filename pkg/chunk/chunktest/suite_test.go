package chunktest

import (
	"testing"

	"rozobox/pkg/chunk"
)

func TestMemory(t *testing.T) {
	Suite(t, func(t *testing.T) Subject {
		m := NewMemory("pi1")
		return Subject{Store: m, Reopen: func(t *testing.T, clean bool) chunk.Store {
			if clean {
				m.Restart()
			} else {
				m.Crash(len(m.Unsynced()) / 2)
			}
			return m
		}}
	})
}

func TestMemoryCountsWhatCameOutOfOrder(t *testing.T) {
	r := newRig(t, Subject{Store: NewMemory("pi1")})
	var want uint64
	for _, seq := range []uint64{1, 2, 4, 3} {
		op := putOp(1, 0, chunk.MakeVersion(1, seq))
		want += uint64(len(op.Data))
		r.write(op)
	}
	stat, err := r.store.Stat(r.ctx)
	r.must(err)
	if stat.UsedBytes != want {
		t.Errorf("%d bytes are in use, want %d", stat.UsedBytes, want)
	}
}
