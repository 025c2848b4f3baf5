package stripe

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
	"rozobox/pkg/erasure"
	"rozobox/pkg/metrics"
)

// Array is an open volume: k+m chunks of each block on its nodes, under the
// term of office that Open obtained. Its methods may be called from many
// goroutines; calls that touch the same block must be ordered by the caller,
// of whom at most one may write it at a time.
type Array struct {
	opts   Options
	volume chunk.VolumeID
	geo    cluster.Geometry
	code   *erasure.Code
	zeroes []byte // as long as a chunk; never changed
	place  *cluster.Placement
	epoch  uint32
	nonce  uint64
	peers  []*peer // in the order of the superblock's nodes

	opened time.Time       // what uptime counts from
	life   context.Context // ends with Close, or with the term
	stop   context.CancelFunc
	tasks  sync.WaitGroup // every goroutine of the array
	alarm  chan struct{}  // of 1: a connection has closed
	damage chan uint64    // blocks of which a read met a damaged chunk
	super  chan struct{}  // a lock that spans I/O: one superblock update at a time

	tracing  tracing
	degraded metrics.Counter // blocks that were not read from their homes
	mended   metrics.Counter // damaged chunks that were written anew

	mu         sync.Mutex          // guards all below; never kept across I/O
	sb         *cluster.Superblock // the durable one; never changed in place
	recovering bool                // what the last term left open is being decided
	ledger     *ledger
	seq        uint64          // of the newest version
	number     uint64          // of the newest superblock that was tried
	target     chunk.Version   // newest version that somebody wants settled
	foresight  foresight       // of flushes
	prompt     chunk.Version   // newest version that is expected to be flushed at once
	leaseUntil time.Duration   // on opts.Clock
	healing    map[uint64]bool // blocks that Heal works on: writers of them wait
	hedges     float64         // how many reads may be hedged now
	hedged     uint64          // how many were
	usual      time.Duration   // what a read of any node takes
	writing    latency         // of writes, until all holders have them
	changed    chan struct{}   // closed and made anew when W, lease or err change
	err        error           // why the term ended
}

func newArray(opts Options, o *opening) (*Array, error) {
	code, err := erasure.New(o.sb.Geometry.Data, o.sb.Geometry.Parity)
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.Background())
	place := cluster.NewPlacement(o.sb.Volume, o.sb.Nodes, o.sb.Geometry)
	a := &Array{
		opts: opts, volume: o.sb.Volume, geo: o.sb.Geometry, place: place,
		epoch: o.epoch, nonce: o.nonce,
		code: code, zeroes: make([]byte, o.sb.Geometry.ChunkSize()),
		opened: time.Now(), life: life, stop: stop, super: make(chan struct{}, 1),
		alarm: make(chan struct{}, 1), damage: make(chan uint64, damageQueue),
		sb: o.sb, ledger: newLedger(o.sb, place, o.watermark), number: o.sb.Number, recovering: true,
		healing: map[uint64]bool{}, hedges: hedgeBurst, changed: make(chan struct{}),
	}
	for i := range o.sb.Nodes {
		a.peers = append(a.peers, newPeer(a, i, o))
	}
	for _, p := range a.peers {
		a.tasks.Go(p.beatLoop)
		a.tasks.Go(p.sendLoop)
		a.tasks.Go(p.syncLoop)
	}
	a.tasks.Go(a.tend)
	a.tasks.Go(a.watch)
	return a, nil
}

// damageQueue bounds the blocks that wait to be mended after a read met
// damage; what does not fit, the next read or scrub finds again.
const damageQueue = 256

// Damage delivers the blocks of which a read met a damaged chunk. The read
// itself was served from the others.
func (a *Array) Damage() <-chan uint64 { return a.damage }

func (a *Array) noteDamage(block uint64) {
	select {
	case a.damage <- block:
	default:
	}
}

// Geometry returns how the volume is cut.
func (a *Array) Geometry() cluster.Geometry { return a.geo }

// Incarnation returns the number that changes when replied writes may have
// been lost before this opening: then a device must not be reconnected to it.
func (a *Array) Incarnation() uint32 { return a.superblock().Incarnation }

// Done is closed when the array can serve no more: it was closed or deposed.
func (a *Array) Done() <-chan struct{} { return a.life.Done() }

// Err returns why the array can serve no more, or nil.
func (a *Array) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// Close flushes, marks the volume as cleanly closed, so that its next opening
// need not wait for the lease, and ends all goroutines. When ctx ends before
// that, Close returns its error; nothing that was flushed is lost by it.
func (a *Array) Close(ctx context.Context) error {
	err := a.settleAll(ctx)
	if err == nil {
		a.mark()
		err = a.update(ctx, func(sb *cluster.Superblock) error {
			sb.Clean = true
			return nil
		})
	}
	a.end(ErrClosed)
	a.tasks.Wait()
	if err != nil {
		return fmt.Errorf("close volume %s: %w", a.superblock().Name, err)
	}
	return nil
}

// Abandon ends the array at once, as the death of its process does: nothing is
// flushed or marked, and calls under way fail.
func (a *Array) Abandon() { a.end(ErrClosed) }

// Wait waits for the goroutines of an array that has ended. No call may be
// under way any more.
func (a *Array) Wait() { a.tasks.Wait() }

// end ends the term; the first reason stands.
func (a *Array) end(why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return
	}
	a.err = why
	a.stop()
	a.broadcastLocked()
}

