package cluster

import (
	"cmp"
	"math"
	"slices"
	"time"
)

const (
	// slowTimes is how many times as long as the others a straggler takes: so
	// many that it costs more than the absence of its card. Cards of different
	// makes differ by less.
	slowTimes = 6

	// slowAtLeast is what a request takes a straggler at least. Below, no card is
	// what clients wait for.
	slowAtLeast = 5 * time.Millisecond

	// paceLeast and paceOver are how many requests a pace is known after, and
	// taken over.
	paceLeast = 8
	paceOver  = 16

	// overdue is when a request under way counts as if it had ended. Before, it
	// may be one of the few that are late on any card.
	overdue = 500 * time.Millisecond

	// slowEvery is how often Straggler judges: some twenty times before it
	// declares anything.
	slowEvery = 100 * time.Millisecond
)

// Pace is how long a node takes for one kind of request, by those under way and
// by the latest that have ended. It is their geometric mean: a tenth of them
// that take fifty times as long make it half as much again, no more. The zero
// value knows of none.
type Pace struct {
	underWay []*Request // oldest first
	chunks   int        // in underWay
	count    int        // how many have ended, up to paceOver
	mean     measures
	ended    time.Duration // of the newest request that has ended
}

// Request is one that is under way.
type Request struct {
	began  time.Duration
	chunks int // its own
	ahead  int // those that the node had yet to write when it began
}

// measures are the logarithms of the time that a request takes, of its share by
// chunks that were ahead of it, and by these and its own. A node does one chunk
// after the other: so a request takes longer on a node that has a long queue, a
// chunk takes longer on a node that has little to do, and a sync may or may not
// take longer the more it covers.
type measures [3]float64

func (r *Request) measure(now time.Duration) measures {
	d := float64(max(now-r.began, 1))
	return measures{
		math.Log2(d), math.Log2(d / float64(r.ahead+1)), math.Log2(d / float64(max(r.ahead+r.chunks, 1))),
	}
}

// Begin takes note of a request that is sent, of so many chunks, while the node
// has yet to write those ahead.
func (p *Pace) Begin(now time.Duration, chunks, ahead int) *Request {
	p.chunks += chunks
	r := &Request{now, chunks, ahead}
	p.underWay = append(p.underWay, r)
	return r
}

// Chunks returns how many are under way.
func (p *Pace) Chunks() int { return p.chunks }

// Oldest returns for how long the oldest request is under way, 0 for none.
func (p *Pace) Oldest(now time.Duration) time.Duration {
	if len(p.underWay) == 0 {
		return 0
	}
	return now - p.underWay[0].began
}

// End takes note that it has ended. One that failed says nothing of the pace.
func (p *Pace) End(now time.Duration, r *Request, well bool) {
	i := slices.Index(p.underWay, r)
	if i < 0 {
		return // from before the pace was forgotten
	}
	p.underWay = slices.Delete(p.underWay, i, i+1)
	p.chunks -= r.chunks
	if !well {
		return
	}
	p.count = min(p.count+1, paceOver)
	for i, m := range r.measure(now) {
		p.mean[i] += (m - p.mean[i]) / float64(p.count)
	}
	p.ended = now
}

// measure returns the pace. The oldest request under way counts once it takes
// unusually long.
func (p *Pace) measure(now time.Duration) (m measures) {
	if p.known() {
		m = p.mean
	}
	if p.Oldest(now) > overdue {
		for i, one := range p.underWay[0].measure(now) {
			m[i] = max(m[i], one)
		}
	}
	return m
}

func (p *Pace) known() bool { return p.count >= paceLeast }

// Work is what a node does for clients.
type Work struct {
	Up            bool // it answers
	Awaited       bool // clients wait for it: it is in, or about to be
	Writes, Syncs *Pace
}

// Straggler finds nodes that answer and yet take so long for what clients write
// that they hold up all. Like Detector it is pure.
type Straggler struct {
	// For is how long a node must have held them up, more of late than it did
	// not. A card that erases may keep everybody waiting for a second.
	For time.Duration

	checked time.Duration
	held    map[int]time.Duration // by node that is slow
}

// Check returns a node to declare out, and how many times as long as the others
// it takes; -1 where there is none. It never says so of more than one at once,
// of nobody while too few nodes answer or to compare with, and nothing that
// leaves fewer nodes in than a stripe has: speed is no reason to give up
// protection. Where it was not called for a while, this process has stood still,
// and what took long then proves nothing.
func (s *Straggler) Check(now time.Duration, sb *Superblock, works []Work) (node int, times float64) {
	passed := now - s.checked
	if s.held != nil && passed < slowEvery {
		return -1, 0
	}
	since := s.checked
	s.checked = now
	if s.held == nil || passed > s.For/4 || !enoughAnswer(sb, works) {
		s.held = map[int]time.Duration{}
		return -1, 0
	}
	node = -1
	for n := range works {
		slow := slowness(now, works, n)
		if slow < slowTimes || !works[n].busy(since) {
			s.held[n] = max(0, s.held[n]-passed)
			continue
		}
		s.held[n] += passed
		if s.held[n] > s.For && slow > times && sb.maySpare(n) {
			node, times = n, slow
		}
	}
	delete(s.held, node)
	return node, times
}

// maySpare reports whether a node may go out for being slow. One that is about
// to be in is only kept from it.
func (s *Superblock) maySpare(n int) bool {
	return s.Nodes[n].State == Out ||
		s.Nodes[n].State == In && s.CountIn()-1 >= max(s.Geometry.Width(), s.MinIn())
}

func enoughAnswer(sb *Superblock, works []Work) bool {
	answer := 0
	for n, w := range works {
		if w.Up && sb.Nodes[n].State != Lost {
			answer++
		}
	}
	return answer >= sb.Quorum()
}

// busy reports whether it has had anything to do since then.
func (w Work) busy(since time.Duration) bool {
	return len(w.Writes.underWay)+len(w.Syncs.underWay) > 0 || max(w.Writes.ended, w.Syncs.ended) > since
}

// slowness returns how many times as long as the others a node takes for
// writes, or for syncs, whichever is more; 0 where nobody waits for it.
func slowness(now time.Duration, works []Work, n int) float64 {
	if !works[n].Up || !works[n].Awaited {
		return 0
	}
	writes := func(w Work) *Pace { return w.Writes }
	syncs := func(w Work) *Pace { return w.Syncs }
	return max(slower(now, works, n, writes), slower(now, works, n, syncs))
}

// slower compares a node's pace with the median of the others'. It takes longer
// only if it does so by each measure.
func slower(now time.Duration, works []Work, n int, of func(Work) *Pace) float64 {
	var others []measures
	for i, w := range works {
		if p := of(w); i != n && w.Up && w.Awaited && p.known() {
			others = append(others, p.measure(now))
		}
	}
	own := of(works[n]).measure(now)
	if len(others) < paceOthers || own[0] < math.Log2(float64(slowAtLeast)) {
		return 0
	}
	least := math.Inf(1)
	for i := range own {
		slices.SortFunc(others, func(a, b measures) int { return cmp.Compare(a[i], b[i]) })
		least = min(least, own[i]-others[len(others)/2][i])
	}
	return math.Exp2(least)
}

// paceOthers is how many others there must be to compare with: fewer may be the
// odd ones themselves.
const paceOthers = 3
