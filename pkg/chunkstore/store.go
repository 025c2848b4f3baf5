package chunkstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rozobox/pkg/chunk"
)

// Store is a card. It implements chunk.Store.
//
// Three things order its work. turn is held by whoever appends to the log,
// over the write to the file, because the order in the file is the order of
// the requests; under it terms are checked and versions decided, so that
// check and effect are one step. mu guards what readers see; it is taken
// under turn, briefly, and never across I/O. A volume's office is held across
// the durable writes of its grant and superblock, and turn is taken under it.
type Store struct {
	dir      string
	fs       FS
	logger   *slog.Logger
	node     chunk.NodeID
	id       chunk.StoreID
	instance chunk.InstanceID
	seed     uint32 // of the headers: the store id's checksum
	space    space
	lock     io.Closer

	turn chan struct{} // holds one token while nobody appends
	// Owned by the holder of turn.
	active *segment
	dirty  []*segment // written to since their last Sync, oldest first
	nextID uint32
	heads  []int64 // scratch of appendSome

	mu       sync.RWMutex // guards the fields below, and the volumes' and segments' own
	volumes  map[chunk.VolumeID]*volume
	names    map[string]chunk.VolumeID // of the live superblocks
	segments []*segment                // by slot; nil where a slot is free

	held     atomic.Int64  // bytes of all records that the index points to
	physical atomic.Int64  // bytes of all segment files
	limit    atomic.Int64  // what physical may grow to; see measure
	frames   atomic.Int64  // bytes of heads, tables and seals; likewise
	copies   atomic.Int64  // copies begun and ended: odd while there is one that physical does not count
	synced   atomic.Uint64 // position up to which the log is durable
	failure  atomic.Pointer[error]
	closing  atomic.Bool
	counts   counters

	syncs   syncQueue
	compact compactor
	stop    context.CancelFunc
	stopped <-chan struct{}
	workers sync.WaitGroup
}

var _ chunk.Store = (*Store)(nil)

// errBroken means that a file is in an unknown state after a failed write.
var errBroken = errors.New("write failed")

// Open opens the store in opts.Dir, or formats it where the directory is
// empty. The caller closes it.
func Open(opts Options) (*Store, error) {
	if err := opts.fill(); err != nil {
		return nil, err
	}
	lock, err := opts.FS.Lock("lock")
	if err != nil {
		return nil, fmt.Errorf("chunkstore %s: %w", opts.Dir, err)
	}
	s, err := open(&opts)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock = lock
	s.startWorkers()
	return s, nil
}

func open(opts *Options) (*Store, error) {
	names, err := opts.FS.List()
	if err != nil {
		return nil, fmt.Errorf("chunkstore %s: %w", opts.Dir, err)
	}
	id, err := readIdentity(opts, names)
	if err != nil {
		return nil, fmt.Errorf("chunkstore %s: %w", opts.Dir, err)
	}
	s := &Store{
		dir: opts.Dir, fs: opts.FS, logger: opts.Logger, node: opts.Node, id: id,
		seed: storeSeed(id), turn: make(chan struct{}, 1), nextID: 1,
		volumes: map[chunk.VolumeID]*volume{}, names: map[string]chunk.VolumeID{},
	}
	s.turn <- struct{}{}
	s.counts.started = time.Now()
	s.syncs.kick = make(chan struct{}, 1)
	s.syncs.owed = make(chan struct{}, 1)
	s.compact.kick = make(chan struct{}, 1)
	rand.Read(s.instance[:])
	if err := s.load(opts, names); err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("chunkstore %s: %w", opts.Dir, err)
	}
	return s, nil
}

func (s *Store) startWorkers() {
	ctx, stop := context.WithCancel(context.Background())
	s.stop, s.stopped = stop, ctx.Done()
	s.workers.Go(func() { s.syncLoop(ctx) })
	s.workers.Go(func() { s.compactLoop(ctx) })
	s.compact.wake() // what the replay has found dead
	if len(s.compact.suspects) > 0 {
		s.workers.Go(func() { s.verify(ctx, s.compact.suspects) })
	}
}

