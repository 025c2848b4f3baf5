package chunkrpc

import (
	"context"
	"io"
	"runtime"
)

// frame is one frame on its way out. head, with the header at its front, is
// the sender's to free. tail, the payloads, is borrowed until owner.sent.
type frame struct {
	head  *buffer
	tail  [][]byte
	owner owner // or nil
}

// length is that of the body.
func (f *frame) length() uint32 {
	n := len(f.head.b) - headerSize
	for _, p := range f.tail {
		n += len(p)
	}
	return uint32(n)
}

// owner is who waits for a frame's answer, or pays for its memory.
type owner interface {
	// wanted tells, just before a frame is written, whether it still should be.
	wanted() bool
	// sent ends the loan of the payloads, whether they were written or not.
	sent()
}

// sender writes frames to one stream. One goroutine runs it; what has queued
// up while it wrote goes out together, in one write. It lets others run before
// it looks, as gRPC's writer does: who is about to send does not know that it
// would not be alone.
type sender struct {
	stream io.Writer
	queue  chan frame
	gather []byte // grows to coalesceSize
}

func newSender(stream io.Writer) *sender {
	return &sender{stream: stream, queue: make(chan frame, sendQueue)}
}

// send queues f. If ctx or the connection ends first it reports false, and f
// is gone.
func (s *sender) send(ctx context.Context, done <-chan struct{}, f frame) bool {
	select {
	case s.queue <- f:
		return true
	case <-ctx.Done():
	case <-done:
	}
	f.drop()
	return false
}

func (f *frame) drop() {
	f.head.free()
	if f.owner != nil {
		f.owner.sent()
	}
}

// run writes until done is closed or the stream fails.
func (s *sender) run(done <-chan struct{}) error {
	for {
		select {
		case f := <-s.queue:
			runtime.Gosched()
			if err := s.drain(f); err != nil {
				return err
			}
		case <-done:
			return nil
		}
	}
}

// drain writes f and whatever else is queued by now.
func (s *sender) drain(f frame) error {
	for {
		if err := s.write(f); err != nil {
			return err
		}
		select {
		case f = <-s.queue:
		default:
			return s.flush()
		}
	}
}

func (s *sender) write(f frame) error {
	defer f.drop()
	if f.owner != nil && !f.owner.wanted() {
		return nil
	}
	if err := s.add(f.head.b); err != nil {
		return err
	}
	for _, p := range f.tail {
		if err := s.add(p); err != nil {
			return err
		}
	}
	return nil
}

// add gathers p, or writes it at once, after what was gathered, if it is large.
func (s *sender) add(p []byte) error {
	if len(p) < directSize && len(s.gather)+len(p) <= coalesceSize {
		s.gather = append(s.gather, p...)
		return nil
	}
	if err := s.flush(); err != nil {
		return err
	}
	if len(p) < directSize {
		s.gather = append(s.gather, p...)
		return nil
	}
	_, err := s.stream.Write(p)
	return err
}

func (s *sender) flush() error {
	if len(s.gather) == 0 {
		return nil
	}
	_, err := s.stream.Write(s.gather)
	s.gather = s.gather[:0]
	return err
}
