package chunktest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"rozobox/pkg/chunk"
)

// Link stands between a gateway and a node, as a network does: it takes time,
// it can be cut, and the node behind it can be frozen. Its zero value but for
// Store is a perfect link.
type Link struct {
	Store chunk.Store

	mu     sync.Mutex    // guards all below
	delay  time.Duration // of each request
	cut    error         // why requests fail at once; nil when they do not
	frozen chan struct{} // closed when the node thaws; nil when it runs
	deaf   bool          // requests take effect, replies are lost
}

var _ chunk.Store = (*Link)(nil)

var errCut = errors.New("link is cut")

// Delay makes each request take so long from now on.
func (l *Link) Delay(d time.Duration) { l.set(func() { l.delay = d }) }

// Cut makes requests fail at once, as a closed connection does.
func (l *Link) Cut() { l.set(func() { l.cut = errCut }) }

// LoseReplies makes requests take effect and then fail.
func (l *Link) LoseReplies() { l.set(func() { l.deaf = true }) }

// Freeze makes requests wait until Heal, or until their context ends; then
// they have no effect.
func (l *Link) Freeze() {
	l.set(func() {
		if l.frozen == nil {
			l.frozen = make(chan struct{})
		}
	})
}

// Heal undoes Cut, LoseReplies and Freeze.
func (l *Link) Heal() {
	l.set(func() {
		if l.frozen != nil {
			close(l.frozen)
		}
		l.cut, l.frozen, l.deaf = nil, nil, false
	})
}

func (l *Link) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// pass carries a request over the link.
func (l *Link) pass(ctx context.Context, request func() error) error {
	l.mu.Lock()
	delay, cut, frozen := l.delay, l.cut, l.frozen
	l.mu.Unlock()
	if cut != nil {
		return fmt.Errorf("%w: %w", chunk.ErrUnavailable, cut)
	}
	if err := linger(ctx, delay, frozen); err != nil {
		return fmt.Errorf("%w: %w", chunk.ErrUnavailable, err)
	}
	err := request()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deaf || l.cut != nil {
		return fmt.Errorf("%w: reply lost", chunk.ErrUnavailable)
	}
	return err
}

func linger(ctx context.Context, delay time.Duration, frozen <-chan struct{}) error {
	if frozen != nil {
		select {
		case <-frozen:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if delay == 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(delay):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// carry is pass for requests that have a result.
func carry[T any](ctx context.Context, l *Link, request func() (T, error)) (result T, err error) {
	err = l.pass(ctx, func() (err error) {
		result, err = request()
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return result, nil
}

// Hello implements chunk.Office.
func (l *Link) Hello(ctx context.Context) (chunk.Hello, error) {
	return carry(ctx, l, func() (chunk.Hello, error) { return l.Store.Hello(ctx) })
}

// Grant implements chunk.Office.
func (l *Link) Grant(
	ctx context.Context, volume chunk.VolumeID, epoch uint32, nonce uint64,
) (chunk.Granted, error) {
	return carry(ctx, l, func() (chunk.Granted, error) { return l.Store.Grant(ctx, volume, epoch, nonce) })
}

// Beat implements chunk.Office.
func (l *Link) Beat(ctx context.Context, term chunk.Term) (chunk.Pulse, error) {
	return carry(ctx, l, func() (chunk.Pulse, error) { return l.Store.Beat(ctx, term) })
}

// Superblock implements chunk.Office.
func (l *Link) Superblock(ctx context.Context, volume chunk.VolumeID) (chunk.Superblock, error) {
	return carry(ctx, l, func() (chunk.Superblock, error) { return l.Store.Superblock(ctx, volume) })
}

// PutSuperblock implements chunk.Office.
func (l *Link) PutSuperblock(ctx context.Context, term chunk.Term, sb chunk.Superblock) error {
	return l.pass(ctx, func() error { return l.Store.PutSuperblock(ctx, term, sb) })
}

// Write implements chunk.Data.
func (l *Link) Write(ctx context.Context, term chunk.Term, ops []chunk.Op) (chunk.Ack, error) {
	return carry(ctx, l, func() (chunk.Ack, error) { return l.Store.Write(ctx, term, ops) })
}

// Read implements chunk.Data.
func (l *Link) Read(ctx context.Context, term chunk.Term, gets []chunk.Get) ([]chunk.Chunk, error) {
	return carry(ctx, l, func() ([]chunk.Chunk, error) { return l.Store.Read(ctx, term, gets) })
}

// Sync implements chunk.Data.
func (l *Link) Sync(ctx context.Context, term chunk.Term) (chunk.Ack, error) {
	return carry(ctx, l, func() (chunk.Ack, error) { return l.Store.Sync(ctx, term) })
}

// List implements chunk.Catalog.
func (l *Link) List(
	ctx context.Context, term chunk.Term, req chunk.ListRequest,
) (entries []chunk.Entry, more bool, err error) {
	err = l.pass(ctx, func() (err error) {
		entries, more, err = l.Store.List(ctx, term, req)
		return err
	})
	return entries, more, err
}

// Stat implements chunk.Catalog.
func (l *Link) Stat(ctx context.Context) (chunk.Stat, error) {
	return carry(ctx, l, func() (chunk.Stat, error) { return l.Store.Stat(ctx) })
}
