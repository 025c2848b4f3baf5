package chunkrpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// tlsConnection is a connection over TCP. Each of its streams is a TCP
// connection with a TLS session of its own, so that none waits for another in
// the network. One more, the lifeline, makes a connection of them:
//
//	                     the server learns by it which streams belong together
//	──── notes ───►      each end says that it is alive, and notices the end of
//	◄─── notes ────      a process or a machine by its silence; the streams may
//	                     be silent, or held back, for as long as they like
//	                     who ends the connection says why
//
// The end of the lifeline, or of a stream, is the end of the connection.
type tlsConnection struct {
	id       connectionID
	lifeline *tls.Conn
	dial     func(context.Context, join) (*tls.Conn, error) // nil at a server
	next     int                                            // stream to open or accept
	arrived  [maxStreams]chan *tlsStream                    // at a server, one each

	ctx    context.Context
	cancel context.CancelCauseFunc

	mu      sync.Mutex // guards the two below, and each deadline of lifeline
	streams [maxStreams]*tls.Conn
	parting []byte // the last note to the peer; final when ctx has ended
}

// tlsStream is one stream of a tlsConnection.
type tlsStream struct {
	*tls.Conn
	connection *tlsConnection
}

var (
	errSilent = fmt.Errorf("no sign of life for %v", idleTimeout)
	errGone   = errors.New("the peer is gone")
)

// longPast interrupts reads and writes.
var longPast = time.Unix(0, 1)

func newTLSConnection(id connectionID, lifeline *tls.Conn) *tlsConnection {
	c := &tlsConnection{id: id, lifeline: lifeline}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	for i := range c.arrived {
		c.arrived[i] = make(chan *tlsStream, 1)
	}
	return c
}

func (c *tlsConnection) Context() context.Context { return c.ctx }

func (c *tlsConnection) RemoteAddr() net.Addr { return c.lifeline.RemoteAddr() }

func (c *tlsConnection) certificate() *x509.Certificate {
	return c.lifeline.ConnectionState().PeerCertificates[0]
}

func (c *tlsConnection) close(why closure, reason string) {
	c.end(&farewell{why, reason}, appendParting(nil, why, reason))
}

// end ends the connection; the first cause counts. Who reads or writes a stream
// returns at once; run does the rest.
func (c *tlsConnection) end(cause error, parting []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return
	}
	c.parting = parting
	c.cancel(cause)
	for _, conn := range c.streams {
		if conn != nil {
			conn.SetDeadline(longPast)
		}
	}
	c.lifeline.SetDeadline(time.Now().Add(linger))
}

// openStream makes the next stream of a client.
func (c *tlsConnection) openStream(ctx context.Context) (stream, error) {
	number := c.next + 1
	conn, err := c.dial(ctx, join{byte(number), c.id})
	if err != nil {
		return nil, c.verdict(err)
	}
	c.next++
	return c.add(number, conn)
}

// acceptStream returns the next stream of a server. The streams arrive in any
// order.
func (c *tlsConnection) acceptStream(ctx context.Context) (stream, error) {
	var arrived chan *tlsStream // of the stream after the last, nothing ever
	if c.next < maxStreams {
		arrived = c.arrived[c.next]
	}
	select {
	case s := <-arrived:
		c.next++
		return s, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.ctx.Done():
		return nil, context.Cause(c.ctx)
	}
}

// add makes a TCP connection one of the streams, numbered from 1.
func (c *tlsConnection) add(number int, conn *tls.Conn) (*tlsStream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := context.Cause(c.ctx)
	if err == nil && (number > maxStreams || c.streams[number-1] != nil) {
		err = fmt.Errorf("%w join: stream %d again or beyond %d", errMalformed, number, maxStreams)
	}
	if err != nil {
		conn.NetConn().Close()
		return nil, err
	}
	c.streams[number-1] = conn
	return &tlsStream{conn, c}, nil
}

// run keeps the lifeline, and returns when nothing of the connection is left.
func (c *tlsConnection) run() {
	var wg sync.WaitGroup
	wg.Go(c.pulse)
	c.listen()
	wg.Wait()
	c.lifeline.NetConn().Close()
}

// pulse tells the peer that this end is alive, and in the end why it goes. The
// streams are closed after that: theirs is not to be the first word of it.
func (c *tlsConnection) pulse() {
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for c.ctx.Err() == nil {
		if _, err := c.lifeline.Write([]byte{noteAlive}); err != nil {
			c.end(fmt.Errorf("%w: %w", errGone, err), nil)
		}
		select {
		case <-tick.C:
		case <-c.ctx.Done():
		}
	}
	if len(c.parting) > 0 {
		c.lifeline.Write(c.parting) // whether it can be or not
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.streams {
		if conn != nil {
			conn.NetConn().Close()
		}
	}
}

// listen ends the connection when the peer does, or is silent. If this end
// closes it, listen waits a moment for the peer to do so too: bytes that are
// unread when a TCP connection is closed would take back the last note.
func (c *tlsConnection) listen() {
	for {
		c.patience()
		err := readNote(c.lifeline)
		switch {
		case errors.Is(err, errMalformed):
			c.close(closeProtocol, errorText(err, maxText))
		case err != nil:
			c.end(err, nil)
		}
		if err != nil {
			return
		}
	}
}

// patience is how long the next note may take.
func (c *tlsConnection) patience() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() == nil {
		c.lifeline.SetReadDeadline(time.Now().Add(idleTimeout))
	}
}

// verdict is why the connection has ended, of which err is a sign. The reason
// comes by another way than the sign; without one, err is it.
func (c *tlsConnection) verdict(err error) error {
	late := time.NewTimer(verdictTime)
	defer late.Stop()
	select {
	case <-c.ctx.Done():
	case <-late.C:
		c.close(closeNormal, errorText(fmt.Errorf("a stream has ended: %w", err), maxText))
	}
	return context.Cause(c.ctx)
}

// Read is the stream's. A deadline in the past interrupts it and loses nothing,
// also within a record: TLS keeps what it has of it.
func (s *tlsStream) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) && s.connection.ctx.Err() == nil {
		return n, err
	}
	return n, s.connection.verdict(err)
}

// Write has no deadline but the connection's end.
func (s *tlsStream) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	if err != nil {
		err = s.connection.verdict(err)
	}
	return n, err
}
