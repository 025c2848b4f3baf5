package stripe

import (
	"context"
	"errors"
	"fmt"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// ErrRefused means that a change of a node's state would lose data, or leave
// too few nodes. The text says why, and what to do.
var ErrRefused = errors.New("refused")

// MayLose says why a node cannot be given up; nil when its state allows it.
func (a *Array) MayLose(n int) error { return mayLose(a.superblock(), n) }

func mayLose(sb *cluster.Superblock, n int) error {
	switch m := sb.Nodes[n]; {
	case m.State != cluster.Out:
		return fmt.Errorf("node %s is %s, only one that is out can be given up: %w", m.ID, m.State, ErrRefused)
	case sb.Members()-1 < sb.Geometry.Width():
		return fmt.Errorf("without node %s there would be %d nodes, a block needs %d: %w",
			m.ID, sb.Members()-1, sb.Geometry.Width(), ErrRefused)
	}
	return nil
}

// Lose gives a node up: it has no vote any more, so the quorum shrinks by one.
// The caller has made sure that no block lacks a chunk without it. Errors:
// ErrRefused, ErrTooFewNodes.
func (a *Array) Lose(ctx context.Context, n int) error {
	return a.update(ctx, func(next *cluster.Superblock) error {
		if err := mayLose(next, n); err != nil {
			return err
		}
		next.Nodes[n].State = cluster.Lost
		return nil
	})
}

// MayReplace says why a node's card cannot be taken for gone; nil when the
// node's state allows it.
func (a *Array) MayReplace(n int) error { return mayReplace(a.superblock(), n) }

func mayReplace(sb *cluster.Superblock, n int) error {
	if m := sb.Nodes[n]; m.State == cluster.In {
		return fmt.Errorf("node %s is in and serves: stop it first: %w", m.ID, ErrRefused)
	}
	return nil
}

// Replace takes a node's card for gone, so that whatever card stands in it is
// filled anew. The caller has made sure that every block can be read without
// it. Errors: ErrRefused, ErrTooFewNodes.
func (a *Array) Replace(ctx context.Context, n int) error {
	err := a.update(ctx, func(next *cluster.Superblock) error {
		if err := mayReplace(next, n); err != nil {
			return err
		}
		m := &next.Nodes[n]
		m.State, m.Since, m.Behind, m.Mark = cluster.Out, 0, true, 0
		m.Store = chunk.StoreID{}
		return nil
	})
	if errors.Is(err, ErrRefused) {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ledger.restarted(n, chunk.InstanceID{}) // the next heartbeat meets it anew
	a.peers[n].up = false
	return err
}

// Unreadable returns how many blocks from first on, below end, have fewer than
// k chunks of their newest settled version, or a later one, on nodes that are
// in.
func (a *Array) Unreadable(ctx context.Context, first, end uint64) (int, error) {
	held, newest, err := a.inventory(ctx, first, end)
	if err != nil {
		return 0, err
	}
	indexes := map[uint64]map[uint8]bool{}
	for at, version := range held {
		if version >= newest[at.block] {
			if indexes[at.block] == nil {
				indexes[at.block] = map[uint8]bool{}
			}
			indexes[at.block][at.index] = true
		}
	}
	unreadable := 0
	for block := range newest {
		if len(indexes[block]) < a.geo.Data {
			unreadable++
		}
	}
	return unreadable, nil
}
