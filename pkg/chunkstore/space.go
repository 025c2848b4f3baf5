package chunkstore

import (
	"fmt"

	"rozobox/pkg/chunk"
)

// space divides a card:
//
//	|<- held ->|<- dead ->|<------ free ------>|<- deep ->|<- rewrite ->|
//	0                                          |<------ reserve ------->|  limit
//
// held is what the index points to, dead what compaction can take back. New
// data may fill up to the reserve; repair, tombstones and drops may go on to
// the last part, which one compaction at a time needs for its copy.
type space struct {
	capacity int64
	segment  int64
	reserve  int64
}

const (
	reserveSegments = 4  // the copy, the active segment, and two of dead data
	reserveFraction = 16 // but at least this part of the card: else compaction copies too much
)

func makeSpace(o *Options, taken int64) (space, error) {
	capacity := int64(o.Capacity)
	if capacity == 0 {
		available, err := o.FS.Available()
		if err != nil {
			return space{}, fmt.Errorf("chunkstore %s: %w", o.Dir, err)
		}
		capacity = int64(available) + taken
	}
	size := o.SegmentSize
	if size == 0 {
		if capacity < minCapacity && o.Capacity != 0 {
			return space{}, fmt.Errorf("chunkstore %s: capacity %d is less than %d bytes: %w",
				o.Dir, capacity, minCapacity, chunk.ErrInvalid)
		}
		size = min(max(capacity/segmentsPerCard, minSegmentSize), maxSegmentSize)
	}
	reserve := max(reserveSegments*size, capacity/reserveFraction)
	return space{capacity: capacity, segment: size, reserve: reserve}, nil
}

// measure asks the file system again how much the segments may take together:
// the capacity, or less where others have filled the disk. It is asked when a
// segment begins, a compaction ends, and when somebody wants to know.
func (s *Store) measure() {
	limit := s.space.capacity
	if available, err := s.fs.Available(); err == nil {
		limit = min(limit, s.physical.Load()+int64(min(available, 1<<62)))
	}
	s.limit.Store(limit)
}

// free tells how many bytes new data may still take. Headers and checksums
// take less than a sixteenth, for chunks of 1 KiB and more.
func (s *Store) free() uint64 {
	free := s.limit.Load() - s.space.reserve - s.held.Load()
	return uint64(max(free, 0)) / 16 * 15
}

// admits reports whether a record may be added: new data in front of the
// reserve, repair and what frees space in front of its last segment.
func (s *Store) admits(limit, size int64, reserved bool) bool {
	held, physical := s.held.Load()+size, s.physical.Load()+size
	if reserved {
		return held <= limit-s.space.segment && physical <= limit
	}
	return held <= limit-s.space.reserve && physical <= limit-s.space.segment
}
