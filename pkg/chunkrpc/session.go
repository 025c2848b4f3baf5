package chunkrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"rozobox/pkg/chunk"
)

// errAbandoned tells the caller that gave up a call that the receiver has let
// go of its memory.
var errAbandoned = errors.New("abandoned")

// session is one connection of a Client, from the handshake to its end. It is
// never mended: the Client makes another.
type session struct {
	conn  connection
	peer  string // for errors: node and address
	lanes [lanes]*clientStream

	wg   sync.WaitGroup
	done chan struct{} // closed with cause set

	mu    sync.Mutex // guards cause
	cause error
}

// newSession opens all streams. Nothing is sent yet but where each begins.
func newSession(
	ctx context.Context, conn connection, peer string, id clientID,
) (*session, error) {
	s := &session{conn: conn, peer: peer, done: make(chan struct{})}
	for l := range lanes {
		stream, err := conn.openStream(ctx)
		if err != nil {
			return nil, err
		}
		if _, err := stream.Write(preamble{l, id}.append(nil)); err != nil {
			return nil, err
		}
		s.lanes[l] = newClientStream(s, stream)
	}
	return s, nil
}

// start runs the streams until ctx or the connection ends; wait returns then.
func (s *session) start(ctx context.Context) {
	s.wg.Go(func() {
		select {
		case <-ctx.Done():
			s.end(errClosed)
		case <-s.done:
		}
	})
	for _, cs := range s.lanes {
		s.wg.Go(func() { s.endWith(cs.out.run(s.done)) })
		s.wg.Go(func() { s.endWith(cs.receive()) })
	}
}

func (s *session) wait() error {
	s.wg.Wait()
	return s.cause
}

func (s *session) endWith(err error) {
	if err != nil {
		s.end(err)
	}
}

// end closes the connection; the first cause counts, and every call that waits
// fails with it at once.
func (s *session) end(cause error) {
	s.mu.Lock()
	first := s.cause == nil
	if first {
		s.cause = cause
		close(s.done)
	}
	s.mu.Unlock()
	if !first {
		return
	}
	for _, cs := range s.lanes {
		cs.failAll()
	}
	s.conn.close(closeCode(cause), errorText(cause, maxText))
}

// unavailable is what a call gets from a session that has ended.
func (s *session) unavailable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return unavailable(s.peer, s.cause)
}

func unavailable(peer string, cause error) error {
	return fmt.Errorf("%s: %w: %w", peer, chunk.ErrUnavailable, cause)
}

// stream is one stream of a connection.
type stream interface {
	deadlineReader
	io.Writer
}

// clientStream is one stream with the calls that wait on it.
type clientStream struct {
	session *session
	stream  stream
	in      *receiver
	out     *sender

	mu      sync.Mutex // guards pending, lastID and failed; never kept while waiting
	pending map[uint64]*call
	lastID  uint64
	failed  bool
}

func newClientStream(s *session, stream stream) *clientStream {
	return &clientStream{
		session: s,
		stream:  stream,
		in:      newReceiver(stream),
		out:     newSender(stream),
		pending: make(map[uint64]*call),
	}
}

// do sends a request and waits for its reply, or for the end of ctx. head has
// room for the header at its front and the fixed part of the body behind it.
func (cs *clientStream) do(ctx context.Context, c *call, count int, head *buffer, tail [][]byte) error {
	id, ok := cs.add(c)
	if !ok {
		head.free()
		return cs.session.unavailable()
	}
	f := frame{head: head, tail: tail, owner: c}
	header{length: f.length(), kind: c.kind, count: uint16(count), id: id}.put(head.b)
	if cs.out.send(ctx, cs.session.done, f) {
		select {
		case <-c.done:
		case <-ctx.Done():
		}
	}
	return cs.settle(ctx, c, id)
}

// settle returns the result of a call that is done, and gives up one that is
// not.
func (cs *clientStream) settle(ctx context.Context, c *call, id uint64) error {
	select {
	case <-c.done:
		return c.err
	default:
	}
	c.abandoned.Store(true)
	if cs.take(id) != nil {
		if ctx.Err() == nil { // the connection ended before the request was queued
			return cs.session.unavailable()
		}
		return unavailable(cs.session.peer, context.Cause(ctx))
	}
	cs.stream.SetReadDeadline(time.Unix(0, 1)) // long past
	if <-c.done; errors.Is(c.err, errAbandoned) {
		return unavailable(cs.session.peer, context.Cause(ctx))
	}
	return c.err
}

func (cs *clientStream) add(c *call) (id uint64, ok bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.failed {
		return 0, false
	}
	cs.lastID++
	cs.pending[cs.lastID] = c
	return cs.lastID, true
}

// take makes the caller the one who finishes the call; nil if another has
// taken it.
func (cs *clientStream) take(id uint64) *call {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.pending[id]
	delete(cs.pending, id)
	return c
}

func (cs *clientStream) failAll() {
	cs.mu.Lock()
	pending := cs.pending
	cs.pending, cs.failed = nil, true
	cs.mu.Unlock()
	err := cs.session.unavailable()
	for _, c := range pending {
		c.finish(err)
	}
}

// receive reads replies until the stream fails.
func (cs *clientStream) receive() error {
	for {
		h, err := cs.in.header()
		if err == nil {
			err = h.checkReply()
		}
		if err == nil {
			err = cs.reply(h)
		}
		if err != nil {
			return err
		}
	}
}

// reply reads the body of one reply and finishes its call. A reply that nobody
// waits for is that of a call that was given up.
func (cs *clientStream) reply(h header) error {
	c := cs.take(h.id)
	if c == nil {
		return cs.in.discard(int(h.length))
	}
	err := cs.body(h, c)
	if err != nil {
		cs.session.end(err)
		select {
		case <-c.done: // it was abandoned; only the rest of its reply is lost
		default:
			c.finish(cs.session.unavailable())
		}
	}
	return err
}

func (cs *clientStream) body(h header, c *call) error {
	if h.kind != c.kind|replyBit {
		return fmt.Errorf("%w reply: %s to %s", errMalformed, h.kind, c.kind)
	}
	if h.code == 0 && c.kind == kindRead {
		return cs.bodyOfRead(h, c)
	}
	body := make([]byte, h.length)
	if err := cs.in.full(body); err != nil {
		return err
	}
	if h.code != 0 {
		c.finish(fmt.Errorf("%s: %w", cs.session.peer, decodeError(h.code, body)))
		return nil
	}
	c.body = body
	c.finish(nil)
	return nil
}

// bodyOfRead reads payloads straight into the caller's memory, as long as the
// caller is there.
func (cs *clientStream) bodyOfRead(h header, c *call) error {
	rest := int(h.length) - len(c.gets)*chunkSize
	if rest < 0 {
		return fmt.Errorf("%w reply: %d chunks in %d bytes", errMalformed, len(c.gets), h.length)
	}
	fixed := getBuffer(len(c.gets) * chunkSize)
	defer fixed.free()
	if err := cs.in.full(fixed.b); err != nil {
		return err
	}
	chunks, err := decodeChunks(fixed.b, c.gets, rest)
	if err != nil {
		return err
	}
	for i := range chunks {
		if chunks[i].State != chunk.Present {
			continue
		}
		n, err := cs.in.fill(c.gets[i].Dst, &c.abandoned)
		if err != nil {
			return err
		}
		if rest -= n; n < len(c.gets[i].Dst) {
			c.finish(errAbandoned)
			return cs.in.discard(rest)
		}
	}
	c.chunks = chunks
	c.finish(nil)
	return nil
}
