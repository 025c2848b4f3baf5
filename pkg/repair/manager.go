package repair

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
	"rozobox/pkg/stripe"
)

// Options are the manner of repair. The zero value of each field is a working
// default.
type Options struct {
	// RebuildAfter is how long a node must be out before its chunks are
	// rebuilt onto spares. Default 5 minutes.
	RebuildAfter time.Duration

	// ScrubEvery is how often the whole volume is verified. Default a week.
	ScrubEvery time.Duration

	// ReclaimEvery is how often tombstones are looked for that nobody needs;
	// each costs a card some 40 bytes of memory. Default an hour.
	ReclaimEvery time.Duration

	// Logger gets each event once. Default: none.
	Logger *slog.Logger
}

const (
	defaultRebuildAfter = 5 * time.Minute
	defaultScrubEvery   = 7 * 24 * time.Hour
	defaultReclaimEvery = time.Hour

	// lookEvery is how often the manager looks for work.
	lookEvery = 250 * time.Millisecond

	// window is how many blocks a job lists at once: with 8 nodes some 65536
	// entries, a few MiB.
	window = 8192

	// workers is how many batches of blocks are mended at once: while one waits
	// for its node others read and compute, and it is a small share of what
	// clients keep under way.
	workers = 4

	// burst is what repair may write at once whatever its limit: more than
	// any batch.
	burst = 4 * chunk.MaxBlockSize
)

// Manager repairs one volume, as long as Run runs.
type Manager struct {
	array   *stripe.Array
	opts    Options
	limiter *rate.Limiter

	mu        sync.Mutex // guards all below; never kept across I/O
	paused    bool
	resume    chan struct{} // closed when paused ends
	job       Progress
	health    map[int]*health // by node
	lacking   int             // blocks that lack chunks, as last counted
	untidy    bool            // spares may hold what homes have again
	tidied    time.Time       // when that was last seen to
	restUntil time.Time       // after a failure: nothing but resyncs begins before
	scrubs    int             // requested and not begun
	scrub     ScrubReport     // the last one
}

// health is what the manager remembers of a node.
type health struct {
	outAt    time.Time // since when it is out; zero when it is in
	joinedAt time.Time // when it last came in
	retryAt  time.Time // not resynced before
	delay    time.Duration
	rebuilt  bool // nothing is left to rebuild for it
}

// New returns a manager for an open array.
func New(array *stripe.Array, opts Options) *Manager {
	if opts.RebuildAfter <= 0 {
		opts.RebuildAfter = defaultRebuildAfter
	}
	if opts.ScrubEvery <= 0 {
		opts.ScrubEvery = defaultScrubEvery
	}
	if opts.ReclaimEvery <= 0 {
		opts.ReclaimEvery = defaultReclaimEvery
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Manager{
		array: array, opts: opts, limiter: rate.NewLimiter(rate.Inf, burst),
		resume: make(chan struct{}), health: map[int]*health{},
		untidy: true, // the last gateway may have left something
	}
}

// Run repairs until ctx ends or the array does.
func (m *Manager) Run(ctx context.Context) {
	scrubbed, reclaimed, changed := time.Now(), time.Now(), true
	for {
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return
		case <-m.array.Done():
			return
		case block := <-m.array.Damage():
			m.mend(ctx, block)
			changed = true // what is damaged lacks protection
		}
		changed = m.observe() || changed
		switch n, what := m.next(scrubbed, reclaimed); what {
		case resync:
			m.resync(ctx, n)
			changed = true
		case rebuild:
			m.rebuild(ctx, n)
			changed = true
		case tidy:
			m.tidyUp(ctx)
		case reclaim:
			reclaimed = time.Now()
			m.reclaimAll(ctx)
		case scrub:
			scrubbed = time.Now()
			m.scrubAll(ctx)
			changed = true
		}
		if changed {
			changed = m.count(ctx) != nil
		}
	}
}

// mend heals a block of which a client's read met a damaged chunk.
func (m *Manager) mend(ctx context.Context, block uint64) {
	wounds, _, err := m.array.Heal(ctx, block, stripe.Healing{Node: stripe.AllNodes, Verify: true})
	if err != nil {
		m.opts.Logger.Error("a damaged chunk cannot be mended", "block", block, "error", err)
	}
	for _, w := range wounds {
		m.opts.Logger.Warn("mended a chunk that a read found bad",
			"block", w.Block, "node", w.Node, "index", w.Index, "error", w.Cause)
	}
}

// observe takes note of who is out, and reports whether that changed. Then what
// was rebuilt for others may not be where it belongs now.
func (m *Manager) observe() (changed bool) {
	status := m.array.Status()
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, node := range status.Superblock.Nodes {
		h := m.health[i]
		if h == nil {
			h = &health{}
			m.health[i] = h
		}
		if isOut := node.State != cluster.In; isOut == h.outAt.IsZero() {
			changed = true
			h.outAt = time.Time{}
			if isOut {
				h.outAt = time.Now()
				h.wentOut(status.Crawls[i] != "")
			}
		}
	}
	if changed {
		m.rebuildAnewLocked()
	}
	return changed
}

