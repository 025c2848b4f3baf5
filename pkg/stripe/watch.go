package stripe

import (
	"context"
	"errors"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// watchEvery is how often the failure detector looks: a fraction of beatEvery,
// so that a closed connection is noticed at once.
const watchEvery = beatEvery / 4

// watch declares nodes out that the failure detector finds silent, or slow.
func (a *Array) watch() {
	d, s := &cluster.Detector{Timeout: a.opts.NodeTimeout}, a.newStraggler()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-a.alarm:
			time.Sleep(gather)
		case <-a.life.Done():
			return
		}
		a.doubt()
		if out := a.diagnose(d); len(out) > 0 {
			a.declareOut(out)
		}
		a.watchPace(s)
	}
}

// gather is how long an alarm waits for others: nodes that are switched off
// together go out together, by one update of the superblock.
const gather = 5 * time.Millisecond

// alarmLocked has the others asked at once, when a connection has closed,
// whether they are still there.
func (a *Array) alarmLocked() {
	for _, p := range a.peers {
		poke(p.doubt)
	}
	poke(a.alarm)
}

// doubt asks nodes whether they are there that are late with what clients wait
// for: of a node that was killed the kernel tells only who sends it something.
func (a *Array) doubt() {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.uptime()
	for _, p := range a.peers {
		if late := max(p.writes.Oldest(now), p.syncs.Oldest(now)); late > watchEvery && late <= 2*watchEvery {
			poke(p.doubt)
		}
	}
}

func (a *Array) diagnose(d *cluster.Detector) []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	vitals := make([]cluster.Vital, len(a.peers))
	for i, p := range a.peers {
		vitals[i] = cluster.Vital{Answered: p.answered, Closed: p.closed, Unfit: p.unfit != nil}
	}
	out := d.Check(a.opts.Clock(), a.sb, vitals)
	for _, n := range out {
		a.peers[n].up = false // until it answers: repair must not take it for returned
	}
	for i, p := range a.peers {
		if p.unfit != nil && a.sb.Nodes[i].State == cluster.Out {
			out = append(out, i) // it is out since even earlier
		}
	}
	return out
}

// declareOut records that the nodes may miss every version after W, or after
// what their cards show. Only when that is durable are their chunks placed on
// spares, so that W cannot pass what they missed before (I1).
func (a *Array) declareOut(nodes []int) {
	before := a.superblock()
	err := a.update(a.life, func(sb *cluster.Superblock) error {
		for _, n := range nodes {
			m := &sb.Nodes[n]
			if m.State == cluster.In {
				m.State, m.Since = cluster.Out, sb.Watermark
			}
			if u := a.peers[n].unfit; u != nil {
				m.Behind = m.Behind || u.has < m.Since
				m.Since = min(m.Since, u.has)
			}
		}
		return nil
	})
	a.forgive()
	for _, n := range nodes {
		a.tellOut(n, before.Nodes[n], err)
	}
}

// tellOut logs what declareOut has recorded of a node.
func (a *Array) tellOut(n int, before cluster.Member, err error) {
	a.mu.Lock()
	sb, slow := a.sb, a.peers[n].whyCrawlsLocked()
	a.mu.Unlock()
	log := a.opts.Logger.With("volume", sb.Name, "node", before.ID)
	switch {
	case err != nil && !errors.Is(err, context.Canceled):
		log.Error("declaring a node out", "error", err)
	case err != nil || sb.Nodes[n] == before:
	case before.State == cluster.In && slow != "":
		log.Warn("node is out", "why", slow)
	case before.State == cluster.In:
		log.Warn("node is out")
	default:
		log.Warn("node came back with less than it had", "since", sb.Nodes[n].Since)
	}
}

// forgive ends the verdict on cards of which the superblock says now how little
// they have: a resync can fill them.
func (a *Array) forgive() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, p := range a.peers {
		if m := a.sb.Nodes[i]; p.unfit != nil && m.State != cluster.In && m.Since <= p.unfit.has {
			p.unfit = nil
		}
	}
}

// unfit says why a node that answers is not the one that the superblock
// records: its card was replaced, or has lost synced data.
type unfit struct {
	has chunk.Version // every version up to it that W has passed is there all the same
	why error
}

func (p *peer) whyUnfitLocked() error {
	if p.unfit == nil {
		return nil
	}
	return p.unfit.why
}
