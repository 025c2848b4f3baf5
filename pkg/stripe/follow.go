package stripe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// A node that is out comes back in four steps (design, section 7):
//
//	Follow     from now on it gets its chunk of every new version
//	Behind     which blocks differ, by the lists of nodes that are in
//	Heal       each of them
//	Join       everything sent is acknowledged and synced; then it is in
//
// A failure or a restart of the node on the way ends its following: the
// resync begins anew.

// ErrInterrupted means that a node failed, restarted or fell too far behind
// while it was resynced.
var ErrInterrupted = errors.New("resync was interrupted")

// followBytes bounds what may be queued for a node that follows: beyond it the
// node is slower than the clients write, and must wait for a quieter hour.
const followBytes = 32 << 20

// Follow lets a node that is out, and answers, take part in new writes.
func (a *Array) Follow(n int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.peers[n]; a.sb.Nodes[n].State != cluster.Out || !p.up || p.unfit != nil || p.strays > 0 {
		return fmt.Errorf("node %s is not there to be resynced: %w", a.peers[n].ID, ErrInterrupted)
	}
	a.ledger.setFollow(n, following)
	poke(a.peers[n].work)
	return nil
}

// Unfollow ends what Follow began, but not a Join that is about to be recorded.
func (a *Array) Unfollow(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ledger.interrupt(n)
	a.settleLocked()
}

// follows fails unless the node has followed without interruption.
func (a *Array) follows(n int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ledger.nodes[n].follow == apart {
		return fmt.Errorf("node %s: %w", a.peers[n].ID, ErrInterrupted)
	}
	return nil
}

// Behind returns the blocks from first on, below end, whose chunks on a node
// that follows may not be what they should be: any version newer than the node
// is out since, there or here, that the other does not have.
func (a *Array) Behind(ctx context.Context, n int, first, end uint64) ([]uint64, error) {
	since := a.superblock().Nodes[n].Since
	if a.superblock().Nodes[n].Behind {
		since = 0 // it may also have what was trimmed, and forgotten since by all others
	}
	here, err := a.list(ctx, n, since, first, end)
	if err != nil {
		return nil, err
	}
	newest := map[uint64]chunk.Version{}
	for i, p := range a.peers {
		if i == n || !p.speaks() {
			continue
		}
		entries, err := a.list(ctx, i, since, first, end)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			newest[e.Block] = max(newest[e.Block], e.Version)
		}
	}
	return a.differences(n, newest, here), a.follows(n)
}

// list returns what a node has in a range of blocks above since.
func (a *Array) list(ctx context.Context, n int, since chunk.Version, first, end uint64) ([]chunk.Entry, error) {
	p := a.peers[n]
	req := chunk.ListRequest{
		Since: since, After: chunk.Position{Block: first}, End: end, Limit: chunk.MaxListEntries,
	}
	var entries []chunk.Entry
	for more := true; more; {
		var page []chunk.Entry
		var err error
		if page, more, err = p.list(ctx, req); err != nil {
			return nil, fmt.Errorf("list what node %s has: %w", p.ID, err)
		}
		for _, e := range page {
			if int(e.Index) >= a.geo.Width() || e.Block < first || e.Block >= end || !req.After.Less(e.Position) {
				return nil, fmt.Errorf("node %s lists chunk %d of block %d, which nobody asked for", p.ID, e.Index, e.Block)
			}
			req.After = e.Position
		}
		entries = append(entries, page...)
	}
	return entries, nil
}

// differences compares what the others have with what node n has. A node that
// has exactly the newest version of its own chunk, intact, needs nothing; nor
// does one that has nothing and should have nothing.
func (a *Array) differences(n int, newest map[uint64]chunk.Version, here []chunk.Entry) (blocks []uint64) {
	right, some := map[uint64]bool{}, map[uint64]bool{}
	for _, e := range here {
		some[e.Block] = true
		own := int(a.place.Place(e.Block)[e.Index]) == n
		if e.Version > newest[e.Block] {
			newest[e.Block], right[e.Block] = e.Version, false // only here: to be dropped
		} else if own && !e.Damaged && e.Version == newest[e.Block] {
			right[e.Block] = true
		}
	}
	for block := range newest {
		if !right[block] && (some[block] || slices.Contains(a.duties(block), int8(n))) {
			blocks = append(blocks, block)
		}
	}
	slices.Sort(blocks)
	return blocks
}

// duties returns who should hold each chunk of a block, nodes that follow
// taken for in.
func (a *Array) duties(block uint64) []int8 {
	a.mu.Lock()
	defer a.mu.Unlock()
	holders := noHolders(a.geo.Width())
	cluster.Holders(holders, a.place.Place(block), a.ledger.soon)
	return holders
}

// Join makes a node that has followed, and whose every block was healed since,
// a node that is in. From the moment that the update is sent, every version
// not settled counts it as a holder (I1, I4).
func (a *Array) Join(ctx context.Context, n int) error {
	if err := a.join(ctx, n); err != nil {
		a.Unfollow(n)
		return fmt.Errorf("take node %s in: %w", a.peers[n].ID, err)
	}
	return nil
}

