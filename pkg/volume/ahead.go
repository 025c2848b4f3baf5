package volume

import (
	"context"
	"sync"
)

const (
	// streams bounds the sequential readers that are followed at once.
	streams = 8

	// runsBefore is how many requests must have followed each other before a
	// reader counts as sequential.
	runsBefore = 2

	// aheadWindow is how far ahead of a reader is read: what a gigabit link
	// brings in 20 ms, so that neither a busy card nor a hedge is felt. A reader
	// that has so much under way by itself needs nothing.
	aheadWindow = 2 << 20

	// aheadStep is how much is read ahead at once, at least.
	aheadStep = 512 << 10

	// aheadBytes bounds what is kept for all readers together.
	aheadBytes = streams * (aheadWindow + aheadStep)
)

// ahead reads what sequential readers will want next, and keeps it until they
// do:
//
//	| read by the client | kept | being read ahead |  not yet
//	                     next                       fetched
//
// What it keeps of a block is right because it is read and kept by a reader of
// the block's queue, and thrown away by the next writer before that writes.
type ahead struct {
	tasks sync.WaitGroup

	mu      sync.Mutex // guards all below; never kept across I/O
	streams [streams]stream
	clock   uint64
	kept    map[uint64]*kept
	order   []uint64 // of the blocks kept, the oldest first; some may be gone
	closed  bool
}

// stream is one sequential reader.
type stream struct {
	next    int64 // where its next request is expected
	fetched int64 // up to where it was read ahead
	active  int64 // bytes of its requests under way
	runs    int   // requests that followed each other
	used    uint64
}

// kept is a block that was read ahead, or soon will be.
type kept struct {
	done chan struct{} // closed when data is final
	data []byte        // nil when the read failed
}

// enter follows a request to its stream, and returns it with the range to read
// ahead, if any: the caller begins that task.
func (h *ahead) enter(off, n, size int64) (s *stream, from, to int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s = h.streamLocked(off)
	h.clock++
	s.used, s.next = h.clock, off+n
	s.runs++
	s.active += n
	s.fetched = max(s.fetched, s.next)
	end := min(s.next+aheadWindow, size)
	enough := end == s.fetched || end-s.fetched < aheadStep && end < size
	if s.runs <= runsBefore || s.active >= aheadWindow || enough || h.closed {
		return s, 0, 0
	}
	from = s.fetched
	s.fetched = min(from+max(aheadStep, n), end)
	h.tasks.Add(1)
	return s, from, s.fetched
}

// streamLocked returns the stream that expects a request at off, or the one
// unused for the longest time, made new.
func (h *ahead) streamLocked(off int64) *stream {
	oldest := &h.streams[0]
	for i := range h.streams {
		s := &h.streams[i]
		if s.next == off && s.runs > 0 {
			return s
		}
		if s.used < oldest.used {
			oldest = s
		}
	}
	*oldest = stream{}
	return oldest
}

func (h *ahead) leave(s *stream, n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.active = max(s.active-n, 0) // it may be another stream by now
}

// keep makes room for the blocks of a range that is about to be read ahead.
// The caller is a reader of them.
func (h *ahead) keep(parts []*part, blockSize int) []*kept {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]*kept, len(parts))
	for i, p := range parts {
		list[i] = &kept{done: make(chan struct{})}
		h.kept[p.block] = list[i]
		h.order = append(h.order, p.block)
	}
	for len(h.order)*blockSize > aheadBytes {
		delete(h.kept, h.order[0])
		h.order = h.order[1:]
	}
	return list
}

// take returns what is kept of a block; a reader that takes its end takes it
// away.
func (h *ahead) take(p *part, blockSize int) *kept {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.kept[p.block]
	if k != nil && p.hi == blockSize {
		delete(h.kept, p.block)
	}
	return k
}

// forget throws away what is kept of a block. The caller is its writer.
func (h *ahead) forget(block uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.kept, block)
}

// readAhead reads a range as any client would, for later.
func (v *Volume) readAhead(ctx context.Context, from, to int64) {
	defer v.ahead.tasks.Done()
	ctx, cancel := v.limit(context.WithoutCancel(ctx))
	defer cancel()
	size := int64(v.opts.BlockSize)
	from, to = from-from%size, min(to+size-1, v.opts.Size)
	to -= to % size
	buf := make([]byte, to-from)
	parts := v.cut(ctx, reading, buf, from, to-from)
	v.queues.enter(parts)
	if v.awaitReaders(parts) != nil {
		return
	}
	list := v.ahead.keep(parts, v.opts.BlockSize)
	err := v.array.ReadAt(ctx, buf, from)
	for i, k := range list {
		if err == nil {
			k.data = buf[i*v.opts.BlockSize : (i+1)*v.opts.BlockSize]
		}
		close(k.done)
	}
	v.leaveAll(parts)
}

// fromAhead copies from what was read ahead, as far as that goes, and returns
// how many bytes. The caller is a reader of the parts.
func (v *Volume) fromAhead(ctx context.Context, parts []*part, dst []byte) (n int) {
	for _, p := range parts {
		k := v.ahead.take(p, v.opts.BlockSize)
		if k == nil {
			return n
		}
		select {
		case <-k.done:
		case <-ctx.Done():
			return n
		}
		if k.data == nil {
			return n
		}
		n += copy(dst[n:], k.data[p.lo:p.hi])
	}
	return n
}
