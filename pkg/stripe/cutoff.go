package stripe

import (
	"context"
	"fmt"
	"slices"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// A card whose log was cut off looks like one that lost power: it shows an
// older W than it was told. The difference is what it should have: up to W, or
// up to since when it is out, every version was synced on it. So where a node
// shows less, the others are asked what that was (I1, I4).

// shown returns the W that the node's log proves: what its start has found,
// unless the superblock records this very start.
func shown(g chunk.Granted, m cluster.Member) chunk.Version {
	if g.Instance != m.Instance {
		return g.Recovered
	}
	return g.Watermark
}

// expelCutOff looks for nodes that lack what they had, and counts them as out
// since what they show.
func (a *Array) expelCutOff(ctx context.Context, o *opening) error {
	sb := a.superblock().Clone()
	for n := range sb.Nodes {
		m := &sb.Nodes[n]
		g, granted := o.grants[n]
		if !granted || !a.peers[n].answers() || m.State == cluster.Lost {
			continue
		}
		w := shown(g, *m)
		lacks, err := a.lacks(ctx, n, w)
		if err != nil {
			return err
		}
		if lacks {
			a.opts.Logger.Error("card has lost synced data", "volume", sb.Name, "node", m.ID, "has", w)
			m.State, m.Since, m.Behind = cluster.Out, w, true
		}
	}
	if in := sb.CountIn(); in < sb.MinIn() {
		return fmt.Errorf("%d of the %d up-to-date nodes needed are whole: %w", in, sb.MinIn(), ErrTooFewNodes)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sb, o.sb = sb, sb
	a.ledger.setSuperblock(sb)
	return nil
}

// lacks reports whether node n, whose log shows w, lacks a chunk that was
// settled on it later.
func (a *Array) lacks(ctx context.Context, n int, w chunk.Version) (bool, error) {
	had := a.Status().Watermark
	if m := a.superblock().Nodes[n]; m.State != cluster.In {
		had = m.Since
	}
	if w >= had {
		return false, nil
	}
	here, err := a.list(ctx, n, w, 0, a.geo.Blocks())
	if err != nil {
		return false, err
	}
	has := map[uint64]chunk.Version{}
	for _, e := range here {
		has[e.Block] = max(has[e.Block], e.Version)
	}
	for i, p := range a.peers {
		if i == n || !p.speaks() {
			continue
		}
		entries, err := a.list(ctx, i, w, 0, a.geo.Blocks())
		if err != nil {
			return false, err
		}
		for _, e := range entries {
			homes := a.place.Place(e.Block)[:a.geo.Width()]
			if e.Version <= had && slices.Contains(homes, uint8(n)) && has[e.Block] < e.Version {
				return true, nil
			}
		}
	}
	return false, nil
}