func (m *Manager) rebuildAnewLocked() {
	for _, h := range m.health {
		h.rebuilt = false
	}
}

const (
	// steady is how long a node must stay in to be taken for sound again.
	steady = 10 * time.Minute

	firstDelay = time.Second

	// briefDelay bounds the wait of a node that comes and goes, or whose resync
	// failed: people pull a card out and plug it in many times, and until it is
	// in again less is protected.
	briefDelay = 10 * time.Second

	// settled is how long after a node went out its heartbeats have shown
	// whether it answers: twice the default of node_timeout.
	settled = 2 * time.Second

	// slowDelay is how long a node stays out at least that went out for being
	// slow: each time it is tried again, it holds up the clients for some
	// seconds. That doubles up to lastDelay.
	slowDelay = 30 * time.Second
	lastDelay = 5 * time.Minute
)

// wentOut makes a node wait until it is known whether it answers, and longer if
// it was in for a short time only, or is slow.
func (h *health) wentOut(slow bool) {
	defer func() { h.retryAt = later(h.retryAt, time.Now().Add(settled)) }()
	brief := !h.joinedAt.IsZero() && time.Since(h.joinedAt) <= steady
	if !brief {
		h.delay = 0
	}
	switch {
	case slow:
		h.delay = max(h.delay, slowDelay/2)
		h.postpone(lastDelay)
	case brief:
		h.postpone(briefDelay)
	}
}

func later(t, u time.Time) time.Time {
	if t.After(u) {
		return t
	}
	return u
}

// postpone doubles the delay, up to most.
func (h *health) postpone(most time.Duration) {
	h.delay = min(max(2*h.delay, firstDelay), most)
	h.retryAt = time.Now().Add(h.delay)
}

// kind is a kind of job.
type kind string

const (
	idle    kind = ""
	resync  kind = "resync"
	rebuild kind = "rebuild"
	tidy    kind = "tidy"
	reclaim kind = "reclaim"
	scrub   kind = "scrub"
)

// next returns the most urgent work there is, and the node that it is for.
func (m *Manager) next(scrubbed, reclaimed time.Time) (int, kind) {
	status := m.array.Status()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.paused {
		return 0, idle
	}
	for i, node := range status.Superblock.Nodes {
		if node.State == cluster.Out && status.Up[i] && time.Now().After(m.health[i].retryAt) {
			return i, resync
		}
	}
	if time.Now().Before(m.restUntil) {
		return 0, idle
	}
	for i, h := range m.health {
		if !h.outAt.IsZero() && !h.rebuilt && time.Since(h.outAt) > m.opts.RebuildAfter {
			return i, rebuild
		}
	}
	allIn := status.Superblock.CountIn() == len(status.Superblock.Nodes)
	switch {
	case allIn && (m.untidy || status.Strewn > 0 && time.Since(m.tidied) > tidyEvery):
		return 0, tidy
	case allIn && time.Since(reclaimed) > m.opts.ReclaimEvery:
		return 0, reclaim
	case m.scrubs > 0 || time.Since(scrubbed) > m.opts.ScrubEvery:
		return 0, scrub
	}
	return 0, idle
}

// resync brings a node back.
func (m *Manager) resync(ctx context.Context, n int) {
	id := m.array.Status().Superblock.Nodes[n].ID
	m.begin(resync, id)
	err := m.bringBack(ctx, n)
	done := m.end()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.health[n].postpone(briefDelay)
		m.opts.Logger.Warn("resync failed", "node", id, "error", err, "again_in", m.health[n].delay)
		return
	}
	m.health[n].joinedAt, m.health[n].outAt = time.Now(), time.Time{}
	m.untidy = true
	m.rebuildAnewLocked()
	m.opts.Logger.Info("node is resynced", "node", id,
		"blocks", done.DoneBlocks, "bytes", done.Bytes, "took", time.Since(done.Started))
}

func (m *Manager) bringBack(ctx context.Context, n int) error {
	if err := m.array.Follow(n); err != nil {
		return err
	}
	behind := func(first, end uint64) ([]uint64, error) { return m.array.Behind(ctx, n, first, end) }
	err := m.walk(ctx, behind, m.healer(stripe.Healing{Node: n}))
	if err == nil {
		err = m.array.Join(ctx, n)
	}
	if err != nil {
		m.array.Unfollow(n)
	}
	return err
}

// tidyEvery is how often what late writes have strewn is dropped: seldom, so that
// there is a batch of it.
const tidyEvery = 5 * time.Second

