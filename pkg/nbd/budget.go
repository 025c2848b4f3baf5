package nbd

import (
	"context"

	"golang.org/x/sync/semaphore"
)

const (
	// requestOverhead is what a request costs besides its data: its header,
	// its place in the queues and its reply. It also bounds how many requests
	// without data are in flight.
	requestOverhead = 1 << 10

	// reserveBytes is what each connection may have in flight whatever others
	// do: eight of the Linux client's default requests.
	reserveBytes = 8 * (128<<10 + requestOverhead)
)

// cost is what one request has taken from the budget.
type cost struct {
	bytes  int64
	shared bool // taken from what all connections have, not from the reserve
}

// budget bounds the bytes that one connection has in flight.
type budget struct {
	all     *semaphore.Weighted // of the server
	own     *semaphore.Weighted // of this connection
	reserve *semaphore.Weighted // of this connection, beside all
}

func newBudget(all *semaphore.Weighted, own int64) *budget {
	return &budget{
		all:     all,
		own:     semaphore.NewWeighted(own),
		reserve: semaphore.NewWeighted(reserveBytes),
	}
}

// try takes n bytes if they may be in flight now.
func (b *budget) try(n int64) (cost, bool) {
	if !b.own.TryAcquire(n) {
		return cost{}, false
	}
	if b.reserve.TryAcquire(n) {
		return cost{bytes: n}, true
	}
	if b.all.TryAcquire(n) {
		return cost{bytes: n, shared: true}, true
	}
	b.own.Release(n)
	return cost{}, false
}

// take waits until n bytes may be in flight, or ctx ends. What fits into the
// reserve waits for nothing but this connection's own requests. The rest waits
// first come, first served, so that no large request is passed over for ever.
func (b *budget) take(ctx context.Context, n int64) (cost, error) {
	if err := b.own.Acquire(ctx, n); err != nil {
		return cost{}, err
	}
	from, shared := b.reserve, n > reserveBytes
	if shared {
		from = b.all
	}
	if err := from.Acquire(ctx, n); err != nil {
		b.own.Release(n)
		return cost{}, err
	}
	return cost{bytes: n, shared: shared}, nil
}

func (b *budget) give(c cost) {
	if c.shared {
		b.all.Release(c.bytes)
	} else {
		b.reserve.Release(c.bytes)
	}
	b.own.Release(c.bytes)
}
