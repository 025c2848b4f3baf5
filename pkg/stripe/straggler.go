package stripe

import (
	"fmt"
	"time"

	"rozobox/pkg/cluster"
)

// slowFor is how long a node must hold up the clients before it goes out for
// that, in node timeouts, of a second at least: a card's pauses do not depend on
// how soon somebody wants to notice silence.
const slowFor = 2

// timeWrite takes note of how long a batch of writes takes; the result is to be
// called with its outcome. timeSync does so for a sync.
func (p *peer) timeWrite(chunks int) func(error) { return p.timeRequest(&p.writes, chunks) }
func (p *peer) timeSync(chunks int) func(error)  { return p.timeRequest(&p.syncs, chunks) }

func (p *peer) timeRequest(pace *cluster.Pace, chunks int) func(error) {
	a := p.array
	a.mu.Lock()
	defer a.mu.Unlock()
	r := pace.Begin(a.uptime(), chunks, p.writes.Chunks())
	return func(err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		pace.End(a.uptime(), r, err == nil)
	}
}

// watchPace declares a node out, or keeps it from coming in, that holds up the
// clients: it answers heartbeats, and its writes crawl.
func (a *Array) watchPace(s *cluster.Straggler) {
	n, ok := a.straggler(s)
	if !ok {
		return
	}
	a.declareOut([]int{n})
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sb.Nodes[n].State == cluster.In {
		a.peers[n].crawls = 0 // that could not be recorded
	}
}

// straggler returns the node that watchPace is to deal with.
func (a *Array) straggler(s *cluster.Straggler) (n int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	works := make([]cluster.Work, len(a.peers))
	for i, p := range a.peers {
		awaited := a.sb.Nodes[i].State == cluster.In || a.ledger.nodes[i].follow >= closing
		works[i] = cluster.Work{Up: p.up, Awaited: awaited, Writes: &p.writes, Syncs: &p.syncs}
	}
	n, times := s.Check(a.uptime(), a.sb, works)
	if n < 0 {
		return 0, false
	}
	a.peers[n].crawls = times
	a.ledger.interrupt(n)
	return n, a.sb.Nodes[n].State == cluster.In
}

// whyCrawlsLocked says why a node went out that answers.
func (p *peer) whyCrawlsLocked() string {
	if p.crawls == 0 {
		return ""
	}
	return fmt.Sprintf("it is slow: writes take it %.0f times as long as the others", p.crawls)
}

func (a *Array) newStraggler() *cluster.Straggler {
	return &cluster.Straggler{For: slowFor * max(a.opts.NodeTimeout, time.Second)}
}