// tidyUp drops what spares hold that homes have: of the whole volume where nodes
// were away, else where the array says.
func (m *Manager) tidyUp(ctx context.Context) {
	m.begin(tidy, "")
	surplus := func(first, end uint64) ([]uint64, error) { return m.array.Surplus(ctx, first, end) }
	if strewn := m.array.Strewn(); !m.isUntidy() {
		surplus = among(strewn)
	}
	err := m.walk(ctx, surplus, m.healer(stripe.Healing{Node: stripe.AllNodes, Spares: true}))
	m.end()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tidied = time.Now()
	if m.untidy = err != nil; m.untidy {
		m.restUntil = time.Now().Add(rest)
		m.opts.Logger.Warn("dropping what spares held stopped, it will go on", "error", err)
	}
}

func (m *Manager) isUntidy() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.untidy
}

// rebuild puts all chunks that lack a holder onto spares, as n has been out for
// long, and perhaps others too.
func (m *Manager) rebuild(ctx context.Context, n int) {
	m.begin(rebuild, m.array.Status().Superblock.Nodes[n].ID)
	lacking := func(first, end uint64) ([]uint64, error) { return m.array.Lacking(ctx, first, end) }
	err := m.walk(ctx, lacking, m.healer(stripe.Healing{Node: stripe.AllNodes, Spares: true}))
	done := m.end()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.restUntil = time.Now().Add(rest)
		m.opts.Logger.Warn("rebuild stopped, it will go on", "error", err)
		return
	}
	for _, h := range m.health {
		h.rebuilt = !h.outAt.IsZero() && time.Since(h.outAt) > m.opts.RebuildAfter
	}
	m.opts.Logger.Info("rebuilt onto spares",
		"blocks", done.DoneBlocks, "bytes", done.Bytes, "took", time.Since(done.Started))
}

// reclaimAll drops the tombstones that hide nothing any more.
func (m *Manager) reclaimAll(ctx context.Context) {
	m.begin(reclaim, "")
	var found map[uint64]chunk.Version
	tombstones := func(first, end uint64) (blocks []uint64, err error) {
		found, err = m.array.Tombstones(ctx, first, end)
		return slices.Sorted(maps.Keys(found)), err
	}
	err := m.walk(ctx, tombstones, mender{stripe.ReclaimBatch, func(ctx context.Context, blocks []uint64) (int64, error) {
		some := map[uint64]chunk.Version{}
		for _, block := range blocks {
			some[block] = found[block]
		}
		return 0, m.array.Reclaim(ctx, some)
	}})
	if done := m.end(); err != nil {
		m.opts.Logger.Warn("reclaiming tombstones stopped, it will go on", "error", err)
	} else if done.DoneBlocks > 0 {
		m.opts.Logger.Info("reclaimed tombstones", "blocks", done.DoneBlocks)
	}
}

// rest is how long a job that failed waits before it begins again.
const rest = 10 * time.Second

// preempted reports whether a node waits to be resynced while another job runs.
func (m *Manager) preempted() bool {
	if m.Status().Job.Kind == string(resync) {
		return false
	}
	_, what := m.next(time.Now(), time.Now())
	return what == resync
}

var errPreempted = errors.New("a node has returned")

// Lose gives up a node that is out, for good. It refuses what MayLose does.
func (m *Manager) Lose(ctx context.Context, n int) error {
	if err := m.MayLose(ctx, n); err != nil {
		return err
	}
	return m.array.Lose(ctx, n)
}

// MayLose says why a node cannot be given up: it is not out, too few would be
// left, or a block lacks a chunk without it.
func (m *Manager) MayLose(ctx context.Context, n int) error {
	if err := m.array.MayLose(n); err != nil {
		return err
	}
	if err := m.count(ctx); err != nil {
		return err
	}
	if lacking := m.Status().UnderProtected; lacking > 0 {
		return fmt.Errorf("%d blocks lack chunks until they are rebuilt, wait for that: %w",
			lacking, stripe.ErrRefused)
	}
	return nil
}

// Replace takes the card of a node that is not in for gone. It refuses what
// MayReplace does.
func (m *Manager) Replace(ctx context.Context, n int) error {
	if err := m.MayReplace(ctx, n); err != nil {
		return err
	}
	return m.array.Replace(ctx, n)
}

// MayReplace says why a node's card cannot be taken for gone: the node is in,
// or a block cannot be read without it.
func (m *Manager) MayReplace(ctx context.Context, n int) error {
	if err := m.array.MayReplace(n); err != nil {
		return err
	}
	for first := uint64(0); first < m.array.Geometry().Blocks(); first += window {
		unreadable, err := m.array.Unreadable(ctx, first, first+window)
		if err != nil {
			return err
		}
		if unreadable > 0 {
			return fmt.Errorf("%d blocks from block %d on cannot be read without it: %w",
				unreadable, first, stripe.ErrRefused)
		}
	}
	return nil
}

// count counts the blocks that lack chunks.
func (m *Manager) count(ctx context.Context) error {
	lacking := 0
	for first := uint64(0); first < m.array.Geometry().Blocks(); first += window {
		blocks, err := m.array.Lacking(ctx, first, first+window)
		if err != nil {
			return err
		}
		lacking += len(blocks)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lacking = lacking
	return nil
}
