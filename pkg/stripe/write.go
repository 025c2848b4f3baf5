package stripe

import (
	"context"
	"fmt"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// recordOverhead is what a chunk takes on a card beside its payload, at most,
// for the admission of writes: header, checksums and a share of the log.
const recordOverhead = 256

// WriteBlock writes a whole block and returns when every holder has it in
// memory, or, with Options.Writeback, when this process has. data becomes the
// array's for ever: it must not be changed any more.
// Errors: ErrNoSpace (nothing was written), ErrTooFewNodes when ctx ended
// first (it may be applied, whole, before any later write), ErrDeposed.
func (a *Array) WriteBlock(ctx context.Context, block uint64, data []byte) error {
	if len(data) != a.geo.BlockSize || block >= a.geo.Blocks() {
		panic(fmt.Sprintf("stripe: %d bytes for block %d of %d", len(data), block, a.geo.Blocks()))
	}
	if err := a.enter(ctx); err != nil {
		return fmt.Errorf("write block %d: %w", block, err)
	}
	chunks, err := a.encode(data)
	if err != nil {
		return fmt.Errorf("write block %d: %w", block, err)
	}
	return a.write(ctx, block, payload{chunks: chunks}, mayBeFull)
}

// Discard makes a block read as zeroes. Errors are those of WriteBlock, but
// for ErrNoSpace.
func (a *Array) Discard(ctx context.Context, block uint64) error {
	if err := a.enter(ctx); err != nil {
		return fmt.Errorf("discard block %d: %w", block, err)
	}
	return a.write(ctx, block, payload{}, mustFit)
}

// Flush returns when all that was replied to before it began is durable. A
// Flush that fails has changed nothing: the next needs the same.
func (a *Array) Flush(ctx context.Context) error {
	a.mu.Lock()
	a.foresight.flush(a.seq)
	newest := a.ledger.replied
	if a.opts.Writeback {
		newest = a.newestLocked()
	}
	a.mu.Unlock()
	if err := a.enter(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	if err := a.settle(ctx, newest); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// encode splits data into its k chunks, which share its memory, and computes
// the m parity chunks.
func (a *Array) encode(data []byte) ([][]byte, error) {
	size := a.geo.ChunkSize()
	chunks := make([][]byte, a.geo.Width())
	for i := range a.geo.Data {
		chunks[i] = data[i*size : (i+1)*size : (i+1)*size]
	}
	parity := make([]byte, a.geo.Parity*size)
	for i := range a.geo.Parity {
		chunks[a.geo.Data+i] = parity[i*size : (i+1)*size : (i+1)*size]
	}
	return chunks, a.code.Encode(chunks)
}

// space says whether a write may be refused for want of space. What trims or
// recovers may not: nodes keep a reserve for it.
type space bool

const (
	mayBeFull space = false
	mustFit   space = true
)

// write gives the content a version, and waits for its holders, unless the
// volume is in writeback mode. The version is settled whether or not somebody
// still waits.
func (a *Array) write(ctx context.Context, block uint64, c payload, s space) error {
	w, err := a.admit(ctx, block, c, s)
	if err != nil {
		return fmt.Errorf("write block %d: %w", block, err)
	}
	if a.opts.Writeback {
		return nil
	}
	if a.awaitHolders(w, ctx.Done()) {
		return nil
	}
	if err := a.Err(); err != nil {
		return fmt.Errorf("write block %d: %w", block, err)
	}
	return fmt.Errorf("write block %d: %w: %w", block, ErrTooFewNodes, context.Cause(ctx))
}

// admit waits for memory and for enough holders, checks that they have room,
// and enters the write into the ledger. From there on it cannot fail. That may
// be long after the request was let in, and in writeback mode no node is asked
// any more before the reply: so the lease must stand now.
func (a *Array) admit(ctx context.Context, block uint64, c payload, s space) (*write, error) {
	placed := a.place.Place(block)
	size := c.memory()
	for retried := false; ; retried = true {
		var w *write
		full := false
		err := a.await(ctx, "waiting for enough nodes", func() bool {
			if !a.leasedLocked() || a.healing[block] || !a.fitsLocked(size) || !a.enoughHoldersLocked(placed) {
				return false
			}
			if full = s == mayBeFull && !a.roomLocked(placed); !full {
				w = a.enterWriteLocked(block, c)
			}
			return true
		})
		if err != nil || !full {
			return w, err
		}
		if retried {
			return nil, ErrNoSpace
		}
		if err := a.makeRoom(ctx); err != nil {
			return nil, err
		}
	}
}

// fitsLocked reports whether so many more bytes may wait to be settled; if
// not, it has the others settled. At half of the bound, or with many patches,
// that begins early, so that writers seldom wait; but not before what was wanted
// last is settled, or cards would sync without a pause.
func (a *Array) fitsLocked(size int64) bool {
	bound := max(a.opts.Memory, 4*size)
	many := a.ledger.bytes+size > bound/2 || a.ledger.patches >= manyPatches
	if many && a.target <= a.ledger.watermark {
		a.wantLocked(a.newestLocked())
	}
	return a.ledger.bytes+size <= bound
}

// enoughHoldersLocked reports whether the block can have as many chunks as a
// version needs at least. Recovery counts on the nodes that follow, too: they
// can come in only after it.
func (a *Array) enoughHoldersLocked(placed []uint8) bool {
	members := a.sb.Nodes
	if a.recovering {
		members = a.ledger.soon
	}
	holders := noHolders(a.geo.Width())
	cluster.Holders(holders, placed, members)
	n := 0
	for _, h := range holders {
		if h != cluster.NoHolder {
			n++
		}
	}
	return n >= a.sb.WriteQuorum()
}

func (a *Array) holdersLocked(placed []uint8) []int8 {
	holders := noHolders(a.geo.Width())
	cluster.Holders(holders, placed, a.sb.Nodes)
	return holders
}

func (a *Array) roomLocked(placed []uint8) bool {
	for _, h := range a.holdersLocked(placed) {
		if h != cluster.NoHolder && a.ledger.nodes[h].room() < uint64(a.geo.ChunkSize()+recordOverhead) {
			return false
		}
	}
	return true
}

func (a *Array) enterWriteLocked(block uint64, c payload) *write {
	a.seq++
	a.shedLocked()
	version := chunk.MakeVersion(a.epoch, a.seq)
	if a.foresight.expects(a.seq) {
		a.prompt = version
	}
	w := a.ledger.add(version, block, c)
	if !w.known() && w.swapCopy() == nil {
		a.rebuildLocked(w)
	}
	a.pokeHoldersLocked(w)
	return w
}

func (a *Array) pokeHoldersLocked(w *write) {
	for _, c := range w.copies {
		poke(a.peers[c.node].work)
	}
}

// shedLocked stops the following of nodes that fall too far behind the clients.
func (a *Array) shedLocked() {
	for n := range a.ledger.nodes {
		if at := &a.ledger.nodes[n]; at.follow == following && at.pending > followBytes {
			a.ledger.interrupt(n)
		}
	}
}

// makeRoom lets W pass what is superseded, and the nodes free that: a sync makes
// W durable there, and its answer tells what is free then.
func (a *Array) makeRoom(ctx context.Context) error {
	if err := a.settleAll(ctx); err != nil {
		return err
	}
	a.mark()
	return nil
}
