package stripe

import (
	"errors"
	"slices"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// ledger is the account of all versions above W. It has no effects and no
// lock: Array.mu guards it. A version goes through it so:
//
//	add ──> queued ──send──> acknowledged ──Sync──> synced      each copy
//	           ^                 │
//	           └── the node restarted, or another holder is needed
//
//	all copies acknowledged: the client's reply
//	all copies synced, and all older versions settled: W passes it
type ledger struct {
	nodes       []node // by index in the superblock
	members     []cluster.Member
	writeQuorum int

	watermark chunk.Version // W: every version up to it is settled
	writes    []*write      // above W, oldest first
	latest    map[uint64]*write
	bytes     int64 // payload in writes
}

// node is the ledger's account of one node.
type node struct {
	instance chunk.InstanceID // the start of the node whose word counts
	queue    []item           // to be sent, oldest first
	unsynced []item           // acknowledged by instance, not known to be synced
	free     uint64           // bytes for new data, as last reported
	pending  uint64           // bytes queued or under way, which free does not know of
	mark     chunk.Version    // the newest W that the node has synced
}

// room returns how many bytes of new data the node can take.
func (n *node) room() uint64 {
	if n.free < n.pending {
		return 0
	}
	return n.free - n.pending
}

// write is one version: frozen content, and where its copies stand.
type write struct {
	version  chunk.Version
	block    uint64
	chunks   [][]byte // by chunk index; nil for a tombstone; never changed
	holders  []int8   // by chunk index, cluster.NoHolder where there is none
	copies   []copied // by chunk index, of the holder
	waiting  int      // holders that have not acknowledged
	unsynced int      // holders that have not synced
	replied  chan struct{}
}

// copied is the state of one chunk on its holder.
type copied struct {
	state    copyState
	urgent   bool             // may use the card's reserve: it was refused for want of space
	instance chunk.InstanceID // that acknowledged it
}

type copyState uint8

const (
	queued copyState = iota
	acknowledged
	synced
)

// item is one chunk of one version, on its way to the node that holds it.
type item struct {
	*write
	index uint8
}

func (it item) op() chunk.Op {
	op := chunk.Op{
		Kind: chunk.OpTombstone, Block: it.block, Index: it.index, Version: it.version,
		Repair: it.copies[it.index].urgent,
	}
	if it.chunks != nil {
		op.Kind, op.Data = chunk.OpPut, it.chunks[it.index]
	}
	return op
}

func (it item) size() int {
	if it.chunks == nil {
		return 0
	}
	return len(it.chunks[it.index])
}

func newLedger(sb *cluster.Superblock, watermark chunk.Version) *ledger {
	l := &ledger{
		nodes:     make([]node, len(sb.Nodes)),
		watermark: watermark,
		latest:    map[uint64]*write{},
	}
	l.setSuperblock(sb)
	return l
}

func (l *ledger) setSuperblock(sb *cluster.Superblock) {
	l.members, l.writeQuorum = sb.Nodes, sb.WriteQuorum()
}

// add enters a new version and queues its chunks. Versions come in order.
func (l *ledger) add(v chunk.Version, block uint64, chunks [][]byte, placed []uint8, width int) *write {
	w := &write{
		version: v, block: block, chunks: chunks,
		holders: make([]int8, width), copies: make([]copied, width),
		replied: make(chan struct{}),
	}
	for i := range w.holders {
		w.holders[i] = cluster.NoHolder
	}
	l.writes = append(l.writes, w)
	l.latest[block] = w
	l.bytes += w.bytes()
	l.place(w, placed)
	return w
}

func (w *write) bytes() (n int64) {
	for _, c := range w.chunks {
		n += int64(len(c))
	}
	return n
}

// place gives w the holders that it lacks, and queues their chunks.
func (l *ledger) place(w *write, placed []uint8) {
	before := slices.Clone(w.holders)
	cluster.Holders(w.holders, placed, l.members)
	for i, n := range w.holders {
		old := before[i]
		if old == n {
			continue
		}
		l.forget(w, i, old)
		if n != cluster.NoHolder {
			w.copies[i] = copied{}
			w.waiting++
			w.unsynced++
			l.enqueue(item{w, uint8(i)})
		}
	}
	w.maybeReply(l.writeQuorum)
}

// forget takes the former holder of chunk i out of w's counts.
func (l *ledger) forget(w *write, i int, old int8) {
	if old == cluster.NoHolder {
		return
	}
	if w.copies[i].state == queued {
		w.waiting--
	}
	if w.copies[i].state != synced {
		w.unsynced--
	}
}

func (l *ledger) enqueue(it item) {
	n := &l.nodes[it.holders[it.index]]
	n.queue = append(n.queue, it)
	n.pending += uint64(it.size())
}

// placedCopies counts the chunks of w that have a holder.
func (w *write) placedCopies() (n int) {
	for _, h := range w.holders {
		if h != cluster.NoHolder {
			n++
		}
	}
	return n
}

func (w *write) maybeReply(quorum int) {
	if w.waiting > 0 || w.placedCopies() < quorum {
		return
	}
	select {
	case <-w.replied:
	default:
		close(w.replied)
	}
}

// take removes and returns the next batch for a node, within the contract's
// limits. Chunks that have another holder by now are left out.
func (l *ledger) take(n int, maxOps, maxBytes int) []item {
	queue := l.nodes[n].queue
	var batch []item
	size, used := 0, 0
	for _, it := range queue {
		if len(batch) == maxOps || len(batch) > 0 && size+it.size() > maxBytes {
			break
		}
		used++
		if !l.awaits(it, n) {
			l.nodes[n].pending -= uint64(it.size())
			continue
		}
		batch = append(batch, it)
		size += it.size()
	}
	clear(queue[:used])
	l.nodes[n].queue = queue[used:]
	return batch
}

// awaits reports whether node n must still acknowledge it.
func (l *ledger) awaits(it item, n int) bool {
	return it.holders[it.index] == int8(n) && it.copies[it.index].state == queued
}

// requeue puts back what could not be sent, or was refused.
func (l *ledger) requeue(n int, batch []item) {
	l.nodes[n].queue = append(batch, l.nodes[n].queue...)
}

// refused returns the chunks of a batch that the node did not take. A version
// that was sent is never abandoned, so those that found no space are sent
// again with leave to use the reserve; writes are admitted so that this is
// rare.
func (l *ledger) refused(batch []item, errs []error) (list []item) {
	for i, err := range errs {
		if err == nil {
			continue
		}
		it := batch[i]
		it.copies[it.index].urgent = errors.Is(err, chunk.ErrNoSpace)
		list = append(list, it)
	}
	return list
}

// acknowledge notes that instance of node n has these chunks in memory. An
// instance other than the one the node is known by says nothing about what the
// node has now: then the chunks are queued again.
func (l *ledger) acknowledge(n int, batch []item, instance chunk.InstanceID) {
	if instance != l.nodes[n].instance {
		l.requeue(n, batch)
		return
	}
	for _, it := range batch {
		l.nodes[n].pending -= uint64(it.size())
		if !l.awaits(it, n) {
			continue
		}
		it.copies[it.index] = copied{state: acknowledged, instance: instance}
		it.waiting--
		l.nodes[n].unsynced = append(l.nodes[n].unsynced, it)
		it.maybeReply(l.writeQuorum)
	}
}

// takeUnsynced hands out what a Sync that begins now will cover.
func (l *ledger) takeUnsynced(n int) []item {
	list := l.nodes[n].unsynced
	l.nodes[n].unsynced = nil
	return list
}

// sync notes that instance of node n has made these chunks, and the watermark
// that it was told, durable. Chunks that another instance acknowledged are
// still not known to be there.
func (l *ledger) sync(n int, list []item, instance chunk.InstanceID, told chunk.Version) {
	l.nodes[n].mark = max(l.nodes[n].mark, told)
	for _, it := range list {
		c := &it.copies[it.index]
		if it.holders[it.index] != int8(n) || c.state != acknowledged {
			continue
		}
		if c.instance != instance {
			l.nodes[n].unsynced = append(l.nodes[n].unsynced, it)
			continue
		}
		c.state = synced
		it.unsynced--
	}
}

// unsync puts back what a failed Sync was to cover.
func (l *ledger) unsync(n int, list []item) {
	l.nodes[n].unsynced = append(list, l.nodes[n].unsynced...)
}

// restarted notes that node n is now known by another instance: what an older
// one acknowledged and did not sync is queued again (design, section 7).
func (l *ledger) restarted(n int, instance chunk.InstanceID) {
	l.nodes[n].instance = instance
	for _, w := range l.writes {
		for i := range w.copies {
			c := &w.copies[i]
			if w.holders[i] != int8(n) || c.state != acknowledged || c.instance == instance {
				continue
			}
			*c = copied{}
			w.waiting++
			l.enqueue(item{w, uint8(i)})
		}
	}
	l.nodes[n].unsynced = nil
}

// replace places anew what stood on nodes that are no longer in.
func (l *ledger) replace(place *cluster.Placement) {
	for _, w := range l.writes {
		l.place(w, place.Place(w.block))
	}
}

// settle moves W past all versions that it may pass, and reports whether it
// moved.
func (l *ledger) settle() bool {
	n := 0
	for n < len(l.writes) && l.writes[n].settled(l.writeQuorum) {
		w := l.writes[n]
		l.watermark = w.version
		l.bytes -= w.bytes()
		if l.latest[w.block] == w {
			delete(l.latest, w.block)
		}
		n++
	}
	clear(l.writes[:n])
	l.writes = l.writes[n:]
	return n > 0
}

// settled reports whether every chunk of w is synced on its holder, by the
// instance that acknowledged it, and there are enough of them.
func (w *write) settled(quorum int) bool {
	return w.unsynced == 0 && w.placedCopies() >= quorum
}
