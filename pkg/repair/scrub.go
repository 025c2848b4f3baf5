package repair

import (
	"context"
	"time"

	"rozobox/pkg/stripe"
)

// maxFindings bounds what a scrub reports one by one.
const maxFindings = 1000

// ScrubReport is what a scrub found.
type ScrubReport struct {
	Started  time.Time // zero: none yet
	Ended    time.Time // zero: it is under way
	Blocks   int       // looked at
	Mended   int       // chunks
	Findings []stripe.Wound
	Failed   []string // blocks that could not be healed, and why
}

// Scrub asks for a scrub as soon as nothing more urgent is to be done.
func (m *Manager) Scrub() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.scrubs++
}

// scrubAll verifies every chunk of the volume, and heals what is wrong.
func (m *Manager) scrubAll(ctx context.Context) {
	m.mu.Lock()
	m.scrubs = 0
	m.scrub = ScrubReport{Started: time.Now()}
	m.mu.Unlock()
	m.begin(scrub, "")
	occupied := func(first, end uint64) ([]uint64, error) { return m.array.Occupied(ctx, first, end) }
	err := m.walk(ctx, occupied, m.verifier())
	done := m.end()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.scrubs++ // begin again later
		m.opts.Logger.Warn("scrub stopped", "error", err)
		return
	}
	m.scrub.Ended, m.scrub.Blocks = time.Now(), done.DoneBlocks
	m.opts.Logger.Info("scrubbed", "blocks", done.DoneBlocks, "mended", m.scrub.Mended,
		"failed", len(m.scrub.Failed), "took", m.scrub.Ended.Sub(m.scrub.Started))
}

// verifier returns a mender that heals blocks of whatever is wrong. What cannot
// be healed is reported, and the scrub goes on.
func (m *Manager) verifier() mender {
	return mender{m.array.HealBatch(), func(ctx context.Context, blocks []uint64) (bytes int64, _ error) {
		nodes := m.array.Status().Superblock
		how := stripe.Healing{Node: stripe.AllNodes, Verify: true, Spares: nodes.CountIn() == len(nodes.Nodes)}
		for _, h := range m.array.HealAll(ctx, blocks, how) {
			bytes += h.Bytes
			m.report(h.Wounds, h.Err)
		}
		return bytes, ctx.Err()
	}}
}

// report adds what a scrub found in a block.
func (m *Manager) report(wounds []stripe.Wound, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.scrub.Mended += len(wounds)
	for _, w := range wounds {
		if len(m.scrub.Findings) < maxFindings {
			m.scrub.Findings = append(m.scrub.Findings, w)
		}
		m.opts.Logger.Warn("scrub mended a chunk", "block", w.Block, "node", w.Node, "index", w.Index, "error", w.Cause)
	}
	if err != nil && len(m.scrub.Failed) < maxFindings {
		m.scrub.Failed = append(m.scrub.Failed, err.Error())
	}
}