func (a *Array) join(ctx context.Context, n int) error {
	if err := a.advance(n, following, closing); err != nil {
		return err
	}
	if err := a.drained(ctx, n); err != nil {
		return err
	}
	// All that W has passed since Follow is acknowledged there. Now it is
	// synced; a restart on the way would have ended the following.
	if err := a.peers[n].syncAll(); err != nil {
		return err
	}
	if err := a.advance(n, closing, joining); err != nil {
		return err
	}
	return a.commitNode(ctx, n)
}

// commitNode records that a joining node is in. Once some node has that record
// the next gateway may trust it: so it is finished whatever happens to the
// caller, and until then every version not settled counts the node as a holder.
func (a *Array) commitNode(ctx context.Context, n int) error {
	done := make(chan error, 1)
	a.tasks.Go(func() { done <- a.admitNode(a.life, n) })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// advance takes a node one step further, unless it was interrupted.
func (a *Array) advance(n int, from, to follow) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ledger.nodes[n].follow != from || a.peers[n].strays > 0 {
		return ErrInterrupted
	}
	a.ledger.setFollow(n, to)
	a.peers[n].joined = a.ledger.nodes[n].instance
	poke(a.peers[n].work)
	return nil
}

// admitNode records that a joining node is in. It is not, where it has restarted
// or was given up before that was written anywhere: another card may stand in
// it.
func (a *Array) admitNode(ctx context.Context, n int) error {
	p := a.peers[n]
	err := a.update(ctx, func(sb *cluster.Superblock) error {
		m := &sb.Nodes[n]
		if m.State != cluster.Out || a.ledger.nodes[n].instance != p.joined {
			a.ledger.setFollow(n, apart)
			a.settleLocked()
			return ErrInterrupted
		}
		m.State, m.Since, m.Behind = cluster.In, 0, false
		if p.blank != (chunk.StoreID{}) {
			m.Store, m.Mark = p.blank, 0
		}
		return nil
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p.blank = chunk.StoreID{}
	p.writes, p.syncs, p.crawls = cluster.Pace{}, cluster.Pace{}, 0
	a.ledger.setFollow(n, apart) // it is a holder like any other
	a.opts.Logger.Info("node is in", "volume", a.sb.Name, "node", p.ID)
	return nil
}

// drained waits until the node has acknowledged all that was queued for it and
// did not count: no more of it comes once the node is closing.
func (a *Array) drained(ctx context.Context, n int) error {
	for {
		if err := a.follows(n); err != nil {
			return err
		}
		a.mu.Lock()
		loose := a.ledger.nodes[n].loose
		a.mu.Unlock()
		if loose == 0 {
			return nil
		}
		if err := a.pause(ctx); err != nil {
			return err
		}
	}
}

// Lacking returns the blocks from first on, below end, that do not have all
// their chunks, at the newest settled version or a later one, on nodes that
// are in.
func (a *Array) Lacking(ctx context.Context, first, end uint64) ([]uint64, error) {
	held, newest, err := a.inventory(ctx, first, end)
	if err != nil {
		return nil, err
	}
	var blocks []uint64
	for block, version := range newest {
		for i, n := range a.duties(block) {
			at := stored{block, slot{int(n), uint8(i)}}
			if n == cluster.NoHolder || held[at] < version {
				blocks = append(blocks, block)
				break
			}
		}
	}
	slices.Sort(blocks)
	return blocks, nil
}

// Surplus returns the blocks from first on, below end, of which nodes hold
// chunks that others should hold, and hold.
func (a *Array) Surplus(ctx context.Context, first, end uint64) ([]uint64, error) {
	held, _, err := a.inventory(ctx, first, end)
	if err != nil {
		return nil, err
	}
	found := map[uint64]bool{}
	for at := range held {
		if a.duties(at.block)[at.index] != int8(at.node) {
			found[at.block] = true
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// stored is a slot of a block.
type stored struct {
	block uint64
	slot
}

// inventory lists, over all nodes that are in, the newest intact version of
// each chunk, and of each block the newest that was settled before it began.
func (a *Array) inventory(ctx context.Context, first, end uint64) (
	held map[stored]chunk.Version, newest map[uint64]chunk.Version, err error,
) {
	held, newest = map[stored]chunk.Version{}, map[uint64]chunk.Version{}
	settled := a.Status().Watermark
	for n, p := range a.peers {
		if a.superblock().Nodes[n].State != cluster.In {
			continue
		}
		if !p.atRest() {
			return nil, nil, fmt.Errorf("node %s does not answer, or is just being repaired: %w", p.ID, ErrTooFewNodes)
		}
		entries, err := a.list(ctx, n, 0, first, end)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range entries {
			if e.Version <= settled {
				newest[e.Block] = max(newest[e.Block], e.Version)
			}
			if at := (stored{e.Block, slot{n, e.Index}}); !e.Damaged {
				held[at] = max(held[at], e.Version)
			}
		}
	}
	return held, newest, nil
}

// Occupied returns the blocks from first on, below end, of which some node
// that is in holds anything.
func (a *Array) Occupied(ctx context.Context, first, end uint64) ([]uint64, error) {
	_, newest, err := a.inventory(ctx, first, end)
	return slices.Sorted(maps.Keys(newest)), err
}
