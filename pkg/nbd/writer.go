package nbd

import (
	"bufio"
	"net"
	"runtime"
	"time"
)

const (
	// replyQueue is how many replies may wait for the writer before workers
	// do; their bytes are bounded by the budget.
	replyQueue = 256

	// maxBatch and maxBatchBytes bound what is written at once: 64 default
	// reads of 4 KiB, or one large one, per system call.
	maxBatch      = 64
	maxBatchBytes = 1 << 20

	// slowestClient is the rate, in bytes per second, below which a client
	// counts as one that has stopped reading or sending; WriteTimeout comes on
	// top. It bounds how long the largest payload holds its memory: 64 s.
	slowestClient = 1 << 20
)

// writer sends replies, all that wait in one system call, in one goroutine. It
// lets others run first: these may be about to reply as well.
// After a failure it takes and frees replies without sending them, so that no
// worker ever waits for a dead client.
type writer struct {
	queue   chan reply // closed by the connection when nobody sends any more
	stream  net.Conn
	buffer  *bufio.Writer // for streams without vectored writes
	timeout time.Duration
	budget  *budget
	buffers *buffers
	failed  func(error) // called once

	batch []reply
	parts net.Buffers // of batch; kept for its memory
}

func newWriter(stream net.Conn, timeout time.Duration) *writer {
	w := &writer{
		queue:   make(chan reply, replyQueue),
		stream:  stream,
		timeout: timeout,
		batch:   make([]reply, 0, maxBatch),
		parts:   make(net.Buffers, 0, 2*maxBatch),
	}
	switch stream.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		w.buffer = bufio.NewWriterSize(stream, readBuffer)
	}
	return w
}

// send hands r over to the writer.
func (w *writer) send(r reply) { w.queue <- r }

// run sends until the queue is closed.
func (w *writer) run() {
	broken := false
	for r := range w.queue {
		runtime.Gosched()
		w.gather(r)
		if !broken {
			if err := w.write(); err != nil {
				broken = true
				w.failed(err)
			}
		}
		w.release()
	}
}

// gather fills the batch with r and what else waits.
func (w *writer) gather(r reply) {
	w.batch = append(w.batch, r)
	for size := r.size(); len(w.batch) < maxBatch && size < maxBatchBytes; {
		select {
		case r, ok := <-w.queue:
			if !ok {
				return
			}
			w.batch = append(w.batch, r)
			size += r.size()
		default:
			return
		}
	}
}

// write sends the batch, within a time that a slow client can keep.
func (w *writer) write() error {
	size := 0
	parts := w.parts[:0]
	for i := range w.batch {
		r := &w.batch[i]
		size += r.size()
		parts = append(parts, r.head[:r.headSize])
		if len(r.body) > 0 {
			parts = append(parts, r.body)
		}
	}
	if err := w.stream.SetWriteDeadline(patience(w.timeout, size)); err != nil {
		return err
	}
	if w.buffer != nil {
		return w.writeBuffered(parts)
	}
	_, err := parts.WriteTo(w.stream)
	return err
}

// writeBuffered is for TLS, where each small write would become a record.
func (w *writer) writeBuffered(parts net.Buffers) error {
	for _, p := range parts {
		if _, err := w.buffer.Write(p); err != nil {
			return err
		}
	}
	return w.buffer.Flush()
}

// release frees what the batch held.
func (w *writer) release() {
	for i := range w.batch {
		r := &w.batch[i]
		w.buffers.put(r.buffer)
		w.budget.give(r.cost)
	}
	clear(w.batch)
	w.batch = w.batch[:0]
}

// patience is when n bytes must have been moved.
func patience(timeout time.Duration, n int) time.Time {
	return time.Now().Add(timeout + time.Duration(n)*time.Second/slowestClient)
}
