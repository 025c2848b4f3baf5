package stripe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// update changes the superblock, and returns when a quorum has the new one
// durable. Numbers are never used twice, so that a change that reached some
// nodes only is superseded by the next. change is called with a.mu held, as the
// last word on whether it may be: where it refuses, nothing has changed.
func (a *Array) update(ctx context.Context, change func(*cluster.Superblock) error) error {
	select {
	case a.super <- struct{}{}:
		defer func() { <-a.super }()
	case <-ctx.Done():
		return ctx.Err()
	}
	next, err := a.draft(change)
	if err != nil {
		return err
	}
	if err := a.storeSuperblock(ctx, next); err != nil {
		return fmt.Errorf("update superblock: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sb = next
	a.ledger.setSuperblock(next)
	a.settleLocked() // a node that went out may be all that W waited for
	a.broadcastLocked()
	for _, p := range a.peers {
		poke(p.work)
	}
	return nil
}

// draft returns the next superblock. It takes note of a node's new start only
// when nothing that was replied to lacks a chunk: the next opening counts the
// starts that it does not know, and what those nodes have lost from memory must
// be on others, or there again, before it is told not to. A mark is of the
// recorded start: what a later one has synced says nothing of what its card had
// when that began. Until that is recorded too, soon, the mark before stands, as
// it does between any two (markEvery).
func (a *Array) draft(change func(*cluster.Superblock) error) (*cluster.Superblock, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := a.sb.Clone()
	whole := !a.recovering && a.ledger.whole()
	for i, p := range a.peers {
		if p.up && whole {
			next.Nodes[i].Instance = a.ledger.nodes[i].instance
		}
		if at := &a.ledger.nodes[i]; next.Nodes[i].Instance == at.instance {
			next.Nodes[i].Mark = max(next.Nodes[i].Mark, at.mark)
		}
	}
	a.number++
	next.Number, next.Epoch = a.number, a.epoch
	next.Watermark = a.ledger.watermark
	return next, change(next)
}

// asItIs is a change that records only what the array knows by itself.
func asItIs(*cluster.Superblock) error { return nil }

// storeSuperblock offers sb to all nodes, again and again, until a quorum has
// stored it, ctx ends or the term does. Where sb changes who is a member, that
// is a quorum of both.
func (a *Array) storeSuperblock(ctx context.Context, sb *cluster.Superblock) error {
	record := sb.Encode()
	quorum := max(sb.Quorum(), a.superblock().Quorum())
	results := make(chan error)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	offered := 0
	for _, p := range a.peers {
		if sb.Nodes[p.n].State == cluster.Lost {
			continue
		}
		offered++
		a.tasks.Go(func() {
			err := p.offer(ctx, record)
			select {
			case results <- err:
			case <-ctx.Done():
			}
		})
	}
	stored := 0
	for range offered {
		select {
		case err := <-results:
			if errors.Is(err, chunk.ErrDeposed) {
				a.end(err)
				return err
			}
			if err == nil {
				stored++
			}
		case <-ctx.Done():
			return fmt.Errorf("stored on %d of %d nodes: %w: %w",
				stored, quorum, ErrTooFewNodes, context.Cause(ctx))
		case <-a.life.Done():
			return a.Err()
		}
		if stored >= quorum {
			return nil
		}
	}
	return fmt.Errorf("stored on %d of %d nodes: %w", stored, quorum, ErrTooFewNodes)
}

// offer stores the superblock on one node, trying until it has an answer. A
// node whose card is not the recorded one is not asked: it has no vote.
func (p *peer) offer(ctx context.Context, record chunk.Superblock) error {
	for {
		err := p.putSuperblock(ctx, record)
		if err == nil || errors.Is(err, chunk.ErrDeposed) || errors.Is(err, chunk.ErrInvalid) {
			return err
		}
		select {
		case <-time.After(beatEvery):
		case <-ctx.Done():
			return err
		case <-p.array.life.Done():
			return err
		}
	}
}

func (p *peer) putSuperblock(ctx context.Context, record chunk.Superblock) error {
	p.array.mu.Lock()
	votes := p.votesLocked()
	p.array.mu.Unlock()
	if !votes {
		return fmt.Errorf("node %s: %w", p.ID, chunk.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(ctx, syncPatience*p.array.opts.NodeTimeout)
	defer cancel()
	return p.Store.PutSuperblock(ctx, p.term(), record)
}
