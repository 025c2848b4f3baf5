package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"rozobox/pkg/chunk"
)

// compactor takes back the space of dead records. A victim is written anew
// without them, under the same id, perhaps together with its neighbours:
//
//	segment-07  a b̶ c̶ d ┐
//	segment-08  e̶ f̶ g   ┼─ copy ─> segment-07.new  a d g ─ rename ─> segment-07
//	segment-0a  h̶ i     ┘ (08 and 0a are removed then, in order)
//
// The copies keep the order in which the records were first written, so that
// the log can be replayed from its beginning whatever has been compacted. What
// made a record dead is synced before the rename; the rename is durable before
// the first removal, and each removal before the next. So a record that hides
// others is there as long as one that it hides.
type compactor struct {
	kick     chan struct{}
	suspects []uint32    // ids of segments to be verified in the background
	buffers  copyBuffers // owned by who compacts: the start, then compactLoop

	mu   sync.Mutex // guards pass
	pass *compactPass
}

// compactPass is one attempt, for those who wait for space; gained may be read
// once done is closed.
type compactPass struct {
	done   chan struct{}
	gained bool
}

func (c *compactor) wake() { poke(c.kick) }

func (c *compactor) join() *compactPass {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pass == nil {
		c.pass = &compactPass{done: make(chan struct{})}
		c.wake()
	}
	return c.pass
}

func (c *compactor) take() *compactPass {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pass
	c.pass = nil
	return p
}

// takeRoom takes the turn when the files leave room for size bytes of new data:
// where they do not, compaction goes first. Where it gains nothing the caller's own
// check will say so. Others may take the room before the turn comes.
func (s *Store) takeRoom(ctx context.Context, size int64) error {
	for {
		hopeless := !s.waitRoom(ctx, size)
		if err := s.takeTurn(ctx); err != nil || hopeless || s.hasRoom(size) {
			return err
		}
		s.giveTurn()
	}
}

// waitRoom reports whether there is room, after as many syncs and as much compaction
// as that takes.
func (s *Store) waitRoom(ctx context.Context, size int64) bool {
	for !s.hasRoom(size) {
		if s.failure.Load() != nil {
			return false
		}
		if s.filesHaveRoom(size) { // and more than that counts as live until W is durable
			if s.syncLog(ctx) != nil {
				return false
			}
			continue
		}
		p := s.compact.join()
		select {
		case <-p.done:
			if !p.gained {
				return false
			}
		case <-ctx.Done():
			return false
		case <-s.stopped:
			return false
		}
	}
	return true
}

func (s *Store) compactLoop(ctx context.Context) {
	for {
		select {
		case <-s.compact.kick:
		case <-ctx.Done():
			return
		}
		for ctx.Err() == nil {
			p := s.compact.take()
			gained := s.compactOnce(ctx, p != nil)
			if p != nil {
				p.gained = gained
				close(p.done)
			}
			if !gained && p == nil {
				break
			}
		}
	}
}

// compactOnce compacts one run, and reports whether any was worth it. The copy
// itself never is, unless more of it dies, so that this comes to an end.
func (s *Store) compactOnce(ctx context.Context, urgent bool) bool {
	run := s.victims(urgent || s.scarce())
	if len(run) == 0 && urgent && s.syncLog(ctx) == nil {
		run = s.victims(true) // what W has superseded is dead once that is durable
	}
	if len(run) == 0 || s.failure.Load() != nil {
		return false
	}
	s.copies.Add(1)
	err := s.rewrite(run, func() error { return s.syncLog(ctx) })
	s.copies.Add(1)
	s.measure()
	if err != nil {
		s.compactFailed(ctx, run, err)
		return false
	}
	return true
}

// compactFailed decides what an error means: no space passes, an unreadable
// segment is left alone, a failed write is final.
func (s *Store) compactFailed(ctx context.Context, run []*segment, err error) {
	switch {
	case ctx.Err() != nil || errors.Is(err, syscall.ENOSPC) || errors.Is(err, chunk.ErrNoSpace):
	case errors.Is(err, errUnreadable):
		s.logger.Warn("compaction leaves a segment alone", "dir", s.dir, "error", err)
		s.mu.Lock()
		for _, g := range run {
			g.stuck = true
		}
		s.mu.Unlock()
	default:
		s.fail(fmt.Errorf("compaction: %w", err))
	}
}

var errUnreadable = errors.New("cannot be read")

// waste is what compaction would take back, 0 where it may not take the
// segment; the caller holds mu.
func (s *Store) waste(g *segment) int64 {
	if !g.durable || g.stuck {
		return 0
	}
	return g.size - s.rest(g)
}

// rest is what a copy of the segment would take. The last W of each volume is
// known only where compaction has kept it; the copy of another segment may
// take more than rest, once. The caller holds mu.
func (s *Store) rest(g *segment) int64 {
	const frame = 2 * headerSize // head and seal
	table := record{length: uint32(tableSize(g.entries+int(g.kept/headerSize), s.space.segment))}
	return frame + g.live + g.kept + table.size()
}

