package stripe

import (
	"errors"
	"math/bits"
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
//	all copies that count acknowledged: the client's reply
//	all synced, and all older versions settled: W passes it
type ledger struct {
	width       int // k+m
	chunkSize   int
	writeQuorum int // chunks that a version needs before it is replied to or settled
	place       *cluster.Placement
	members     []cluster.Member // of the durable superblock
	soon        []cluster.Member // the same, with the nodes that follow taken for in
	nodes       []node           // by index in the superblock

	watermark chunk.Version // W: every version up to it is settled
	replied   chunk.Version // the newest whose holders all have it
	writes    []*write      // above W, oldest first
	latest    map[uint64]*write
	strewn    map[uint64]bool // settled blocks of which a spare was sent what it need not keep
	bytes     int64           // of memory in writes
	patches   int             // how many of writes are patches
	awaited   int             // how many of writes are not replied to
}

// node is the ledger's account of one node.
type node struct {
	instance chunk.InstanceID // the start of the node whose word counts
	queue    []item           // to be sent, oldest first
	unsynced []item           // acknowledged by instance, not known to be synced
	free     uint64           // bytes for new data, as last reported
	pending  uint64           // bytes queued or under way, which free does not know of
	loose    int              // copies queued or under way that were to count for nothing
	mark     chunk.Version    // the newest W that the node has synced
	follow   follow
}

// follow says how a node that is out takes part in new writes.
type follow uint8

const (
	apart     follow = iota // not at all
	following               // it is being resynced: it gets its chunks, which do not count
	closing                 // the resync ends: from now on they count beside those of its spares
	joining                 // all that it was sent is synced: it is about to be in
)

// room returns how many bytes of new data the node can take.
func (n *node) room() uint64 {
	if n.free < n.pending {
		return 0
	}
	return n.free - n.pending
}

// write is one version: frozen content, and where its copies stand.
type write struct {
	version chunk.Version
	block   uint64
	payload
	older   *write // of a patch or swap: what it changes, as long as that is not settled
	newer   *write // the next version of the block, if any
	holders []int8 // by chunk index, cluster.NoHolder where there is none
	soon    []int8 // likewise, if the nodes that follow were in
	copies  []*copied
	replied chan struct{} // closed when every copy that counts was acknowledged, or one in its stead

	standIns []*copied // on spares, where the reply was late
	strewn   bool      // it had some
	rebuilt  bool      // it is a swap that was given up, or may be
}

// copied is one chunk of a write on one node.
type copied struct {
	index    uint8
	counts   bool // for the reply and for W
	urgent   bool // may use the card's reserve: it was refused for want of space
	gone     bool // the node is no holder any more
	patch    bool // may be sent as a patch; otherwise as a whole chunk
	loose    bool // did not count when it was queued
	standIn  bool // wanted only as long as the holder has not acknowledged it
	node     int8
	state    copyState
	instance chunk.InstanceID // that acknowledged it
	swapOf   chunk.InstanceID // that is to get it as a swap; zero: none
}

type copyState uint8

const (
	queued copyState = iota
	acknowledged
	synced
)

// item is a copy on its way.
type item struct {
	*write
	*copied
}

func newLedger(sb *cluster.Superblock, place *cluster.Placement, watermark chunk.Version) *ledger {
	return &ledger{
		width: sb.Geometry.Width(), chunkSize: sb.Geometry.ChunkSize(), writeQuorum: sb.WriteQuorum(), place: place,
		members: sb.Nodes, soon: sb.Nodes, nodes: make([]node, len(sb.Nodes)),
		watermark: watermark, latest: map[uint64]*write{}, strewn: map[uint64]bool{},
	}
}

// setSuperblock takes note of who is in, and places anew what must be.
func (l *ledger) setSuperblock(sb *cluster.Superblock) {
	l.members, l.writeQuorum = sb.Nodes, sb.WriteQuorum()
	l.lookAhead()
	l.arrangeAll()
}

// lookAhead takes note of who would be in if the nodes that follow were.
func (l *ledger) lookAhead() {
	l.soon = l.members
	for n := range l.nodes {
		if l.nodes[n].follow != apart && l.members[n].State != cluster.In {
			l.soon = slices.Clone(l.soon)
			l.soon[n].State = cluster.In
		}
	}
}

// setFollow changes how a node takes part.
func (l *ledger) setFollow(n int, f follow) {
	l.nodes[n].follow = f
	l.lookAhead()
	l.arrangeAll()
	if f == apart {
		l.dropQueued(n)
	}
}

func (l *ledger) arrangeAll() {
	for _, w := range l.writes {
		l.arrange(w)
	}
	for n := range l.nodes {
		l.dropGone(n)
	}
}

// dropGone forgets what is queued for a node and not wanted there any more, so
// that the queue of a node that is away holds no memory.
func (l *ledger) dropGone(n int) {
	l.nodes[n].queue = slices.DeleteFunc(l.nodes[n].queue, func(it item) bool {
		if it.gone {
			l.left(it)
		}
		return it.gone
	})
}

// interrupt ends the following of a node that cannot be relied on to have all
// that it was sent.
func (l *ledger) interrupt(n int) {
	if f := l.nodes[n].follow; f == following || f == closing {
		l.setFollow(n, apart)
	}
}

// dropQueued forgets also the copies of versions that W has passed, which a
// node that follows was to get.
func (l *ledger) dropQueued(n int) {
	for _, it := range l.nodes[n].queue {
		it.gone = it.gone || !it.counts
	}
	l.dropGone(n)
}

// add enters a new version and queues its chunks. Versions come in order.
func (l *ledger) add(v chunk.Version, block uint64, c payload) *write {
	w := &write{
		version: v, block: block, payload: c,
		holders: noHolders(l.width), soon: noHolders(l.width), replied: make(chan struct{}),
	}
	if before := l.latest[block]; before != nil {
		before.newer = w
		if c.patched != nil || c.swap != nil {
			w.older = before
		}
	}
	if c.patched != nil {
		l.patches++
	}
	l.writes = append(l.writes, w)
	l.latest[block] = w
	l.bytes += w.memory()
	l.awaited++
	l.arrange(w)
	l.choosePatches(w)
	l.chooseSwap(w)
	return w
}

func noHolders(width int) []int8 {
	h := make([]int8, width)
	for i := range h {
		h[i] = cluster.NoHolder
	}
	return h
}

// arrange gives w the copies that it should have: one on each holder, and one on
// each that would be one if the nodes that follow were in. What stands already
// stays as it is.
func (l *ledger) arrange(w *write) {
	placed := l.place.Place(w.block)
	cluster.Holders(w.holders, placed, l.members)
	copy(w.soon, w.holders)
	cluster.Holders(w.soon, placed, l.soon)
	former := slices.Concat(w.copies, w.standIns)
	w.standIns = nil // one of another arrangement may stand where a holder is now
	w.copies = make([]*copied, 0, max(len(former), l.width))
	for i, holder := range w.holders {
		if holder != cluster.NoHolder {
			l.copyTo(w, former, uint8(i), holder, true)
		}
		// next may also be a spare that is in, which stands in for a home that
		// follows: W must not pass what such a node is still to get.
		if next := w.soon[i]; next != holder {
			in := l.members[next].State == cluster.In
			l.copyTo(w, former, uint8(i), next, in || l.nodes[next].follow >= closing)
		}
	}
	for _, c := range former {
		c.gone = !slices.Contains(w.copies, c)
	}
	l.maybeReply(w)
}

func (l *ledger) copyTo(w *write, former []*copied, index uint8, n int8, counts bool) {
	for _, c := range former {
		if c.index == index && c.node == n {
			c.counts, c.standIn = counts, false
			w.copies = append(w.copies, c)
			return
		}
	}
	c := &copied{index: index, node: n, counts: counts}
	w.copies = append(w.copies, c)
	if w.known() {
		l.enqueue(item{w, c})
	}
}

func (l *ledger) enqueue(it item) {
	n := &l.nodes[it.node]
	n.queue = append(n.queue, it)
	n.pending += uint64(l.size(it))
	if it.loose = !it.counts; it.loose {
		n.loose++
	}
}

// left takes a copy that was queued out of its node's account.
func (l *ledger) left(it item) {
	n := &l.nodes[it.node]
	n.pending -= uint64(l.size(it))
	if it.loose {
		n.loose--
	}
}

// size is what a copy takes on its card.
func (l *ledger) size(it item) int {
	if it.tombstone() {
		return 0
	}
	return l.chunkSize
}

// held counts the chunks of w that have a holder.
func (w *write) held() (n int) {
	for _, h := range w.holders {
		if h != cluster.NoHolder {
			n++
		}
	}
	return n
}

// reached reports whether all copies that count have come as far as state, and
// with them enough chunks. For that number a copy is as good on a node that
// follows: there it tells nothing of what is current, but lasts.
func (w *write) reached(state copyState, quorum int) bool {
	for _, c := range w.copies {
		if c.counts && c.state < state {
			return false
		}
	}
	return bits.OnesCount32(w.indexes(state)) >= quorum
}

// indexes returns, as a set of bits, the chunks that have come as far as state.
func (w *write) indexes(state copyState) (set uint32) {
	for _, c := range w.copies {
		if c.state >= state {
			set |= 1 << c.index
		}
	}
	return set
}

func (l *ledger) maybeReply(w *write) {
	if w.isReplied() || !w.stands(l.writeQuorum) {
		return
	}
	l.replied = max(l.replied, w.version)
	l.awaited--
	close(w.replied)
}

// isReplied reports whether all holders have had the version, or others in their
// stead: only then does it outlive the gateway, and may be shown to anybody.
func (w *write) isReplied() bool {
	select {
	case <-w.replied:
		return true
	default:
		return false
	}
}

// whole reports whether every version that was replied to is, for all that is
// known, still on all its holders, or on others in their stead.
func (l *ledger) whole() bool {
	return !slices.ContainsFunc(l.writes, func(w *write) bool {
		return w.isReplied() && !w.stands(l.writeQuorum)
	})
}

// requeue puts back what could not be sent, or was refused.
func (l *ledger) requeue(n int, batch []item) {
	l.nodes[n].queue = append(l.sendable(batch), l.nodes[n].queue...)
}

// refused returns the chunks of a batch that the node did not take. A version
// that was sent is never abandoned, so those that found no space are sent
// again with leave to use the reserve; writes are admitted so that this is
// rare.
func (l *ledger) refused(batch []item, errs []error) (list []item) {
	for i, err := range errs {
		if err != nil && batch[i].standIn {
			batch[i].gone = true // the holder will do
		}
		if err == nil || batch[i].gone {
			continue
		}
		batch[i].urgent = errors.Is(err, chunk.ErrNoSpace)
		batch[i].patch, batch[i].swapOf = false, chunk.InstanceID{}
		list = append(list, batch[i])
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
		l.left(it)
		if it.gone || it.state != queued {
			continue
		}
		it.state, it.instance, it.swapOf = acknowledged, instance, chunk.InstanceID{}
		l.nodes[n].unsynced = append(l.nodes[n].unsynced, it)
		l.maybeReply(it.write)
	}
}

// takeUnsynced hands out what a Sync that begins now will cover: all of it is
// acknowledged by the instance that the node is known by.
func (l *ledger) takeUnsynced(n int) []item {
	list := l.nodes[n].unsynced
	l.nodes[n].unsynced = nil
	return list
}

// synced notes that instance of node n, which acknowledged these chunks before
// the Sync began, has made them durable, and the watermark that it was told.
func (l *ledger) synced(n int, list []item, instance chunk.InstanceID, told chunk.Version) {
	l.nodes[n].mark = max(l.nodes[n].mark, told)
	for _, it := range list {
		if it.holds(instance) {
			it.state = synced
		}
	}
	l.nodes[n].unsynced = slices.DeleteFunc(l.nodes[n].unsynced, func(it item) bool { return it.state == synced })
}

// unsync puts back what a failed Sync was to cover, but for what the node has
// lost since by a restart: that is queued again.
func (l *ledger) unsync(n int, list []item) {
	list = slices.DeleteFunc(list, func(it item) bool { return !it.holds(l.nodes[n].instance) })
	l.nodes[n].unsynced = append(list, l.nodes[n].unsynced...)
}

// holds reports whether instance has the copy, in its memory.
func (it item) holds(instance chunk.InstanceID) bool {
	return !it.gone && it.state == acknowledged && it.instance == instance
}

// restarted notes that node n is now known by another instance: what an older
// one acknowledged and did not sync is queued again (design, section 7). A
// node that followed may have lost what W has passed already: its resync
// begins anew.
func (l *ledger) restarted(n int, instance chunk.InstanceID) {
	if l.nodes[n].instance == instance {
		return
	}
	l.nodes[n].instance = instance
	l.nodes[n].unsynced = nil
	l.interrupt(n)
	for _, w := range l.writes {
		for _, c := range slices.Concat(w.copies, w.standIns) {
			if c.node == int8(n) && c.state == acknowledged {
				c.state = queued
				l.enqueue(item{w, c})
			}
		}
	}
}

// settle moves W past all versions that it may pass, and reports whether it
// moved: every chunk of them is synced on its holder, by the instance that
// acknowledged it.
func (l *ledger) settle() bool {
	n := 0
	for n < len(l.writes) && l.writes[n].reached(synced, l.writeQuorum) {
		w := l.writes[n]
		l.watermark = w.version
		l.bytes -= w.memory()
		if w.patched != nil {
			l.patches--
		}
		if w.newer != nil {
			w.newer.older = nil // the nodes have it now
		}
		if l.latest[w.block] == w {
			delete(l.latest, w.block)
		}
		l.dismiss(w)
		n++
	}
	clear(l.writes[:n])
	l.writes = l.writes[n:]
	return n > 0
}
