package nbd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxWorkers bounds the requests that one connection has in its Device.
	// The Linux client has up to 128 outstanding.
	maxWorkers = 256

	// stallTime is how long a request waits before the connection counts as
	// one that has stalled: far above what a busy server needs, far below any
	// client's timeout.
	stallTime = 100 * time.Millisecond

	// lingerTime is how long what a client still sends is thrown away after
	// the last reply, so that a reset does not overtake it.
	lingerTime = time.Second

	// failureLogPause keeps a failing device from flooding the log.
	failureLogPause = 10 * time.Second
)

// errTooLong ends a connection: its WRITE is longer than is worth skipping.
var errTooLong = errors.New("payload is longer than the server takes")

// conn is a connection in the transmission phase. run is its parser.
type conn struct {
	*session
	server *Server
	log    *slog.Logger
	raw    net.Conn // the socket below stream

	ctx    context.Context // ends when the client is gone, or given up
	cancel context.CancelFunc
	header [extendedRequestSize]byte

	budget  *budget
	pending *pending
	work    chan request // unbuffered: a worker that receives is an idle one
	started int          // workers; only the parser counts
	workers sync.WaitGroup
	out     *writer
	ended   chan struct{} // closed when all but the shutdown watch has ended

	disconnecting atomic.Bool // the client said DISC: finish everything
	stopping      atomic.Bool // the parser is to return
	stalled       atomic.Bool // a request once waited for stallTime
	lastFailure   atomic.Int64
}

func newConn(s *Server, raw net.Conn, session *session, log *slog.Logger) *conn {
	c := &conn{
		session: session,
		server:  s,
		log:     log,
		raw:     raw,
		budget:  newBudget(s.inFlight, s.opts.MaxInFlightPerConn),
		pending: newPending(),
		work:    make(chan request),
		out:     newWriter(session.stream, s.opts.WriteTimeout),
		ended:   make(chan struct{}),
	}
	c.out.budget, c.out.buffers, c.out.failed = c.budget, &s.buffers, c.writeFailed
	return c
}

// run serves requests until the client disconnects or is lost, or ctx ends. It
// returns why. Every request has returned from the Device by then.
func (c *conn) run(ctx context.Context) error {
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer c.cancel()
	var writer, watch sync.WaitGroup
	watch.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer watch.Done()
		c.shutdown()
	})
	writer.Go(c.out.run)

	err := c.parse()
	polite := err == nil || errors.Is(err, errTooLong) || errors.Is(err, ErrShutdown)
	if !polite {
		c.abandon()
	}
	close(c.work)
	c.workers.Wait()
	close(c.out.queue)
	writer.Wait()
	if polite {
		c.hangUp(err != nil)
	}
	close(c.ended)
	if !stop() {
		watch.Wait()
	}
	return err
}

// shutdown refuses new requests, lets the outstanding ones finish, and ends the
// connection, all within ShutdownTimeout.
func (c *conn) shutdown() {
	limit := time.NewTimer(c.server.opts.ShutdownTimeout)
	defer limit.Stop()
	select {
	case <-c.pending.refuse():
		c.stop()
	case <-c.ended:
		return
	case <-limit.C:
		c.abandon()
		return
	}
	select {
	case <-c.ended:
	case <-limit.C:
		c.abandon()
	}
}

// stop makes the parser return.
func (c *conn) stop() {
	c.stopping.Store(true)
	c.raw.SetReadDeadline(time.Unix(1, 0))
}

// abandon gives the client up: queued requests are dropped, and those in the
// Device are told to return.
func (c *conn) abandon() {
	c.cancel()
	c.raw.Close()
}

// writeFailed ends the connection, unless the client has said goodbye and need
// not read the replies to what it has sent before.
func (c *conn) writeFailed(err error) {
	if !c.disconnecting.Load() {
		c.log.Debug("cannot send replies", "error", err)
		c.abandon()
	}
}

// hangUp closes a connection from this side. If the client may still be
// sending, it is given time to read the last replies.
func (c *conn) hangUp(linger bool) {
	if s, ok := c.stream.(interface{ CloseWrite() error }); ok && linger {
		c.raw.SetDeadline(time.Now().Add(lingerTime))
		if s.CloseWrite() == nil {
			_, _ = io.Copy(io.Discard, c.raw)
		}
	}
	c.stream.Close()
}

// parse reads requests until there are no more. It returns nil after DISC.
func (c *conn) parse() error {
	for {
		req, err := c.next()
		if err == nil && req.kind == cmdDisc {
			c.disconnecting.Store(true)
			return nil
		}
		if err == nil {
			err = c.take(&req)
		}
		switch {
		case err == nil:
		case c.stopping.Load():
			return ErrShutdown
		default:
			return err
		}
	}
}

// next reads one header.
func (c *conn) next() (request, error) {
	b := c.header[:requestSize]
	if c.extended {
		b = c.header[:extendedRequestSize]
	}
	if _, err := io.ReadFull(c.in, b); err != nil {
		return request{}, err
	}
	req, err := decodeRequest(b, c.extended)
	req.arrived = time.Now()
	return req, err
}