// Close stops the store cleanly: everything acknowledged is durable, and the
// next Open need not verify anything. Requests under way may fail with
// chunk.ErrUnavailable.
func (s *Store) Close() error {
	if s.closing.Swap(true) {
		return nil
	}
	s.stop()
	s.workers.Wait()
	<-s.turn
	err := s.finishLog()
	s.giveTurn()
	s.closeFiles()
	if err != nil {
		err = fmt.Errorf("chunkstore %s: close: %w", s.dir, err)
	}
	return errors.Join(err, s.lock.Close())
}

// finishLog makes the log durable and seals it; the caller holds the turn.
func (s *Store) finishLog() error {
	if s.failure.Load() != nil {
		return nil // said when it happened
	}
	if err := s.closeActive(); err != nil {
		return s.appendError(err)
	}
	for range 2 { // the records, then the seals
		sealed, err := s.flush(s.takeDirty())
		if err != nil {
			return err
		}
		s.touchAll(sealed)
	}
	return nil
}

// closeFiles gives up the store's own hold of its files, once nobody writes a
// grant or a superblock.
func (s *Store) closeFiles() {
	s.mu.Lock()
	volumes := s.volumesInOrder()
	segments := s.segments
	s.segments = nil
	s.mu.Unlock()
	for _, g := range segments {
		if g != nil {
			g.release()
		}
	}
	for _, v := range volumes {
		<-v.office
		if v.file != nil {
			v.file.Close()
		}
		s.leaveOffice(v)
	}
}

// takeTurn waits for the log. The caller gives the turn back by giveTurn.
func (s *Store) takeTurn(ctx context.Context) error {
	select {
	case <-s.turn:
	case <-ctx.Done():
		return fmt.Errorf("chunkstore %s: %w: %w", s.dir, chunk.ErrUnavailable, ctx.Err())
	}
	if s.closing.Load() {
		s.giveTurn()
		return s.closedError()
	}
	return nil
}

func (s *Store) giveTurn() { s.turn <- struct{}{} }

func (s *Store) closedError() error {
	return fmt.Errorf("chunkstore %s: %w: closed", s.dir, chunk.ErrUnavailable)
}

// fail makes the store read-only for good.
func (s *Store) fail(err error) {
	if s.failure.CompareAndSwap(nil, &err) {
		s.logger.Error("the store is read-only from now on", "dir", s.dir, "error", err)
	}
}

// writable returns chunk.ErrReadOnly, and why, where the store has failed.
func (s *Store) writable() error {
	if err := s.failure.Load(); err != nil {
		return fmt.Errorf("chunkstore %s: %w: %w", s.dir, chunk.ErrReadOnly, *err)
	}
	return nil
}

// segmentsInOrder returns the segments by id; the caller holds mu.
func (s *Store) segmentsInOrder() []*segment {
	var list []*segment
	for _, g := range s.segments {
		if g != nil {
			list = append(list, g)
		}
	}
	slices.SortFunc(list, func(a, b *segment) int { return int(int64(a.id) - int64(b.id)) })
	return list
}

// volumesInOrder returns the volumes by id; the caller holds mu.
func (s *Store) volumesInOrder() []*volume {
	list := make([]*volume, 0, len(s.volumes))
	for _, v := range s.volumes {
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b *volume) int { return bytes.Compare(a.id[:], b.id[:]) })
	return list
}

// addSegment gives g a slot.
func (s *Store) addSegment(g *segment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.segments, nil)
	if i < 0 {
		i = len(s.segments)
		s.segments = append(s.segments, nil)
	}
	if i >= maxSegments {
		return fmt.Errorf("%d segments: %w", i, chunk.ErrNoSpace)
	}
	g.slot = uint32(i)
	s.segments[i] = g
	return nil
}
