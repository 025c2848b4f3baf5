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

	// Fates decides over each request, on top of what the methods below say;
	// nil: nothing special. It may be called from many goroutines at once.
	Fates func() Fate

	strays sync.WaitGroup // requests that nobody waits for

	mu     sync.Mutex    // guards all below
	delay  time.Duration // of each request
	cut    error         // why requests fail at once; nil when they do not
	frozen chan struct{} // closed when the node thaws; nil when it runs
	deaf   bool          // requests take effect, replies are lost
	broken chan struct{} // closed when the connection is; nil until somebody asks
	over   chan struct{} // closed when nothing of that connection comes any more; likewise
}

var _ chunk.Store = (*Link)(nil)

var errCut = errors.New("link is cut")

// Fate is what becomes of one request beside its way there and back.
type Fate struct {
	// Delay comes on top of the link's own.
	Delay time.Duration

	// Again, where not 0, lets a change arrive a second time so much later.
	Again time.Duration

	// Adrift lets a change arrive although its sender has given it up, or its
	// connection has parted.
	Adrift bool

	// Late is what a change takes beyond Delay.
	Late time.Duration
}

// Delay makes each request take so long from now on.
func (l *Link) Delay(d time.Duration) { l.set(func() { l.delay = d }) }

// Cut closes the connection, as the death of a node does: requests under way
// fail at once, strays are gone, and so it stays until Heal.
func (l *Link) Cut() {
	l.set(func() {
		l.partLocked()
		l.endLocked()
	})
}

// Part closes the connection too, but the node lives: of what was adrift it may
// still do some, until Heal makes a new connection.
func (l *Link) Part() { l.set(l.partLocked) }

func (l *Link) partLocked() {
	l.cut = errCut
	if l.broken != nil {
		close(l.broken)
		l.broken = nil
	}
}

func (l *Link) endLocked() {
	if l.over != nil {
		close(l.over)
		l.over = nil
	}
}

// LoseReplies makes requests take effect and then fail.
func (l *Link) LoseReplies() { l.set(func() { l.deaf = true }) }

// Freeze makes requests wait until Heal, or until their context ends; then
// they have no effect, unless they are adrift.
func (l *Link) Freeze() {
	l.set(func() {
		if l.frozen == nil {
			l.frozen = make(chan struct{})
		}
	})
}

// Heal undoes Cut, Part, LoseReplies and Freeze.
func (l *Link) Heal() {
	l.set(func() {
		if l.cut != nil {
			l.endLocked()
		}
		if l.frozen != nil {
			close(l.frozen)
		}
		l.cut, l.frozen, l.deaf = nil, nil, false
	})
}

// Close cuts the link for good and waits for what was under way.
func (l *Link) Close() {
	l.Cut()
	l.strays.Wait()
}

func (l *Link) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// way is what one request has before it.
type way struct {
	Fate
	frozen <-chan struct{}
	broken <-chan struct{}
	over   <-chan struct{}
}

