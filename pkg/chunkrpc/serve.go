package chunkrpc

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/semaphore"

	"rozobox/pkg/chunk"
)

// serverStream reads the requests of one stream and executes them in workers, as
// many at once as the two bounds allow. Their order is lost there; whoever needs
// one waits for the reply.
type serverStream struct {
	peer  *peer
	store chunk.Store
	in    *receiver
	out   *sender
	slots chan struct{}       // one for each request under way
	held  *semaphore.Weighted // payload bytes in memory
	work  chan job            // to idle workers
}

func newServerStream(p *peer, stream stream) *serverStream {
	return &serverStream{
		peer:  p,
		store: p.server.opts.Store,
		in:    newReceiver(stream),
		out:   newSender(stream),
		slots: make(chan struct{}, maxHandlers),
		held:  semaphore.NewWeighted(maxHeld),
		work:  make(chan job),
	}
}

// serve reads requests until the stream ends, which ends the connection.
func (st *serverStream) serve() error {
	ctx := st.peer.conn.Context()
	for {
		h, err := st.in.header()
		if err == nil {
			err = h.checkRequest()
		}
		if err != nil {
			return err
		}
		select {
		case st.slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := st.request(ctx, h); err != nil {
			return err
		}
	}
}

// job is a request for a worker, who frees its body.
type job struct {
	h    header
	body *buffer
}

// request reads one body and hands it to an idle worker, or to a new one.
func (st *serverStream) request(ctx context.Context, h header) error {
	if !st.peer.may(h.kind) {
		st.peer.wg.Go(func() {
			st.fail(ctx, h, fmt.Errorf("%w: %s: a %s may not %s",
				chunk.ErrInvalid, errForbidden, st.peer.who.Role, h.kind))
		})
		return st.in.discard(int(h.length))
	}
	if h.kind == kindWrite {
		if err := st.held.Acquire(ctx, int64(h.length)); err != nil {
			return err
		}
	}
	body := getBuffer(int(h.length))
	if err := st.in.full(body.b); err != nil {
		return err
	}
	j := job{h, body}
	select {
	case st.work <- j:
	default:
		st.peer.wg.Go(func() { st.worker(ctx, j) })
	}
	return nil
}

// worker executes requests until the connection ends: its stack has grown to what
// they take, which a new goroutine's would have to each time.
func (st *serverStream) worker(ctx context.Context, j job) {
	for {
		if err := st.execute(ctx, j.h, j.body.b); err != nil {
			st.peer.end(err)
		}
		j.body.free()
		select {
		case j = <-st.work:
		case <-ctx.Done():
			return
		}
	}
}

// may tells what a role may ask for.
func (p *peer) may(k kind) bool {
	return p.who.Role == RoleGateway || k == kindHello || k == kindStat
}

// execute executes a request and queues its reply. It returns an error if the
// request was malformed. What changes the store is not cut short: when it has
// returned, nothing of it comes later. A newer connection waits for that.
func (st *serverStream) execute(ctx context.Context, h header, body []byte) error {
	switch h.kind {
	case kindRead:
		return st.read(ctx, h, body)
	case kindWrite:
		return st.write(ctx, h, body)
	}
	head := getBuffer(headerSize)
	var err error
	head.b, err = answers[h.kind](context.WithoutCancel(ctx), st.store, body, head.b)
	if err != nil {
		head.free()
		return st.fail(ctx, h, err)
	}
	st.reply(ctx, h, frame{head: head})
	return nil
}

// reply completes the frame's header and queues it.
func (st *serverStream) reply(ctx context.Context, h header, f frame) {
	header{length: f.length(), kind: h.kind | replyBit, id: h.id}.put(f.head.b)
	st.queue(ctx, f)
}

// fail answers with an error, unless the request was malformed.
func (st *serverStream) fail(ctx context.Context, h header, err error) error {
	if errors.Is(err, errMalformed) {
		return err
	}
	head := getBuffer(headerSize)
	head.b = append(head.b, errorText(err, maxText)...)
	f := frame{head: head}
	header{length: f.length(), kind: h.kind | replyBit, code: codeOf(err), id: h.id}.put(head.b)
	st.queue(ctx, f)
	return nil
}

// queue queues a reply, and with that the request has left its slot.
func (st *serverStream) queue(ctx context.Context, f frame) {
	st.out.send(ctx, nil, f)
	<-st.slots
}

// loan is the memory of a Read's reply, or of a Write's, until it has been written.
type loan struct {
	stream *serverStream
	room   *buffer // of a Read
	size   int
}

func (l *loan) wanted() bool { return true }

func (l *loan) sent() {
	if l.room != nil {
		l.room.free()
	}
	l.stream.held.Release(int64(l.size))
}

// write has taken its size from held: what swaps replaced is no longer than that.
func (st *serverStream) write(ctx context.Context, h header, body []byte) error {
	l := &loan{stream: st, size: int(h.length)}
	term, ops, err := decodeWrite(int(h.count), body)
	var ack chunk.Ack
	if err == nil {
		ack, err = st.store.Write(context.WithoutCancel(ctx), term, ops)
	}
	if err != nil {
		l.sent()
		return st.fail(ctx, h, err)
	}
	head := getBuffer(headerSize)
	head.b = appendAck(head.b, ops, ack)
	st.reply(ctx, h, frame{head: head, tail: replaced(ack.Olds), owner: l})
	return nil
}

// replaced returns the bytes that swaps have replaced.
func replaced(olds []chunk.Old) (pieces [][]byte) {
	for i := range olds {
		if olds[i].Base != 0 {
			pieces = append(pieces, olds[i].Data)
		}
	}
	return pieces
}

func (st *serverStream) read(ctx context.Context, h header, body []byte) error {
	size, err := readBytes(int(h.count), body)
	if err != nil {
		return err
	}
	if err := st.held.Acquire(ctx, int64(size)); err != nil {
		return nil // the connection has ended
	}
	l := &loan{stream: st, room: getBuffer(size), size: size}
	term, gets, err := decodeRead(int(h.count), body, l.room.b)
	var chunks []chunk.Chunk
	if err == nil {
		chunks, err = st.store.Read(ctx, term, gets)
	}
	if err != nil {
		l.sent()
		return st.fail(ctx, h, err)
	}
	head := getBuffer(headerSize)
	head.b = appendChunks(head.b, chunks)
	st.reply(ctx, h, frame{head: head, tail: present(gets, chunks, l.room.b), owner: l})
	return nil
}

// present returns the payloads that a Read has brought into room: in one piece,
// where it has brought all.
func present(gets []chunk.Get, chunks []chunk.Chunk, room []byte) [][]byte {
	absent := func(c chunk.Chunk) bool { return c.State != chunk.Present }
	if !slices.ContainsFunc(chunks, absent) {
		return [][]byte{room}
	}
	var pieces [][]byte
	for i := range gets {
		if chunks[i].State == chunk.Present && len(gets[i].Dst) > 0 {
			pieces = append(pieces, gets[i].Dst)
		}
	}
	return pieces
}
