package chunkrpc

import (
	"context"
	"sync/atomic"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
)

// slow is a store whose Writes, or Reads, take until its gate opens.
type slow struct {
	*chunktest.Memory
	gate          chan struct{}
	writes, reads bool         // which of them wait
	under         atomic.Int32 // how many wait now
	most          atomic.Int32 // and at most did
}

func newSlow(m *chunktest.Memory) *slow { return &slow{Memory: m, gate: make(chan struct{})} }

func (s *slow) wait() {
	n := s.under.Add(1)
	defer s.under.Add(-1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	<-s.gate
}

func (s *slow) Write(ctx context.Context, term chunk.Term, ops []chunk.Op) (chunk.Ack, error) {
	if s.writes {
		s.wait()
	}
	return s.Memory.Write(ctx, term, ops)
}

func (s *slow) Read(ctx context.Context, term chunk.Term, gets []chunk.Get) ([]chunk.Chunk, error) {
	if s.reads {
		s.wait()
	}
	return s.Memory.Read(ctx, term, gets)
}
