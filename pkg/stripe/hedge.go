package stripe

import (
	"context"
	"math"
	"slices"
	"time"

	"rozobox/pkg/cluster"
)

const (
	// firstDelay is when a read of a node that was never timed is hedged.
	firstDelay = 20 * time.Millisecond

	// minDelay keeps hedges from chasing the jitter of a fast network.
	minDelay = 5 * time.Millisecond

	// hedgeShare and hedgeBurst are the budget of hedges: one for twenty
	// reads, since each costs k requests more, with a few in advance.
	hedgeShare = 0.05
	hedgeBurst = 10

	// suspectAfter is how many reads in a row must be late for a node to come
	// under suspicion. One may happen to any node that has much to do, and what
	// its chunks are decoded from costs the others more.
	suspectAfter = 3

	// hopeless is when a read is hedged whatever the budget: no card that
	// works takes so long, and a client must not wait for node_timeout. It is
	// paid once a heartbeat and node, since the node is under suspicion then.
	// hopelessTimes is how much longer than the others it must take: where all
	// are slow there is much to do, and hedges would make it more.
	hopeless      = 60 * time.Millisecond
	hopelessTimes = 3
)

// latency learns how long a node's reads take, as TCP learns its
// retransmission timeout (RFC 6298): mean and mean deviation. A read that was
// late counts as one that was an eighth too late: a tenth of them does not move the
// rest, and a node that has become slower is followed in a few steps.
type latency struct {
	mean, deviation time.Duration
}

func (l *latency) observe(d time.Duration) {
	d = min(d, l.late()+l.late()/8)
	if l.mean == 0 {
		l.mean, l.deviation = d, d/2
		return
	}
	l.deviation += (max(d-l.mean, l.mean-d) - l.deviation) / 4
	l.mean += (d - l.mean) / 8
}

// late returns how long to wait before a read counts as late.
func (l *latency) late() time.Duration {
	if l.mean == 0 {
		return firstDelay
	}
	return max(minDelay, l.mean+4*l.deviation)
}

// lateLocked returns how long to wait for a read of the node before it counts as
// late: what it usually takes, but not what is hopeless beside the others. One
// that has long been slow would else be waited for at every read.
func (p *peer) lateLocked() time.Duration {
	return min(p.latency.late(), max(hopeless, hopelessTimes*p.array.usual))
}

// usuallyLocked follows what a read takes whoever serves it: the time that a third
// of them stay below, so that two slow nodes of six do not move it. Each read
// moves it a step (Ma, Muthukrishnan, Sandler: Frugal Streaming for Estimating
// Quantiles, 2013).
func (a *Array) usuallyLocked(d time.Duration) {
	switch {
	case a.usual == 0:
		a.usual = d
	case d > a.usual:
		a.usual += a.usual/16 + 1 // not stuck near zero
	default:
		a.usual -= a.usual / 8
	}
}

// fetch is one node's share of a read.
type fetch struct {
	*peer
	parts  []wanted
	late   time.Duration // after that it is hedged
	begin  time.Time
	ctx    context.Context // of its request; cancel ends it
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended and its parts are filled in
	took   time.Duration // until then
}

// prepare readies the fetch to run. Cancelling it ends it at once; who started it
// must wait for it, since that ends it too when its node is silent.
func (f *fetch) prepare(ctx context.Context, begin time.Time) {
	f.ctx, f.cancel = context.WithCancel(ctx)
	f.begin, f.done = begin, make(chan struct{})
}

func (f *fetch) run() {
	defer close(f.done)
	defer f.cancel()
	f.readParts(f.ctx, f.parts)
	f.took = time.Since(f.begin)
	if f.parts[0].err == nil {
		f.timed(f.took)
	}
}

func (p *peer) timed(d time.Duration) {
	p.array.mu.Lock()
	defer p.array.mu.Unlock()
	p.latency.observe(d)
	p.array.usuallyLocked(d)
	p.lates, p.gave = 0, time.Now()
}

// wait waits until the fetch has ended, and ends it when its node has given
// nothing for NodeTimeout. One that gives something has much to do: to ask
// again for what is on its way would only make that more.
func (f *fetch) wait() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for !f.doneBy(f.patience(), timer) {
		if !time.Now().Before(f.patience()) {
			f.cancel()
			<-f.done
		}
	}
}

// patience returns until when the fetch is waited for if its node gives nothing
// before; never longer than for a client's batch of writes.
func (f *fetch) patience() time.Time {
	f.array.mu.Lock()
	defer f.array.mu.Unlock()
	silence := max(f.gave.Sub(f.begin), 0) + f.array.opts.NodeTimeout
	return f.begin.Add(min(silence, writePatience*f.array.opts.NodeTimeout))
}

// fetchAll does the fetches, the first of them in the caller's goroutine: a small
// read needs no other, unless it is late. It returns the spans that were decoded.
func (a *Array) fetchAll(ctx context.Context, spans []*span, fetches []*fetch) map[*span]bool {
	if len(fetches) == 0 {
		return nil
	}
	begin, late := time.Now(), time.Duration(math.MaxInt64)
	for _, f := range fetches {
		f.prepare(ctx, begin)
		late = min(late, f.late)
	}
	for _, f := range fetches[1:] {
		a.tasks.Go(f.run)
	}
	decoded := make(chan map[*span]bool, 1)
	watch := time.AfterFunc(late, func() { decoded <- a.collect(ctx, spans, fetches) })
	fetches[0].run()
	for _, f := range fetches[1:] {
		<-f.done
	}
	if watch.Stop() {
		return nil
	}
	return <-decoded
}