func (a *Array) broadcastLocked() {
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *Array) superblock() *cluster.Superblock {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sb
}

// await waits until ready, which is called with a.mu held, reports true. It
// returns why the term ended, or ErrTooFewNodes when ctx ends first.
func (a *Array) await(ctx context.Context, what string, ready func() bool) error {
	for {
		a.mu.Lock()
		err, ok, changed := a.err, false, a.changed
		if err == nil {
			ok = ready()
		}
		a.mu.Unlock()
		if err != nil || ok {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", what, ErrTooFewNodes, context.Cause(ctx))
		}
	}
}

// uptime is the clock by which nodes are timed. Unlike that of leases it needs no
// system call, and it stands still while the machine is suspended, which is the
// fault of no node.
func (a *Array) uptime() time.Duration { return time.Since(a.opened) }

// pause waits for the time of a heartbeat. It fails when ctx or the term ends.
func (a *Array) pause(ctx context.Context) error {
	select {
	case <-time.After(beatEvery):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-a.life.Done():
		return a.Err()
	}
}

// Serving waits until this array may speak for the volume: what a client was
// told before is still so. Errors: ErrTooFewNodes, ErrDeposed.
func (a *Array) Serving(ctx context.Context) error {
	if err := a.enter(ctx); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// enter lets a client's request begin: only while the lease stands, looked at
// after the request arrived, may the array speak for the volume (I5, I7).
func (a *Array) enter(ctx context.Context) error {
	return a.await(ctx, "waiting for a quorum of nodes", a.leasedLocked)
}

func (a *Array) leasedLocked() bool { return a.opts.Clock() < a.leaseUntil }

// renewLocked computes the lease from when the nodes were asked that have
// answered since: a quorum of members, each with its recorded card.
func (a *Array) renewLocked() {
	var asked []time.Duration
	for _, p := range a.peers {
		if p.votesLocked() && p.answered != 0 {
			asked = append(asked, p.answered)
		}
	}
	quorum := a.sb.Quorum()
	if len(asked) < quorum {
		return
	}
	slices.Sort(asked)
	held := a.leasedLocked()
	a.leaseUntil = asked[len(asked)-quorum] + a.opts.Lease
	if !held {
		a.broadcastLocked()
	}
}

// tend syncs what nobody flushes, so that W moves, and once W stands still has all
// nodes make it durable, so that they free what it has passed. It updates the
// superblock when a node has restarted, so that a later opening can tell how many
// lost what they had in memory, and every markEvery.
func (a *Array) tend() {
	tick := time.NewTicker(a.opts.SyncEvery)
	defer tick.Stop()
	marked, before := time.Now(), chunk.Version(0)
	for {
		select {
		case <-tick.C:
		case <-a.life.Done():
			return
		}
		a.mu.Lock()
		a.wantLocked(a.newestLocked())
		due := a.restartsLocked() || time.Since(marked) > markEvery
		rests := a.ledger.watermark == before && a.unmarkedLocked()
		before = a.ledger.watermark
		a.mu.Unlock()
		if due || rests {
			a.mark()
		}
		if due {
			marked = time.Now()
			// A failure is seen by whoever needs the quorum.
			_ = a.update(a.life, asItIs)
		}
	}
}

// markEvery is how often the superblock takes note of the W that each node has
// durably: the time for which an old image of a card may go unnoticed.
const markEvery = 10 * time.Minute

func (a *Array) restartsLocked() bool {
	for i, p := range a.peers {
		if p.up && a.sb.Nodes[i].Instance != a.ledger.nodes[i].instance {
			return true
		}
	}
	return false
}

// unmarkedLocked reports whether some node that is in has not made W durable.
func (a *Array) unmarkedLocked() bool {
	for i, p := range a.peers {
		if p.up && a.sb.Nodes[i].State == cluster.In && a.ledger.nodes[i].mark < a.ledger.watermark {
			return true
		}
	}
	return false
}

// mark has all nodes that answer make W durable. Those that fail keep their
// former mark.
func (a *Array) mark() {
	var group sync.WaitGroup
	for _, p := range a.peers {
		if p.answers() {
			group.Go(func() { _ = p.syncAll() })
		}
	}
	group.Wait()
}

func (a *Array) newestLocked() chunk.Version {
	if n := len(a.ledger.writes); n > 0 {
		return a.ledger.writes[n-1].version
	}
	return a.ledger.watermark
}

// wantLocked asks for every version up to v to be settled.
func (a *Array) wantLocked(v chunk.Version) {
	if v <= a.ledger.watermark {
		return
	}
	a.target = max(a.target, v)
	for _, p := range a.peers {
		p.pokeSync()
	}
}

// settleLocked moves W as far as it may go.
func (a *Array) settleLocked() {
	if a.ledger.settle() {
		a.broadcastLocked()
	}
}

// settleAll waits until all that was written is settled.
func (a *Array) settleAll(ctx context.Context) error {
	a.mu.Lock()
	newest := a.newestLocked()
	a.mu.Unlock()
	return a.settle(ctx, newest)
}

// settle waits until W has passed v.
func (a *Array) settle(ctx context.Context, v chunk.Version) error {
	a.mu.Lock()
	a.wantLocked(v)
	a.mu.Unlock()
	return a.await(ctx, fmt.Sprintf("syncing version %s", v), func() bool {
		return a.ledger.watermark >= v
	})
}
