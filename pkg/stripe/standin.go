package stripe

import (
	"math/bits"
	"slices"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// A write that is late has the chunks that it still waits for sent to spares
// too, which stand in until it is settled: it is replied to when each chunk
// stands somewhere, on as many nodes as ever, so that the gateway's death undoes
// it no more than any other. W still waits for the holders. What the spares were
// sent nobody needs then, and repair drops it (Array.Strewn).
//
//	home   0 1 2 3 4 5        0 to 4 have acknowledged, 5 is late
//	spare            └─> 6    6 has chunk 5 too: that makes six
//
// The next change of the block is written whole, for home 5 may lack its base.

const (
	// stuckTimes is how much longer than those of the others a node's batch must
	// take for its writes to get stand-ins: where all are slow there is much to
	// do, and stand-ins would make it more.
	stuckTimes = 3

	// maxStrewn bounds the blocks of which spares hold what nobody needs.
	maxStrewn = 1024
)

// awaitHolders waits until the write is replied to, and finds stand-ins where
// that takes unusually long.
func (a *Array) awaitHolders(w *write, stop <-chan struct{}) (replied bool) {
	begin := time.Now()
	late := time.NewTimer(a.lateWrite())
	defer late.Stop()
	for {
		select {
		case <-w.replied:
			a.timedWrite(time.Since(begin))
			return true
		case <-stop:
			a.giveUpSwap(w)
			return false
		case <-a.life.Done():
			return false
		case <-late.C:
			late.Reset(a.standIn(w))
		}
	}
}

// lateWrite returns how long to wait for a write before it counts as late. That is
// learnt from all writes, so that what happens often is not late for long: a tenth
// of them may be, and of every fourth only the first few.
func (a *Array) lateWrite() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.writing.late()
}

func (a *Array) timedWrite(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writing.observe(d)
}

// standIn finds stand-ins for the holders that a write still waits for, if these
// are stuck. It returns when to look again.
func (a *Array) standIn(w *write) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	again := a.writing.late()
	if !w.known() {
		a.hastenSwapLocked(w)
		return again
	}
	flushed := w.version <= a.prompt // what waits for the holders in any case
	if a.recovering || flushed || w.standIns != nil || len(a.ledger.strewn) >= maxStrewn {
		return again
	}
	missing, now := w.missing(), a.uptime()
	stuck := a.stuckAgeLocked(now)
	onTime := func(c *copied) bool { return a.peers[c.node].writes.Oldest(now) < stuck }
	if slices.ContainsFunc(missing, onTime) {
		return again
	}
	for _, c := range missing {
		poke(a.peers[c.node].work)
		if n := a.freeSpareLocked(w); n != cluster.NoHolder {
			a.ledger.standIn(w, c.index, n)
			poke(a.peers[n].work)
		}
	}
	return again
}

// stuckAgeLocked returns for how long a batch must be under way for its node to
// count as stuck; so no more are than may be lost.
func (a *Array) stuckAgeLocked(now time.Duration) time.Duration {
	ages := make([]time.Duration, 0, chunk.MaxNodes)
	for _, p := range a.peers {
		ages = append(ages, p.writes.Oldest(now))
	}
	slices.Sort(ages)
	return max(a.writing.late(), stuckTimes*ages[len(ages)-1-a.geo.Parity])
}

// isStuckLocked reports whether what is under way takes so long that nothing
// should wait for it.
func (p *peer) isStuckLocked() bool {
	now := p.array.uptime()
	return p.writes.Oldest(now) >= p.array.stuckAgeLocked(now)
}

// freeSpareLocked returns a node that has, and will have, no chunk of the
// version, and room for one; NoHolder if there is none.
func (a *Array) freeSpareLocked(w *write) int8 {
	for _, n := range a.place.Place(w.block) {
		well := a.sb.Nodes[n].State == cluster.In && a.peers[n].up && !a.peers[n].suspect
		if well && !w.uses(int8(n)) && a.ledger.nodes[n].room() >= uint64(a.geo.ChunkSize()+recordOverhead) {
			return int8(n)
		}
	}
	return cluster.NoHolder
}

// standIn has a spare get a chunk of w until the holder has it. It counts for
// nothing but the reply.
func (l *ledger) standIn(w *write, index uint8, n int8) {
	c := &copied{index: index, node: n, standIn: true}
	w.standIns, w.strewn = append(w.standIns, c), true
	l.enqueue(item{w, c})
}

// dismiss ends the duty of the stand-ins of a version that is settled.
func (l *ledger) dismiss(w *write) {
	for _, c := range w.standIns {
		c.gone = true
	}
	if w.strewn {
		l.strewn[w.block] = true
	}
}

// missing returns the copies that the reply waits for.
func (w *write) missing() (list []*copied) {
	for _, c := range w.copies {
		if c.counts && c.state == queued {
			list = append(list, c)
		}
	}
	return list
}

// uses reports whether the node has, or is to get, a chunk of the version.
func (w *write) uses(n int8) bool {
	for _, list := range [][]*copied{w.copies, w.standIns} {
		for _, c := range list {
			if c.node == n {
				return true
			}
		}
	}
	return false
}

// stands reports whether each chunk that counts is acknowledged, by its holder or
// by one that stands in for it, and they are enough.
func (w *write) stands(quorum int) bool {
	if reached := w.reached(acknowledged, quorum); reached || len(w.standIns) == 0 {
		return reached
	}
	var stood uint32
	for _, c := range w.standIns {
		if c.state >= acknowledged {
			stood |= 1 << c.index
		}
	}
	for _, c := range w.missing() {
		if stood&(1<<c.index) == 0 {
			return false
		}
	}
	return bits.OnesCount32(stood|w.indexes(acknowledged)) >= quorum
}

// Strewn returns blocks of which spares may hold chunks that nobody needs any
// more, and forgets them: the caller sees to it that they are healed.
func (a *Array) Strewn() (blocks []uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for b := range a.ledger.strewn {
		blocks = append(blocks, b)
	}
	clear(a.ledger.strewn)
	return blocks
}
