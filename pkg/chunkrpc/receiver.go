package chunkrpc

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// deadlineReader is what a receiver needs of a stream. A read that a deadline
// ends has lost nothing: the next goes on where it was.
type deadlineReader interface {
	io.Reader
	SetReadDeadline(time.Time) error
}

// receiver reads one stream, for one goroutine. Headers and other small pieces
// come out of a buffer; large payloads are read straight to where they belong.
//
// Another goroutine may interrupt it: it sets a flag and then a read deadline
// in the past. The receiver takes the deadline away and then looks at the flag
// of what it is reading just then, so an interruption is neither lost nor ever
// mistaken for another's.
type receiver struct {
	stream deadlineReader
	buf    []byte
	unread []byte // the part of buf that was read and not yet taken
	head   [headerSize]byte
}

func newReceiver(stream deadlineReader) *receiver {
	return &receiver{stream: stream, buf: make([]byte, receiveSize)}
}

// some reads at least one byte, unless it was interrupted.
func (r *receiver) some(p []byte) (int, error) {
	if len(r.unread) == 0 && len(p) < len(r.buf)/2 {
		n, err := r.read(r.buf)
		r.unread = r.buf[:n]
		if n == 0 {
			return 0, err
		}
	}
	if len(r.unread) > 0 {
		n := copy(p, r.unread)
		r.unread = r.unread[n:]
		return n, nil
	}
	return r.read(p)
}

func (r *receiver) read(p []byte) (int, error) {
	n, err := r.stream.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = r.stream.SetReadDeadline(time.Time{})
	}
	if n > 0 {
		return n, nil // an error stays, and shows at the next read
	}
	return 0, err
}

// full fills p.
func (r *receiver) full(p []byte) error {
	_, err := r.fill(p, nil)
	return err
}

// fill fills p, or stops once stop is set, and returns how much it read.
func (r *receiver) fill(p []byte, stop *atomic.Bool) (n int, err error) {
	for n < len(p) {
		if stop != nil && stop.Load() {
			return n, nil
		}
		m, err := r.some(p[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// discard skips n bytes.
func (r *receiver) discard(n int) error {
	scratch := getBuffer(min(n, receiveSize))
	defer scratch.free()
	for n > 0 {
		m, err := r.some(scratch.b[:min(n, len(scratch.b))])
		if err != nil {
			return err
		}
		n -= m
	}
	return nil
}

// header reads the next frame's header.
func (r *receiver) header() (header, error) {
	if err := r.full(r.head[:]); err != nil {
		return header{}, err
	}
	return parseHeader(r.head[:]), nil
}
