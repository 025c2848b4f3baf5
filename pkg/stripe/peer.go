package stripe

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// writePatience and syncPatience bound a batch and a sync, in node timeouts: a
// card that is busy with erasing answers heartbeats at once, and these late.
const (
	writePatience = 5
	syncPatience  = 10
)

// peer drives one node with three goroutines: one asks whether the term
// stands, one sends what is queued, one syncs what was acknowledged.
type peer struct {
	Node
	array *Array
	n     int // index in the superblock

	work  chan struct{} // of 1: the queue, or up, may have changed
	dirty chan struct{} // of 1: there may be something to sync
	doubt chan struct{} // of 1: ask at once whether the node is there

	// Guarded by array.mu:
	up       bool            // the last heartbeat was answered, by a card that may be used
	reach    context.Context // ends when the node fails; another when it answers again
	lose     context.CancelFunc
	answered time.Duration // when the newest heartbeat was sent that was answered
	closed   bool          // the last heartbeat failed at once
	unfit    *unfit        // why the card cannot be used as it is; nil when it can
	blank    chunk.StoreID // a new card that takes over the node's id; zero: the recorded one
	trouble  string        // what was last logged of the node; empty when it is well
	latency  latency       // of its reads
	gave     time.Time     // when it last answered one
	lates    int           // reads of it that were late since one was in time
	suspect  bool          // reads of it were late, and no heartbeat was answered since
	strain   float64       // of the last heartbeats, the share before which a read was late
	writes   cluster.Pace  // how long it takes for what clients write
	syncs    cluster.Pace  // and to make that durable
	crawls   float64       // it went out for taking so many times as long as the others; else 0
	pursuits int           // changes of repair under way
	strays   int           // of these, what nobody waits for

	joined chunk.InstanceID // the start of the node that is joining
}

func newPeer(a *Array, n int, o *opening) *peer {
	p := &peer{array: a, n: n, Node: o.nodes[n],
		work: make(chan struct{}, 1), dirty: make(chan struct{}, 1), doubt: make(chan struct{}, 1)}
	p.reach, p.lose = context.WithCancel(a.life)
	if g, ok := o.grants[n]; ok && g.Store == o.sb.Nodes[n].Store {
		p.up, p.answered = true, o.granted
		a.ledger.nodes[n].instance = g.Instance
	}
	return p
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (p *peer) pokeSync() { poke(p.dirty) }

// votesLocked reports whether the node counts in a quorum: a member with its
// recorded card.
func (p *peer) votesLocked() bool {
	return p.up && p.blank == chunk.StoreID{} && p.array.sb.Nodes[p.n].State != cluster.Lost
}

func (p *peer) answers() bool {
	p.array.mu.Lock()
	defer p.array.mu.Unlock()
	return p.up
}

// list and read are requests on the node's background stream. They take no
// longer than a batch of a client's may.

func (p *peer) list(ctx context.Context, req chunk.ListRequest) ([]chunk.Entry, bool, error) {
	ctx, cancel := p.within(ctx, writePatience)
	defer cancel()
	return p.Background.List(ctx, p.term(), req)
}

func (p *peer) read(ctx context.Context, gets []chunk.Get) ([]chunk.Chunk, error) {
	ctx, cancel := p.within(ctx, writePatience)
	defer cancel()
	return p.Background.Read(ctx, p.term(), gets)
}

// within bounds a request by so many node timeouts, and by when a node that answers
// ceases to: a client may wait for the block that it is for.
func (p *peer) within(ctx context.Context, patience time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, patience*p.array.opts.NodeTimeout)
	p.array.mu.Lock()
	defer p.array.mu.Unlock()
	if !p.up {
		return ctx, cancel
	}
	stop := context.AfterFunc(p.reach, cancel)
	return ctx, func() { stop(); cancel() }
}

// term is the authority to show to this node, with the W that it may act on.
func (p *peer) term() chunk.Term {
	a := p.array
	a.mu.Lock()
	defer a.mu.Unlock()
	t := chunk.Term{Volume: a.volume, Epoch: a.epoch, Nonce: a.nonce, Watermark: a.ledger.watermark}
	if m := a.sb.Nodes[p.n]; m.State != cluster.In {
		t.Watermark = m.Since
	}
	return t
}

// beatLoop asks whether the term stands, beatEvery after each answer and when in doubt.
func (p *peer) beatLoop() {
	for {
		if err := p.beat(); err != nil {
			p.failed(err)
		}
		select {
		case <-time.After(beatEvery):
		case <-p.doubt:
		case <-p.array.life.Done():
			return
		}
	}
}

