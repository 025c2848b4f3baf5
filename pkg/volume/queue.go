package volume

import (
	"context"
	"sync"
)

// kind says what a part does to its block.
type kind uint8

const (
	reading kind = iota
	writing      // of the bytes in part.data
	zeroing      // the bytes become zeroes
)

// part is what one request does to one block. Between enter and its end it
// belongs to the queue of its block.
type part struct {
	kind   kind
	block  uint64
	lo, hi int // the bytes within the block
	data   []byte

	ctx   context.Context
	ready chan struct{} // closed when the part may run, or was merged and is done; nil if at once
	batch []*part       // of the writer that leads: all that it must apply, itself first
	begun bool          // guarded by queues.mu
	err   error         // of a merged writer; set before ready is closed
}

// queues orders the parts of all blocks.
type queues struct {
	mu     sync.Mutex // guards blocks and all in it; never kept across I/O
	blocks map[uint64]*queue
}

// queue orders the parts of one block. It exists while there are any.
type queue struct {
	waiting []*part // in order of arrival
	readers int     // that run
	writing bool
	one     [1]*part // what waiting lies in, as long as that is enough
}

// enter puts all parts of a request into the queues, in one step.
func (q *queues) enter(parts []*part) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range parts {
		b := q.blocks[p.block]
		if b == nil {
			b = &queue{}
			b.waiting = b.one[:0]
			q.blocks[p.block] = b
		}
		if !b.free(p.kind) {
			p.ready = make(chan struct{})
		}
		b.waiting = append(b.waiting, p)
		q.advanceLocked(p.block)
	}
}

// free reports whether a part that comes now may run at once.
func (b *queue) free(k kind) bool {
	return len(b.waiting) == 0 && !b.writing && (k == reading || b.readers == 0)
}

// advanceLocked starts what may run on a block.
func (q *queues) advanceLocked(block uint64) {
	b := q.blocks[block]
	for len(b.waiting) > 0 && !b.writing {
		first := b.waiting[0]
		if first.kind != reading {
			if b.readers == 0 {
				b.startWriter()
			}
			return
		}
		b.waiting = b.waiting[1:]
		b.readers++
		first.begin()
	}
	if len(b.waiting) == 0 && b.readers == 0 && !b.writing {
		delete(q.blocks, block)
	}
}

// startWriter starts the first part with all writers that stand behind it.
func (b *queue) startWriter() {
	n := 0
	for n < len(b.waiting) && b.waiting[n].kind != reading {
		b.waiting[n].begun = true
		n++
	}
	batch := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	b.writing = true
	batch[0].batch = batch
	batch[0].begin()
}

func (p *part) begin() {
	p.begun = true
	if p.ready != nil {
		close(p.ready)
	}
}

// wait waits until the part may run, and reports whether it shall: not when it
// was merged into another writer's batch, whose outcome is in p.err then, nor
// when ctx ended before it began.
func (q *queues) wait(p *part) (run bool, err error) {
	if p.ready != nil {
		select {
		case <-p.ready:
		case <-p.ctx.Done():
			if q.withdraw(p) {
				return false, context.Cause(p.ctx)
			}
			<-p.ready // it has begun: the leader of its batch will end it
		}
	}
	return p.kind == reading || p.batch != nil, p.err
}

// withdraw takes a part that has not begun out of its queue.
func (q *queues) withdraw(p *part) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.begun {
		return false
	}
	b := q.blocks[p.block]
	for i, other := range b.waiting {
		if other == p {
			b.waiting = append(b.waiting[:i:i], b.waiting[i+1:]...)
			break
		}
	}
	q.advanceLocked(p.block)
	return true
}

// leave ends a part that ran: a reader, or a leader with its whole batch.
func (q *queues) leave(p *part, err error) {
	for _, follower := range p.batch[min(1, len(p.batch)):] {
		follower.err = err
		close(follower.ready)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.blocks[p.block]
	if p.kind == reading {
		b.readers--
	} else {
		b.writing = false
	}
	q.advanceLocked(p.block)
}
