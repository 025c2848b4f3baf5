package chunkrpc

import (
	"sync/atomic"

	"rozobox/pkg/chunk"
)

// call is one request whose reply is awaited. Who takes it out of its stream's
// pending map finishes it, once: the caller that gives up, the receiver that
// has its reply, or the end of the connection.
//
// The bytes of a Read reply go into the caller's own memory. So a caller that
// gives up while the receiver is at it sets abandoned, interrupts the receiver
// and waits until it has let go.
type call struct {
	kind      kind
	gets      []chunk.Get // of a Read: where the bytes go
	abandoned atomic.Bool
	done      chan struct{} // closed when the fields below are final

	chunks []chunk.Chunk // of a Read
	body   []byte        // of another reply
	err    error
}

func newCall(k kind, gets []chunk.Get) *call {
	return &call{kind: k, gets: gets, done: make(chan struct{})}
}

func (c *call) finish(err error) {
	c.err = err
	close(c.done)
}

// wanted implements owner: what nobody waits for any more is not sent.
func (c *call) wanted() bool { return !c.abandoned.Load() }

// sent implements owner. The payloads are the caller's, who never changes them.
func (c *call) sent() {}