func (p *peer) beat() error {
	silent := fmt.Errorf("no answer within %v", p.array.opts.NodeTimeout)
	ctx, cancel := context.WithTimeoutCause(p.array.life, p.array.opts.NodeTimeout, silent)
	defer cancel()
	sent := p.array.opts.Clock()
	pulse, err := p.Store.Beat(ctx, p.term())
	if err == nil && pulse.Instance == p.instance() {
		p.alive(sent, pulse)
		return nil
	}
	if err != nil && !errors.Is(err, chunk.ErrNotGranted) {
		return fmt.Errorf("heartbeat: %w", err)
	}
	return p.meet(ctx)
}

func (p *peer) instance() chunk.InstanceID {
	p.array.mu.Lock()
	defer p.array.mu.Unlock()
	return p.array.ledger.nodes[p.n].instance
}

// alive takes note of an answered heartbeat.
func (p *peer) alive(sent time.Duration, pulse chunk.Pulse) {
	a := p.array
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ledger.nodes[p.n].free = pulse.FreeBytes
	p.up = true
	if p.trouble != "" {
		p.trouble = ""
		a.opts.Logger.Info("node answers", "volume", a.sb.Name, "node", p.ID)
	}
	p.strainLocked()
	p.answered, p.closed, p.suspect = sent, false, false
	if p.reach.Err() != nil {
		p.reach, p.lose = context.WithCancel(a.life)
	}
	a.renewLocked()
	poke(p.work)
	poke(p.dirty)
}

// meet gets to know a node that started, or that was away when the volume was
// opened: is it the recorded card, does it have what it had, and does it grant
// the term? The next heartbeat finds it known. A node that is out may also have
// a new card, which a resync will fill.
func (p *peer) meet(ctx context.Context) error {
	hello, err := p.Store.Hello(ctx)
	if err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	g, err := p.Store.Grant(ctx, p.array.volume, p.array.epoch, p.array.nonce)
	if err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	a := p.array
	cutOff, err := p.cutOff(hello, g)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.sb.Nodes[p.n]
	w := shown(g, m)
	p.unfit = p.examineLocked(m, hello.Store, w)
	if cutOff && p.unfit == nil {
		p.unfit = &unfit{has: w, why: fmt.Errorf("its log ends at W %s: %w", w, errBehind)}
	}
	if p.unfit != nil && m.State == cluster.In {
		return p.unfit.why // the detector declares it out
	}
	p.blank = chunk.StoreID{}
	if hello.Store != m.Store {
		p.blank = hello.Store
		a.ledger.nodes[p.n].mark = 0
	}
	a.ledger.restarted(p.n, g.Instance)
	return nil
}

// cutOff reports whether the recorded card, after a restart, lacks what it had.
func (p *peer) cutOff(hello chunk.Hello, g chunk.Granted) (bool, error) {
	m := p.array.superblock().Nodes[p.n]
	if hello.Store != m.Store || m.Behind || p.instance() == g.Instance {
		return false, nil
	}
	return p.array.lacks(p.array.life, p.n, shown(g, m))
}

// examineLocked says whether a card has all that the superblock counts on.
func (p *peer) examineLocked(m cluster.Member, store chunk.StoreID, w chunk.Version) *unfit {
	mark := max(m.Mark, p.array.ledger.nodes[p.n].mark)
	switch {
	case store != m.Store && (m.State == cluster.In || m.Since > 0):
		return &unfit{has: 0, why: fmt.Errorf("its card is %s, recorded is %s: %w", store, m.Store, errForeign)}
	case store == m.Store && w < mark && (m.State == cluster.In || m.Since > w):
		return &unfit{has: w, why: fmt.Errorf("its log ends at W %s, it had %s: %w", w, mark, errBehind)}
	}
	return nil
}

// Why a node that answers is not used as it is.
var (
	errForeign = errors.New("another card stands in this node")
	errBehind  = errors.New("its card has lost synced data")
)

// failed takes note that the node cannot be used. That the term is over is the
// end of the array.
func (p *peer) failed(err error) {
	if errors.Is(err, chunk.ErrDeposed) {
		p.array.end(err)
		return
	}
	a := p.array
	a.mu.Lock()
	defer a.mu.Unlock()
	gone := errors.Is(err, chunk.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded)
	if gone && p.up {
		a.alarmLocked()
	}
	p.up, p.closed = false, gone
	p.lose()
	if errors.Is(err, chunk.ErrReadOnly) {
		p.unfit = &unfit{has: math.MaxUint64, why: err}
	}
	a.ledger.interrupt(p.n) // what it misses now, a new resync will find
	a.settleLocked()
	if trouble := troubleOf(err); trouble != p.trouble && a.err == nil {
		p.trouble = trouble
		a.opts.Logger.Warn(trouble, "volume", a.sb.Name, "node", p.ID, "error", err)
	}
}

// troubleOf names the event that an error is a sign of: a node that falls
// silent makes the heartbeat, writes and syncs fail one after the other, each
// in its own words and first for one reason, then for another.
func troubleOf(err error) string {
	if errors.Is(err, errForeign) || errors.Is(err, errBehind) || errors.Is(err, chunk.ErrReadOnly) {
		return "node cannot be used"
	}
	return "node does not answer"
}