const (
	// lazyWaste: while there is room, a segment is compacted when half of it
	// is dead, so that each byte copied gives back one at least; and not
	// before half of all is (see wasteful), because what is half dead soon is
	// all dead where a volume is written over in order, and is removed then
	// without any copy.
	lazyWaste = 2
	// slackSegments: so much may be dead in any case. Of a volume of a few
	// segments, each that is half dead has much to be copied; with more of them
	// one is nearly dead before it is the worst. Writing 4 KiB at random all over
	// 512 MiB, 8 nodes wrote 64 % more than without copies; with this, 4 %.
	slackSegments = 8
	// urgentWaste: without room, the worst segment is taken if a 64th is dead.
	urgentWaste = 64
	// smallPart: neighbours join the run when they are a quarter of a segment, so
	// that small files do not stay; and larger ones when all but keptPart of them
	// is dead, without room when a quarter is. The rest is better copied later, when
	// more of it is dead: for each 4 KiB written at random all over 1 GiB, 8 nodes
	// copy 2.6 KB, and 4.2 where a quarter is always enough.
	smallPart = 4
	keptPart  = 8
)

// victims picks a segment without any live record and its neighbours that have
// none either; or else, once the files are wasteful, the one with the most dead
// data and the neighbours that fit into one file with it.
func (s *Store) victims(urgent bool) []*segment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	fraction, lazy := int64(lazyWaste), !s.wasteful()
	least := func(g *segment) int64 { return g.size - g.size/keptPart }
	if urgent {
		fraction, lazy = urgentWaste, false
		least = func(g *segment) int64 { return g.size / smallPart }
	}
	list, worst, most := s.segmentsInOrder(), -1, int64(0)
	for i, g := range list {
		w := s.waste(g)
		if w <= 0 || w*fraction < g.size || lazy && g.live > 0 {
			continue
		}
		if g.live == 0 {
			w += s.space.capacity // before all that must be copied
		}
		if w > most {
			worst, most = i, w
		}
	}
	if worst < 0 {
		return nil
	}
	first, last := worst, worst
	size := s.rest(list[worst])
	dead := list[worst].live == 0
	joins := func(i int) bool {
		if i < 0 || i >= len(list) || !list[i].durable || list[i].stuck {
			return false
		}
		g := list[i]
		if dead {
			return g.live == 0 // they need no room
		}
		rest := s.rest(g)
		full := s.waste(g) < least(g) && g.size > s.space.segment/smallPart
		if full || size+rest > s.space.segment {
			return false
		}
		size += rest
		return true
	}
	for joins(last + 1) {
		last++
	}
	for joins(first - 1) {
		first--
	}
	return list[first : last+1]
}

// wasteful reports whether more of the files is dead than not, and more than the
// slack.
func (s *Store) wasteful() bool {
	live := s.held.Load() + s.frames.Load()
	return s.physical.Load()-live > max(live, slackSegments*s.space.segment)
}

// rewrite replaces the segments of run, neighbours in order, by one copy.
// settle makes durable what has made records dead.
func (s *Store) rewrite(run []*segment, settle func() error) error {
	c, err := s.copyRun(run)
	if err != nil {
		return err
	}
	if err := settle(); err != nil {
		return errors.Join(err, c.abandon(s.fs))
	}
	// The copy has its own room until all that it replaces is gone (see space): what
	// the files take must not seem to rise meanwhile, nor to fall and rise again.
	var grown int64
	defer func() { s.physical.Add(grown) }()
	rest := run
	if c.to == nil {
		s.swap(c)
	} else {
		if err := s.install(run[0], c); err != nil {
			return err
		}
		grown = c.to.size - run[0].size
		rest = run[1:]
	}
	for _, g := range rest {
		if err := s.discard(g); err != nil {
			return err
		}
		grown -= g.size
	}
	return nil
}

// install puts the copy in the place of the first of its run, and the index
// onto the copy.
func (s *Store) install(first *segment, c *copied) error {
	if err := s.addSegment(c.to); err != nil {
		return errors.Join(err, c.abandon(s.fs))
	}
	if err := s.fs.Rename(c.to.name, first.name); err != nil {
		return fmt.Errorf("compaction: %w", err)
	}
	c.to.name = first.name
	if err := s.fs.SyncDir(); err != nil {
		return fmt.Errorf("compaction: %w", err)
	}
	s.swap(c)
	s.forgetSegment(first)
	return nil
}

// discard removes the file of a segment that nothing points to. What the files
// take then is the caller's to say.
func (s *Store) discard(g *segment) error {
	if err := s.fs.Remove(g.name); err != nil {
		return err
	}
	if err := s.fs.SyncDir(); err != nil {
		return err
	}
	s.forgetSegment(g)
	return nil
}

// forgetSegment frees the slot; the file stays open for reads under way.
func (s *Store) forgetSegment(g *segment) {
	s.mu.Lock()
	s.segments[g.slot] = nil
	s.mu.Unlock()
	g.release()
}