// collect waits for the fetches. When some are late, and the budget allows or
// they are hopeless, the spans that they serve are decoded from other nodes
// meanwhile: whichever is complete first wins, and the other is cancelled. It
// returns the spans that were decoded.
func (a *Array) collect(ctx context.Context, spans []*span, fetches []*fetch) map[*span]bool {
	begin := fetches[0].begin
	late := stragglers(begin, fetches, func(f *fetch) time.Duration { return f.late })
	beyond := len(late) > 0 && !a.mayHedge()
	if beyond {
		late = hopelessOf(begin, fetches, late)
	}
	if len(late) == 0 {
		return nil
	}
	if beyond && !a.dispensable(late) {
		waitFor(late)
		return nil
	}
	a.suspect(late, beyond)
	h := a.hedge(ctx, spans, late)
	defer h.cancel()
	primaries := make(chan struct{})
	a.tasks.Go(func() { waitFor(late); close(primaries) })
	select {
	case <-primaries:
		return nil
	case err := <-h.done:
		if err != nil {
			<-primaries // they are all that is left
			return nil
		}
	}
	for _, f := range late {
		f.cancel()
	}
	<-primaries // nobody writes into the caller's buffer any more
	return h.deliver()
}

// stragglers waits until every fetch has ended or is late, counted from begin,
// and returns those that are late.
func stragglers(begin time.Time, fetches []*fetch, after func(*fetch) time.Duration) (late []*fetch) {
	timer := time.NewTimer(time.Hour) // for all, one after the other
	defer timer.Stop()
	for _, f := range fetches {
		if !f.doneBy(begin.Add(after(f)), timer) {
			late = append(late, f)
		}
	}
	return late
}

// doneBy waits until the fetch has ended, or until deadline.
func (f *fetch) doneBy(deadline time.Time, timer *time.Timer) bool {
	if d := time.Until(deadline); d > 0 {
		timer.Reset(d)
		select {
		case <-f.done:
		case <-timer.C:
		}
	}
	select { // both may be true
	case <-f.done:
		return true
	default:
		return false
	}
}

// hopelessOf waits for those that are late until they are done or hopeless, and
// returns the latter. Where more are late than not, it waits for all.
func hopelessOf(begin time.Time, fetches, late []*fetch) []*fetch {
	if len(fetches) > 1 && 2*len(late) > len(fetches) {
		waitFor(late)
		return nil
	}
	patience := hopeless
	for _, f := range fetches {
		if !slices.Contains(late, f) {
			patience = max(patience, hopelessTimes*f.took)
		}
	}
	return stragglers(begin, late, func(f *fetch) time.Duration { return max(f.late, patience) })
}

// dispensable reports whether homes that are in and not late can serve all that the
// late fetches are for. If not, a hedge would ask the late nodes once more, which
// have too much to do already.
func (a *Array) dispensable(late []*fetch) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	missing := func(home uint8) bool {
		p := a.peers[home]
		return !p.up || a.sb.Nodes[home].State != cluster.In ||
			slices.ContainsFunc(late, func(f *fetch) bool { return f.peer == p })
	}
	for _, f := range late {
		for _, w := range f.parts {
			gone := 0
			for _, home := range a.place.Place(w.block)[:a.geo.Width()] {
				if missing(home) {
					gone++
				}
			}
			if gone > a.geo.Parity {
				return false
			}
		}
	}
	return true
}

func waitFor(fetches []*fetch) {
	for _, f := range fetches {
		f.wait()
	}
}

// mayHedge spends from the budget of hedges.
func (a *Array) mayHedge() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hedges < 1 {
		return false
	}
	a.hedges--
	return true
}

// suspect takes note of the nodes of a read that is hedged. Those that are
// hopeless, or late again and again, come under suspicion: until their next
// heartbeat they are not asked first, so that a frozen node costs a few hedges
// and not one for each read.
func (a *Array) suspect(late []*fetch, hopeless bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hedged++
	for _, f := range late {
		f.lates++
		f.suspect = f.suspect || hopeless || f.lates >= suspectAfter
	}
}

const (
	// strainOver is how many heartbeats a node's strain is taken over, half a
	// second of them; a slow node's take longer.
	strainOver = 5

	// slowStrain is when a node counts as slow. A read that is late happens to
	// any card; a slow one is suspected again after each heartbeat.
	slowStrain = 0.5
)

// strainLocked takes note, at an answered heartbeat, of whether the node was
// under suspicion.
func (p *peer) strainLocked() {
	suspect := 0.0
	if p.suspect {
		suspect = 1
	}
	p.strain += (suspect - p.strain) / strainOver
}

func (p *peer) slowLocked() bool { return p.up && p.strain > slowStrain }

// hedge is a second reading of spans, into buffers of its own.
type hedge struct {
	copies map[*span]*span // by the span that it stands for
	cancel context.CancelFunc
	done   chan error
}

// hedge begins to decode the spans that late fetches serve.
func (a *Array) hedge(ctx context.Context, spans []*span, late []*fetch) *hedge {
	blocks := map[uint64]bool{}
	for _, f := range late {
		for _, p := range f.parts {
			blocks[p.block] = true
		}
	}
	h := &hedge{copies: map[*span]*span{}, done: make(chan error, 1)}
	ctx, h.cancel = context.WithCancel(inRound(ctx, byHedge))
	var list []*span
	for _, s := range spans {
		if blocks[s.block] {
			c := a.newSpan(s.block, s.lo, make([]byte, len(s.dst)))
			c.under = s.under
			h.copies[s] = c
			list = append(list, c)
		}
	}
	a.tasks.Go(func() { h.done <- a.decodeAll(ctx, list) })
	return h
}

// deliver copies what was decoded to where it was wanted.
func (h *hedge) deliver() map[*span]bool {
	decoded := map[*span]bool{}
	for s, c := range h.copies {
		copy(s.dst, c.dst)
		s.version = c.version
		decoded[s] = true
	}
	return decoded
}