// take reads the request's payload and gives it to a worker, or refuses it.
func (c *conn) take(req *request) error {
	size := req.payloadSize(c.extended)
	refusal := c.validate(req)
	if size > MaxPayload {
		if refusal == nil {
			refusal = fmt.Errorf("%w: %w", ErrInvalid, errTooLong)
		}
		c.finish(req, refusal)
		return errTooLong
	}
	if refusal == nil && !c.pending.begin() {
		if refusal = ErrShutdown; c.server.opts.Resumable {
			return refusal
		}
	}
	if refusal != nil {
		if err := c.skip(int(size)); err != nil {
			return err
		}
		c.finish(req, refusal)
		return nil
	}
	if err := c.load(req, int(size)); err != nil {
		c.pending.end()
		return err
	}
	c.dispatch(req)
	return nil
}

// skip throws a payload away.
func (c *conn) skip(n int) error {
	defer c.hurry(n)()
	_, err := c.in.Discard(n)
	return err
}

// load waits until the request may have its memory, and reads its payload. The
// time that the client takes to send it does not count as waiting.
func (c *conn) load(req *request, n int) error {
	if err := c.charge(req); err != nil {
		return err
	}
	waited := c.noteStall(req)
	if n == 0 {
		return nil
	}
	req.payload = c.server.buffers.get(n)
	defer c.hurry(n)()
	if _, err := io.ReadFull(c.in, req.payload.data); err != nil {
		c.free(req)
		return err
	}
	c.noteStall(req)
	req.arrived = time.Now().Add(-waited)
	return nil
}

// charge waits until the request may have its memory.
func (c *conn) charge(req *request) (err error) {
	var ok bool
	if req.cost, ok = c.budget.try(req.budget()); !ok {
		defer c.watch()()
		req.cost, err = c.budget.take(c.ctx, req.budget())
	}
	return err
}

// watch looks whether the client hangs up while the parser, which would notice
// it, waits for something else. It returns the function that ends the watch.
func (c *conn) watch() func() {
	quit := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		ticker := time.NewTicker(stallTime)
		defer ticker.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ticker.C:
				if hungUp(c.raw) {
					c.abandon()
				}
			}
		}
	})
	return func() {
		close(quit)
		watcher.Wait()
	}
}

// free gives back what the request holds, when it will not be carried out.
func (c *conn) free(req *request) {
	c.server.buffers.put(req.payload)
	c.budget.give(req.cost)
	req.payload, req.cost = nil, cost{}
}

// hurry sets a deadline for the next n bytes from the client, and returns the
// function that removes it. A deadline that stop has set stays.
func (c *conn) hurry(n int) func() {
	if n <= c.in.Buffered() {
		return func() {}
	}
	c.setReadDeadline(patience(c.server.opts.WriteTimeout, n))
	return func() { c.setReadDeadline(time.Time{}) }
}

func (c *conn) setReadDeadline(t time.Time) {
	c.raw.SetReadDeadline(t)
	if c.stopping.Load() {
		c.stop()
	}
}

// dispatch gives the request to an idle worker, a new one, or the next that
// becomes idle.
func (c *conn) dispatch(req *request) {
	select {
	case c.work <- *req:
		return
	default:
	}
	if c.started < maxWorkers {
		c.started++
		first := *req
		c.workers.Go(func() { c.worker(first) })
		return
	}
	defer c.watch()()
	c.work <- *req
	c.noteStall(req)
}

func (c *conn) worker(req request) {
	c.handle(&req)
	for req := range c.work {
		c.handle(&req)
	}
}

// handle carries out a request if it is still wanted.
func (c *conn) handle(req *request) {
	defer c.pending.end()
	if err := c.unwanted(req); err != nil {
		c.server.buffers.put(req.payload)
		c.finish(req, err)
		return
	}
	c.execute(req)
}

// unwanted tells why a request must not be carried out any more. A change whose
// client has hung up may have been sent again on another connection, and newer
// data behind it; the parser does not see the end of the stream while it waits
// for room, so the socket is asked.
func (c *conn) unwanted(req *request) error {
	waited := c.noteStall(req)
	if c.stalled.Load() && req.changes() && !c.disconnecting.Load() && hungUp(c.raw) {
		c.abandon()
	}
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if waited > c.server.opts.QueueTimeout {
		return errLate
	}
	return nil
}

// noteStall returns how long the request has waited, and remembers it if that
// was long.
func (c *conn) noteStall(req *request) time.Duration {
	waited := time.Since(req.arrived)
	if waited > stallTime {
		c.stalled.Store(true)
	}
	return waited
}

// finish sends the last reply to a request. Where the device is gone it ends the
// connection first, so that the reply goes nowhere.
func (c *conn) finish(req *request, err error) {
	if errors.Is(err, ErrGone) {
		c.abandon()
	}
	if wireError(err) == errnoEIO {
		c.logFailure(req, err)
	}
	c.out.send(c.resultReply(req, err))
}

// logFailure tells about the first of many failures.
func (c *conn) logFailure(req *request, err error) {
	now, last := time.Now().UnixNano(), c.lastFailure.Load()
	if now-last < int64(failureLogPause) || !c.lastFailure.CompareAndSwap(last, now) {
		return
	}
	c.log.Warn("NBD request failed", "command", req.kind, "offset", req.offset,
		"length", req.length, "error", err)
}