func (l *Link) way(changes bool) (way, error) {
	w := way{}
	if l.Fates != nil {
		w.Fate = l.Fates()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil && l.cut == nil {
		l.broken = make(chan struct{})
	}
	if l.over == nil {
		l.over = make(chan struct{})
	}
	w.Delay += l.delay
	if changes {
		w.Delay += w.Late
	}
	w.frozen, w.broken, w.over = l.frozen, l.broken, l.over
	return w, l.cut
}

// pass carries a request over the link. change is the request once more where
// it changes anything: without a caller that waits for it.
func (l *Link) pass(ctx context.Context, request, change func(context.Context) error) error {
	w, cut := l.way(change != nil)
	if cut != nil {
		return fmt.Errorf("%w: %w", chunk.ErrUnavailable, cut)
	}
	if err := w.travel(ctx); err != nil {
		if w.Adrift && change != nil {
			l.stray(ctx, w, change)
		}
		return fmt.Errorf("%w: %w", chunk.ErrUnavailable, err)
	}
	err := request(ctx)
	if w.Again > 0 && change != nil {
		l.stray(ctx, way{Fate: Fate{Delay: w.Again}, over: w.over}, change)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deaf || l.cut != nil || w.broken != l.broken {
		return fmt.Errorf("%w: reply lost", chunk.ErrUnavailable)
	}
	return err
}

// stray lets a change arrive at the end of its way, unless all of its
// connection is over before.
func (l *Link) stray(ctx context.Context, w way, change func(context.Context) error) {
	ctx = context.WithoutCancel(ctx)
	w.broken = w.over
	l.strays.Go(func() {
		if w.travel(ctx) == nil {
			_ = change(ctx) // nobody waits for the answer
		}
	})
}

// travel waits until the request is there.
func (w way) travel(ctx context.Context) error {
	if w.frozen != nil {
		select {
		case <-w.frozen:
		case <-w.broken:
			return errCut
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if w.Delay == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(w.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-w.broken:
		return errCut
	case <-ctx.Done():
		return ctx.Err()
	}
}

// carry is pass for requests that have a result and change nothing.
func carry[T any](
	ctx context.Context, l *Link, request func(context.Context) (T, error),
) (result T, err error) {
	err = l.pass(ctx, func(ctx context.Context) (err error) {
		result, err = request(ctx)
		return err
	}, nil)
	if err != nil {
		var none T
		return none, err
	}
	return result, nil
}

// deliver is carry for requests that change something.
func deliver[T any](
	ctx context.Context, l *Link, request func(context.Context) (T, error),
) (result T, err error) {
	err = l.pass(ctx, func(ctx context.Context) (err error) {
		result, err = request(ctx)
		return err
	}, func(ctx context.Context) error {
		_, err := request(ctx)
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
	return carry(ctx, l, l.Store.Hello)
}

// Grant implements chunk.Office.
func (l *Link) Grant(
	ctx context.Context, volume chunk.VolumeID, epoch uint32, nonce uint64,
) (chunk.Granted, error) {
	return deliver(ctx, l, func(ctx context.Context) (chunk.Granted, error) {
		return l.Store.Grant(ctx, volume, epoch, nonce)
	})
}

// Beat implements chunk.Office.
func (l *Link) Beat(ctx context.Context, term chunk.Term) (chunk.Pulse, error) {
	return carry(ctx, l, func(ctx context.Context) (chunk.Pulse, error) {
		return l.Store.Beat(ctx, term)
	})
}

// Superblock implements chunk.Office.
func (l *Link) Superblock(ctx context.Context, volume chunk.VolumeID) (chunk.Superblock, error) {
	return carry(ctx, l, func(ctx context.Context) (chunk.Superblock, error) {
		return l.Store.Superblock(ctx, volume)
	})
}

// PutSuperblock implements chunk.Office.
func (l *Link) PutSuperblock(ctx context.Context, term chunk.Term, sb chunk.Superblock) error {
	put := func(ctx context.Context) error { return l.Store.PutSuperblock(ctx, term, sb) }
	return l.pass(ctx, put, put)
}

// Write implements chunk.Data.
func (l *Link) Write(ctx context.Context, term chunk.Term, ops []chunk.Op) (chunk.Ack, error) {
	return deliver(ctx, l, func(ctx context.Context) (chunk.Ack, error) {
		return l.Store.Write(ctx, term, ops)
	})
}

// Read implements chunk.Data.
func (l *Link) Read(ctx context.Context, term chunk.Term, gets []chunk.Get) ([]chunk.Chunk, error) {
	return carry(ctx, l, func(ctx context.Context) ([]chunk.Chunk, error) {
		return l.Store.Read(ctx, term, gets)
	})
}

// Sync implements chunk.Data.
func (l *Link) Sync(ctx context.Context, term chunk.Term) (chunk.Ack, error) {
	return deliver(ctx, l, func(ctx context.Context) (chunk.Ack, error) {
		return l.Store.Sync(ctx, term)
	})
}

// List implements chunk.Catalog.
func (l *Link) List(
	ctx context.Context, term chunk.Term, req chunk.ListRequest,
) (entries []chunk.Entry, more bool, err error) {
	err = l.pass(ctx, func(ctx context.Context) (err error) {
		entries, more, err = l.Store.List(ctx, term, req)
		return err
	}, nil)
	return entries, more, err
}

// Stat implements chunk.Catalog.
func (l *Link) Stat(ctx context.Context) (chunk.Stat, error) {
	return carry(ctx, l, l.Store.Stat)
}
