package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"rozobox/pkg/chunk"
)

// syncQueue groups those who wait for durability. Whoever comes while a round
// is under way waits for the next one, because the round under way covers only
// what was complete before it began.
type syncQueue struct {
	mu   sync.Mutex // guards next
	next *syncRound
	kick chan struct{}
	owed chan struct{} // of 1: a W was logged that will free something once it is synced
}

// syncRound is one flush of the log; err may be read once done is closed.
type syncRound struct {
	done chan struct{}
	err  error
}

// join returns the round that will cover all that was complete before.
func (q *syncQueue) join() *syncRound {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next == nil {
		q.next = &syncRound{done: make(chan struct{})}
		q.wake()
	}
	return q.next
}

func (q *syncQueue) take() *syncRound {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.next
	q.next = nil
	return r
}

func (q *syncQueue) wake() { poke(q.kick) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Sync implements chunk.Data.
func (s *Store) Sync(ctx context.Context, term chunk.Term) (chunk.Ack, error) {
	v, err := s.enter(ctx, term)
	if err != nil {
		return chunk.Ack{}, err
	}
	if _, behind, err := s.admit(term); err != nil || behind {
		if err == nil {
			err = errors.Join(s.writable(), s.wrap(v.id, fmt.Errorf("sync of W: %w", chunk.ErrNoSpace)))
		}
		return chunk.Ack{}, err
	}
	if err := s.syncLog(ctx); err != nil {
		return chunk.Ack{}, s.wrap(v.id, fmt.Errorf("sync: %w", err))
	}
	if err := s.still(v, term); err != nil {
		return chunk.Ack{}, err
	}
	s.counts.syncs.Add(1)
	return chunk.Ack{Instance: s.instance, FreeBytes: s.free()}, nil
}

// syncLog waits until all that is in the log now is durable.
func (s *Store) syncLog(ctx context.Context) error {
	r := s.syncs.join()
	select {
	case <-r.done:
		return r.err
	case <-s.stopped:
		return s.closedError()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", chunk.ErrUnavailable, ctx.Err())
	}
}

const (
	// freeAfter is how long what W has superseded waits for somebody's sync
	// before the store does its own. A gateway that is busy syncs more often.
	freeAfter = time.Second
	// freeSoon is that on a full card, where somebody may wait for the room: as
	// long as a sync takes on many cards, so that it is at most half of the work.
	freeSoon = 20 * time.Millisecond
)

// syncLoop runs the rounds. It also flushes on its own when a segment is full,
// and when nobody else does though a W waits that would free something.
func (s *Store) syncLoop(ctx context.Context) {
	var own <-chan time.Time
	for {
		select {
		case <-s.syncs.kick:
		case <-own:
		case <-s.syncs.owed:
			if own == nil {
				own = time.After(s.patience())
			}
			continue
		case <-ctx.Done():
			return // those who wait see that the store has stopped
		}
		own = nil
		r := s.syncs.take()
		err := s.syncOnce()
		if r != nil {
			r.err = err
			close(r.done)
		}
	}
}

func (s *Store) patience() time.Duration {
	if s.scarce() {
		return freeSoon
	}
	return freeAfter
}

// zeroes are as many as are written at once: at least four syncs use them up, and
// a card writes them in a few milliseconds.
var zeroes [64 << 10]byte

// syncOnce makes durable all that is in the log when it begins, and frees
// what that has superseded.
func (s *Store) syncOnce() error {
	<-s.turn
	files, end := s.takeDirty(), s.end()
	s.prepare(end)
	marks := s.takeMarks()
	s.giveTurn()
	sealed, err := s.flush(files)
	if err != nil {
		return err
	}
	s.synced.Store(uint64(end))
	s.mu.Lock()
	freed := s.settle(marks, end)
	s.mu.Unlock()
	if len(sealed) > 0 {
		<-s.turn
		s.touchAll(sealed)
		s.giveTurn()
	}
	if freed || len(sealed) > 0 {
		s.compact.wake()
	}
	return nil
}

// unsynced is a file to be flushed, and whether all its records are in it.
type unsynced struct {
	*segment
	closed bool
}

// takeDirty hands over the files to be flushed; the caller holds the turn.
func (s *Store) takeDirty() []unsynced {
	files := make([]unsynced, len(s.dirty))
	for i, g := range s.dirty {
		g.dirty = false
		files[i] = unsynced{g, g.closed}
	}
	s.dirty = s.dirty[:0]
	return files
}

// prepare writes zeroes where the next records go, if syncs come after a few small
// ones each; see "Small syncs". The caller holds the turn.
func (s *Store) prepare(end position) {
	g, ahead := s.active, min(int64(len(zeroes)), s.space.segment/2)
	grains := int64(end - position(s.synced.Load())) // more than can be where a segment ended
	if g == nil || grains == 0 || grains > ahead/4/grain || g.prepared > g.size {
		return
	}
	g.prepared = g.size + ahead
	// Where the disk is full or ill, that is said to who has something to write.
	_, _ = g.file.WriteAt(zeroes[:ahead], g.size)
}

// flush syncs the files, oldest first, and seals those that are finished. An
// error is final: the kernel may have dropped what it could not write. The
// seals become durable with the next round, or not: then the segment is
// verified at the next start.
func (s *Store) flush(files []unsynced) (sealed []*segment, err error) {
	defer func() {
		for _, f := range files {
			f.release()
		}
	}()
	if err := s.writable(); err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := f.file.Sync(); err != nil {
			s.fail(fmt.Errorf("sync %s: %w", f.name, err))
			return nil, s.writable()
		}
	}
	for _, f := range files {
		if f.closed && s.seal(f.segment) {
			sealed = append(sealed, f.segment)
		}
	}
	return sealed, nil
}

// seal marks a finished and durable segment. A full disk may refuse the mark.
func (s *Store) seal(g *segment) bool {
	s.mu.RLock()
	durable := g.durable
	s.mu.RUnlock()
	if durable {
		return false
	}
	before := g.size
	err := g.seal()
	s.physical.Add(g.size - before)
	s.mu.Lock()
	g.durable = true
	s.mu.Unlock()
	return err == nil
}

// mark is what a volume had when a round began.
type mark struct {
	v     *volume
	w     chunk.Version
	fresh []superseding
}

// takeMarks captures what the round will make durable; the caller holds the
// turn.
func (s *Store) takeMarks() []mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	var marks []mark
	for _, v := range s.volumes {
		if v.w != v.wSynced || len(v.fresh) > 0 {
			marks = append(marks, mark{v, v.w, v.fresh})
			v.fresh = nil
		}
	}
	return marks
}

// settle applies what a round has made durable, and reports whether that
// freed anything; the caller holds mu.
func (s *Store) settle(marks []mark, synced position) bool {
	before := s.held.Load()
	for _, m := range marks {
		for _, f := range m.fresh {
			if first, ok := m.v.waiting[f.key]; !ok || f.version < first {
				m.v.waiting[f.key] = f.version
			}
		}
		if m.w > m.v.wSynced {
			m.v.wSynced = m.w
			for key := range m.v.waiting {
				s.release(m.v, key, synced)
			}
			continue
		}
		for _, f := range m.fresh {
			s.release(m.v, f.key, synced)
		}
	}
	return s.held.Load() < before
}

// release frees what a chunk need not wait for any more, now that W is durable.
func (s *Store) release(v *volume, key uint64, synced position) {
	if first, ok := v.waiting[key]; !ok || first > v.wSynced {
		return
	}
	if s.collect(v, key, synced) {
		delete(v.waiting, key)
		return
	}
	v.waiting[key] = v.wSynced + 1
}
