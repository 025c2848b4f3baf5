package repair

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"rozobox/pkg/chunk"
	"rozobox/pkg/stripe"
)

// Progress is how far a job has come. Kind is "resync", "rebuild", "scrub", or
// empty when nothing is to be done.
type Progress struct {
	Kind        string
	Node        chunk.NodeID // that is resynced, or was out for so long that a rebuild is due
	TotalBlocks int          // to be looked at, as far as is known
	DoneBlocks  int
	Bytes       int64 // written
	Started     time.Time
}

// Remaining estimates the time left from the time taken, 0 when unknown.
func (p Progress) Remaining() time.Duration {
	if p.DoneBlocks == 0 {
		return 0
	}
	perBlock := time.Since(p.Started) / time.Duration(p.DoneBlocks)
	return perBlock * time.Duration(p.TotalBlocks-p.DoneBlocks)
}

// Status is what a manager knows of itself.
type Status struct {
	Job            Progress
	Paused         bool
	UnderProtected int // blocks that lack chunks on nodes that are in
	Scrub          ScrubReport
	ScrubAsked     bool // one will begin as soon as nothing is more urgent
}

// Status returns the state of repair.
func (m *Manager) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Status{
		Job: m.job, Paused: m.paused, UnderProtected: m.lacking,
		Scrub: m.scrub, ScrubAsked: m.scrubs > 0,
	}
}

// Pause holds all jobs until Resume.
func (m *Manager) Pause() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = true
}

// Resume ends a Pause.
func (m *Manager) Resume() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.paused {
		m.paused = false
		close(m.resume)
		m.resume = make(chan struct{})
	}
}

// Limit bounds what repair writes, in bytes a second; 0 means no bound.
func (m *Manager) Limit(bytes int64) {
	if bytes <= 0 {
		m.limiter.SetLimit(rate.Inf)
		return
	}
	m.limiter.SetLimit(rate.Limit(bytes))
}

func (m *Manager) begin(k kind, node chunk.NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.job = Progress{Kind: string(k), Node: node, Started: time.Now()}
	switch k {
	case resync, rebuild:
		m.opts.Logger.Info(string(k)+" begins", "node", node)
	case scrub:
		m.opts.Logger.Info("scrub begins")
	}
}

func (m *Manager) end() Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	done := m.job
	m.job = Progress{}
	return done
}

// finder returns the blocks of a window that a job must mend.
type finder func(first, end uint64) ([]uint64, error)

// among returns a finder of these blocks.
func among(blocks []uint64) finder {
	return func(first, end uint64) (some []uint64, _ error) {
		for _, b := range blocks {
			if first <= b && b < end {
				some = append(some, b)
			}
		}
		return some, nil
	}
}

// mender mends some blocks together and returns the bytes that it wrote.
type mender struct {
	batch int // how many at most
	mend  func(ctx context.Context, blocks []uint64) (int64, error)
}

// walk mends, window by window, the blocks that find returns. Any job but a
// resync stops with errPreempted when a node has returned.
func (m *Manager) walk(ctx context.Context, find finder, how mender) error {
	total := m.array.Geometry().Blocks()
	for first := uint64(0); first < total; first += window {
		if m.preempted() {
			return errPreempted
		}
		blocks, err := find(first, min(first+window, total))
		if err != nil {
			return err
		}
		m.found(len(blocks), float64(first+window)/float64(total))
		if err := m.each(ctx, blocks, how); err != nil {
			return err
		}
	}
	return nil
}

// healer returns a mender that heals so.
func (m *Manager) healer(how stripe.Healing) mender {
	return mender{m.array.HealBatch(), func(ctx context.Context, blocks []uint64) (bytes int64, err error) {
		for _, h := range m.array.HealAll(ctx, blocks, how) {
			bytes += h.Bytes
			if err == nil {
				err = h.Err // one tells enough
			}
		}
		return bytes, err
	}}
}

// found adds blocks to the work known of, and guesses the rest from the share
// of the volume that was listed.
func (m *Manager) found(blocks int, share float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.job.DoneBlocks + blocks
	m.job.TotalBlocks = int(float64(known) / min(share, 1))
}

// each mends every block, some at once, while repair is not paused, and no
// faster than its limit.
func (m *Manager) each(ctx context.Context, blocks []uint64, how mender) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for batch := range slices.Chunk(blocks, how.batch) {
		group.Go(func() error {
			if err := m.mayGo(ctx); err != nil {
				return err
			}
			bytes, err := how.mend(ctx, batch)
			if err != nil {
				return err
			}
			m.did(len(batch), bytes)
			return m.limiter.WaitN(ctx, int(min(bytes, burst)))
		})
	}
	return group.Wait()
}

func (m *Manager) did(blocks int, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.job.DoneBlocks += blocks
	m.job.Bytes += bytes
}

// mayGo waits while repair is paused.
func (m *Manager) mayGo(ctx context.Context) error {
	for {
		m.mu.Lock()
		paused, resume := m.paused, m.resume
		m.mu.Unlock()
		if !paused {
			return ctx.Err()
		}
		select {
		case <-resume:
		case <-ctx.Done():
			return ctx.Err()
		case <-m.array.Done():
			return m.array.Err()
		}
	}
}
