package chunkstore

import "context"

// verifyNeighbours is how many segments before the open ones are verified
// after an unclean stop: cards write in units of some megabytes, and a power
// loss may damage what shares one with the end of the log.
const verifyNeighbours = 2

// suspects returns the segments that an unclean stop may have damaged.
func (l *loader) suspects() []uint32 {
	var ids []uint32
	for _, g := range l.s.segmentsInOrder() {
		ids = append(ids, g.id)
		if l.open[g] != nil {
			return ids[max(0, len(ids)-1-verifyNeighbours):]
		}
	}
	return nil
}

// verify reads all records of the segments and marks those that are damaged.
func (s *Store) verify(ctx context.Context, ids []uint32) {
	for _, id := range ids {
		g := s.acquireSegment(id)
		if g == nil {
			continue
		}
		s.verifySegment(ctx, g)
		g.release()
	}
}

func (s *Store) acquireSegment(id uint32) *segment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, g := range s.segments {
		if g != nil && g.id == id && g.durable {
			g.acquire()
			return g
		}
	}
	return nil
}

func (s *Store) verifySegment(ctx context.Context, g *segment) {
	var recs []staged
	err := g.records(func(r record, off int64) {
		recs = append(recs, staged{record: r, seg: g, off: off})
	})
	if err != nil {
		return // a read of its chunks will say so
	}
	for i := range recs {
		r := &recs[i]
		if ctx.Err() != nil {
			return
		}
		if r.kind != kindPut || !s.wants(r) {
			continue
		}
		s.mu.RLock()
		v := s.volumes[r.volume]
		s.mu.RUnlock()
		s.intact(v, &reading{entry: r.entry(), seg: g, put: r.entry(), from: g})
	}
}
