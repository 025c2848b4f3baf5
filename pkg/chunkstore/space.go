package chunkstore

import (
	"fmt"

	"rozobox/pkg/chunk"
)

// space divides a card:
//
//	|<- held ->|<- dead ->|<----- free ----->|<------- reserve -------->|  limit
//
// held is what the index points to, and the segments' tables; dead is what
// compaction can take back. New data may be held up to the reserve. Beyond that
// the files may grow as far as lines in the reserve, so that whatever is wanted
// next finds room:
//
//	|  dead, not yet taken back  |  repair  |  trims  |  a copy |
//	|<--------- 9/4 ------------>|<- 3/4 -->|<- 3/4 ->|<- 5/4 ->|   segments
//	                            new       repair    trim        limit
//
// A copy, with its table, is smaller than the segments that it replaces, and
// these are seldom larger than an eighth above their size. Trims come last,
// because they are what makes room on a full card.
type space struct {
	capacity int64
	segment  int64
	reserve  int64
}

const (
	reserveSegments = 5  // as drawn
	reserveFraction = 16 // but at least this part of the card: else compaction copies too much
)

// claim says for what a record is; the later ones may go further.
type claim uint8

const (
	forNew claim = iota
	forRepair
	forTrim
)

// line returns how much in front of the limit the files must end.
func (p *space) line(c claim) int64 { return p.segment / 4 * (5 + 3*int64(forTrim-c)) }

func claimOf(op *chunk.Op) claim {
	switch {
	case op.Kind == chunk.OpTombstone:
		return forTrim
	case op.Repair:
		return forRepair
	}
	return forNew
}

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
// segment begins, a compaction ends, and when somebody wants to know; not while
// a copy takes what it soon gives back.
func (s *Store) measure() {
	s.frames.Store(s.countFrames())
	before, limit := s.copies.Load(), s.space.capacity
	if available, err := s.fs.Available(); err == nil {
		limit = min(limit, s.physical.Load()+int64(min(available, 1<<62)))
	}
	if before%2 == 0 && s.copies.Load() == before {
		s.limit.Store(limit)
	}
}

// countFrames adds up what compaction cannot take back beside live records.
func (s *Store) countFrames() (n int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, g := range s.segments {
		if g != nil {
			n += s.rest(g) - g.live
		}
	}
	return n
}

// free tells how many bytes new data may still take. Headers, checksums and
// tables take less than an eighth, for chunks of 1 KiB and more.
func (s *Store) free() uint64 {
	free := s.limit.Load() - s.space.reserve - s.held.Load() - s.frames.Load()
	return uint64(max(free, 0)) / 8 * 7
}

// admits reports whether a record may be added. It is half a segment more
// generous than free, which knows of tables late: who keeps to what was reported
// is not refused.
func (s *Store) admits(limit, size int64, c claim) bool {
	if c == forNew && s.isFull(limit, size) {
		return false
	}
	return s.physical.Load()+size <= limit-s.space.line(c)
}

// sealsBetween is room for the seals that a round of syncs may add between hasRoom
// and admits.
const sealsBetween = 16 * headerSize

// isFull reports whether size bytes more would be too many live ones.
func (s *Store) isFull(limit, size int64) bool {
	return s.held.Load()+s.frames.Load()+size > limit-s.space.reserve+s.space.segment/2
}

// hasRoom reports whether so much new data may come now: no sync and no compaction
// would make more room for it.
func (s *Store) hasRoom(size int64) bool {
	return s.filesHaveRoom(size) && !(s.isFull(s.limit.Load(), size) && s.owes())
}

// owes reports whether a sync would free what W has superseded.
func (s *Store) owes() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, v := range s.volumes {
		if v.w > v.wSynced && len(v.fresh)+len(v.waiting) > 0 {
			return true
		}
	}
	return false
}

// filesHaveRoom reports whether the files may grow by so much now.
func (s *Store) filesHaveRoom(size int64) bool {
	return s.physical.Load()+size+sealsBetween <= s.limit.Load()-s.space.line(forNew)
}

// scarce reports whether new data would soon have to wait for compaction.
func (s *Store) scarce() bool {
	return s.physical.Load() > s.limit.Load()-s.space.line(forNew)-s.space.segment
}
