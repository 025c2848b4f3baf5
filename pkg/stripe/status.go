package stripe

import (
	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// Status is what an array knows of itself at one moment.
type Status struct {
	Superblock     *cluster.Superblock // the durable one; do not change it
	Watermark      chunk.Version
	Up             []bool   // by node: its last heartbeat was answered
	Following      []bool   // by node: it is out, and takes part in new writes
	Slow           []bool   // by node: it answers, but reads go to others because it is late
	Crawls         []string // by node: why it went out although it answers; else empty
	Unfit          []error  // by node: why its card cannot be used as it is; nil when it can
	UnsettledBytes int64
	UnderProtected int    // versions not settled that lack holders
	Strewn         int    // blocks that Array.Strewn would return
	Hedged         uint64 // reads that were hedged since the opening
	Degraded       uint64 // blocks read since then from others than their homes, or decoded
	Mended         uint64 // damaged chunks that were written anew since then
	Err            error  // why the array can serve no more
}

// Status returns the state of the array.
func (a *Array) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := Status{
		Superblock: a.sb, Watermark: a.ledger.watermark,
		UnsettledBytes: a.ledger.bytes, Strewn: len(a.ledger.strewn), Hedged: a.hedged, Err: a.err,
		Degraded: a.degraded.Load(), Mended: a.mended.Load(),
	}
	for _, p := range a.peers {
		s.Up = append(s.Up, p.up)
		s.Following = append(s.Following, a.ledger.nodes[p.n].follow != apart)
		s.Slow = append(s.Slow, p.slowLocked())
		s.Crawls = append(s.Crawls, p.whyCrawlsLocked())
		s.Unfit = append(s.Unfit, p.whyUnfitLocked())
	}
	for _, w := range a.ledger.writes {
		if w.held() < a.geo.Width() {
			s.UnderProtected++
		}
	}
	return s
}