func (p *peer) send(batch []item) {
	batch, ops := p.operations(batch)
	if len(batch) == 0 {
		return
	}
	if p.isPrompt(batch) {
		p.sendAndSync(batch, ops)
		return
	}
	ended := p.timeWrite(len(batch))
	ack, err := p.write(ops, urgent(batch))
	ended(err)
	if err != nil {
		p.failed(fmt.Errorf("write: %w", err))
	}
	told := p.array.tell(batch, ack)
	p.array.mu.Lock()
	defer p.array.mu.Unlock()
	p.sentLocked(batch, ack, told, err)
}

func (p *peer) write(ops []chunk.Op, urgent bool) (chunk.Ack, error) {
	if urgent {
		return p.insist(ops)
	}
	ctx, cancel := context.WithTimeout(p.array.life, writePatience*p.array.opts.NodeTimeout)
	defer cancel()
	return p.Store.Write(ctx, p.term(), ops)
}

// sentLocked enters the outcome of a batch, which becomes its own, into the
// ledger. told is what its swaps have told.
func (p *peer) sentLocked(batch []item, ack chunk.Ack, told []payload, err error) {
	a := p.array
	a.learnLocked(batch, told)
	if err != nil {
		a.ledger.requeue(p.n, batch)
		return
	}
	if refused := a.ledger.refused(batch, ack.Errs); len(refused) > 0 {
		batch = slices.DeleteFunc(batch, func(it item) bool { return slices.Contains(refused, it) })
		a.ledger.requeue(p.n, refused)
		p.refusedLocked(ack.Errs)
	}
	a.ledger.nodes[p.n].free = ack.FreeBytes
	a.ledger.acknowledge(p.n, batch, ack.Instance)
	if len(batch) > 0 && batch[0].version <= a.target {
		poke(p.dirty)
	}
}

// refusedLocked has what the node refused sent again: at once where a patch or swap
// found no base, else after the next heartbeat, so that this is no busy loop.
func (p *peer) refusedLocked(errs []error) {
	errs = slices.DeleteFunc(slices.Clone(errs), func(err error) bool {
		return err == nil || errors.Is(err, chunk.ErrNoBase) || errors.Is(err, chunk.ErrEmpty)
	})
	if len(errs) == 0 {
		poke(p.work)
		return
	}
	p.array.opts.Logger.Warn("node refuses chunks, they are sent again",
		"volume", p.array.sb.Name, "node", p.ID, "chunks", len(errs), "error", errors.Join(errs...))
	p.up = false
}

// syncLoop syncs the node as long as somebody wants a version settled that it
// has acknowledged: one sync serves all that wait for it.
func (p *peer) syncLoop() {
	for {
		select {
		case <-p.dirty:
		case <-p.array.life.Done():
			return
		}
		for p.syncOnce() {
		}
	}
}

// syncOnce does one sync, if one is wanted, and reports whether it went well.
func (p *peer) syncOnce() bool {
	list, known := p.syncList()
	if list == nil {
		return false
	}
	return p.sync(list, known) == nil
}

// syncAll makes durable all that the node has acknowledged as it is known now.
func (p *peer) syncAll() error { return p.sync(nil, p.instance()) }

// sync makes durable W and the node's chunks in list, all of which were
// acknowledged by the instance known. It fails when another one answers: that
// may have lost what was acknowledged.
func (p *peer) sync(list []item, known chunk.InstanceID) error {
	a := p.array
	ctx, cancel := p.within(a.life, syncPatience)
	defer cancel()
	term := p.term()
	ended := p.timeSync(len(list))
	ack, err := p.Store.Sync(ctx, term)
	ended(err)
	if err != nil {
		p.failed(fmt.Errorf("sync: %w", err))
	} else if ack.Instance != known {
		err = fmt.Errorf("sync: node %s has restarted: %w", p.ID, chunk.ErrUnavailable)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.ledger.unsync(p.n, list)
		return err
	}
	a.ledger.nodes[p.n].free = ack.FreeBytes
	a.ledger.synced(p.n, list, known, term.Watermark)
	a.settleLocked()
	return nil
}

// syncList returns what a sync would cover, or nil when none is wanted, and the
// instance that has acknowledged it.
func (p *peer) syncList() ([]item, chunk.InstanceID) {
	a := p.array
	a.mu.Lock()
	defer a.mu.Unlock()
	wanted := func(it item) bool { return it.version <= a.target }
	if !p.up || !slices.ContainsFunc(a.ledger.nodes[p.n].unsynced, wanted) {
		return nil, chunk.InstanceID{}
	}
	return a.ledger.takeUnsynced(p.n), a.ledger.nodes[p.n].instance
}
