package stripe

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"rozobox/pkg/chunk"
)

// A change that nobody waits for any more may still be made, as long as its
// connection lives. For what clients write that does no harm: its version is
// new, and a node refuses it once W has passed. But repair also puts and drops
// what is settled:
//
//	Put 5 of block b ── given up ────────────────────────────── arrives: I6
//	                      trim (9), flush, Reclaim drops <= 9 ┘
//
//	Drop <= 5 on a spare ── given up ────────────────────────── arrives: I1
//	                      its home goes out, the spare stands in ┘
//
// So such a request is a stray from the moment that its caller leaves until it
// was answered or its connection has ended; what the node answers after that is
// said after it (chunk.Store). While a node has strays nothing is built upon it:
// repair changes nothing there and does not count on what it holds, it cannot be
// resynced, and no tombstone is dropped anywhere.
//
// A client's chunk that may use the card's reserve is as strong as repair's. It
// is a stray from the beginning, and never given up.

// errStray means that a request of before may still change the node.
var errStray = errors.New("an earlier request may still be under way")

// pursuit is one change on its way.
type pursuit struct {
	// Guarded by Array.mu:
	left bool // nobody waits for it
	over bool
}

// change has repair's ops done on the node's background stream. It returns when
// they are, or when ctx ends, a batch of a client's would be given up or the
// node fails; then the request is a stray.
func (p *peer) change(ctx context.Context, ops []chunk.Op) (chunk.Ack, error) {
	one, err := p.pursue()
	if err != nil {
		return chunk.Ack{}, err
	}
	ctx, cancel := p.within(ctx, writePatience)
	defer cancel()
	var ack chunk.Ack
	done := make(chan struct{})
	p.array.tasks.Go(func() {
		defer close(done)
		ack, err = p.Background.Write(p.array.life, p.term(), ops)
		p.arrived(one)
	})
	select {
	case <-done:
		return ack, err
	case <-ctx.Done():
		p.leave(one)
		return chunk.Ack{}, fmt.Errorf("node %s: %w: %w", p.ID, chunk.ErrUnavailable, context.Cause(ctx))
	}
}

// pursue begins a change, unless the node has strays.
func (p *peer) pursue() (*pursuit, error) {
	p.array.mu.Lock()
	defer p.array.mu.Unlock()
	if p.strays > 0 {
		return nil, fmt.Errorf("node %s: %w", p.ID, errStray)
	}
	p.pursuits++
	return &pursuit{}, nil
}

// insist has ops done that may use the reserve, however long that takes.
func (p *peer) insist(ops []chunk.Op) (chunk.Ack, error) {
	one := &pursuit{left: true}
	p.array.mu.Lock()
	p.pursuits++
	p.strays++
	p.array.mu.Unlock()
	ack, err := p.Store.Write(p.array.life, p.term(), ops)
	p.arrived(one)
	return ack, err
}

// leave makes a stray of a change that is not over. What a node has that
// follows is not known then.
func (p *peer) leave(one *pursuit) {
	a := p.array
	a.mu.Lock()
	defer a.mu.Unlock()
	if one.over {
		return
	}
	one.left = true
	p.strays++
	a.ledger.interrupt(p.n)
	a.settleLocked()
}

// arrived takes note that a change has ended, one way or the other.
func (p *peer) arrived(one *pursuit) {
	a := p.array
	a.mu.Lock()
	defer a.mu.Unlock()
	one.over = true
	p.pursuits--
	if one.left {
		p.strays--
	}
}

// reliable reports whether the node answers, and has no strays.
func (p *peer) reliable() bool {
	p.array.mu.Lock()
	defer p.array.mu.Unlock()
	return p.up && p.strays == 0
}

// atRest reports whether the node answers, and repair is changing nothing there.
func (p *peer) atRest() bool {
	p.array.mu.Lock()
	defer p.array.mu.Unlock()
	return p.up && p.pursuits == 0
}

// urgent reports whether a chunk of the batch may use the reserve.
func urgent(batch []item) bool {
	return slices.ContainsFunc(batch, func(it item) bool { return it.urgent })
}
