package stripe

import (
	"log/slog"
	"time"

	"rozobox/pkg/chunk"
)

// Node is one chunk server, by the two ways to reach it: Background is for
// listing and repair, so that they delay no client.
type Node struct {
	ID         chunk.NodeID
	Store      chunk.Store
	Background chunk.Store
}

// Options are what an Array needs. The zero value of each field but Nodes is a
// working default.
type Options struct {
	Nodes []Node

	// NodeTimeout bounds one request to a node; then the node counts as
	// silent. Default 1 s.
	NodeTimeout time.Duration

	// Lease is how long answers of a quorum allow the gateway to serve,
	// counted from when it asked. All gateways of a cluster must use the same.
	// Default 2 s.
	Lease time.Duration

	// SyncEvery is how often the array makes durable what nobody flushed.
	// Default 2 s.
	SyncEvery time.Duration

	// Memory bounds the bytes of chunks that are kept because W has not passed
	// them. Default 64 MiB, at least four stripes.
	Memory int64

	// Writeback has a write return as soon as this process has it: what was
	// not flushed is lost with the process, and the next opening raises the
	// volume's incarnation unless it was closed. Default: a write returns when
	// its holders have it.
	Writeback bool

	// Clock is a clock that never goes back and counts the time that the
	// machine was suspended; the lease depends on it. Default: Go's monotonic
	// clock, which does not count suspension.
	Clock func() time.Duration

	// Logger gets each event once. Default: none.
	Logger *slog.Logger
}

const (
	defaultNodeTimeout = time.Second
	defaultLease       = 2 * time.Second
	defaultSyncEvery   = 2 * time.Second
	defaultMemory      = 64 << 20

	// beatEvery is how often each node is asked whether the term stands: ten
	// chances within the shortest sensible NodeTimeout.
	beatEvery = 100 * time.Millisecond

	// sendWindow bounds the batches under way to one node: enough to fill a
	// gigabit link at 10 ms, the pause of a busy SD card.
	sendWindow = 8

	// eagerWindow is how many batches go to a node as soon as there is anything
	// to send; more only when they are full. So a batch gathers what comes
	// while two others are under way, and a lone write waits for nobody.
	eagerWindow = 2

	// A batch waits for as many chunks as a gatherShare of the writes that wait for their
	// nodes, for gatherOps at most, and no longer than gatherTime. With few writes that
	// is none. With 12 chunks, or 1 ms, 32 at once were no more a second.
	gatherOps   = 8
	gatherShare = 4
	gatherTime  = 2 * time.Millisecond

	// batchOps and batchBytes bound one batch: large enough that its fixed
	// cost does not matter, small enough that eight of them are no queue.
	batchOps   = 64
	batchBytes = 512 << 10
)

func (o Options) withDefaults() Options {
	if o.NodeTimeout <= 0 {
		o.NodeTimeout = defaultNodeTimeout
	}
	if o.Lease <= 0 {
		o.Lease = defaultLease
	}
	if o.SyncEvery <= 0 {
		o.SyncEvery = defaultSyncEvery
	}
	if o.Memory <= 0 {
		o.Memory = defaultMemory
	}
	if o.Clock == nil {
		start := time.Now()
		o.Clock = func() time.Duration { return time.Since(start) }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}
