package chunkrpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// tlsListener is a server's TCP socket. Each TCP connection has its handshake
// at the door; a lifeline becomes a connection, which is accepted, and a stream
// joins the connection that its client has named.
type tlsListener struct {
	tcp    net.Listener
	config *tls.Config
	door   *door

	ctx    context.Context // until shut
	cancel context.CancelFunc
	wg     sync.WaitGroup

	ready  chan *tlsConnection
	failed chan struct{} // closed with err set
	err    error         // of the socket

	mu   sync.Mutex // guards open; never kept while waiting
	open map[connectionID]*tlsConnection
}

var (
	errNoHandshake = fmt.Errorf("no handshake within %v", handshakeTimeout)
	errNotOpen     = errors.New("stream of no connection that is open")
)

func listenTLS(opts ServerOptions, door *door) (listener, error) {
	tcp, err := opts.Listener, error(nil)
	if tcp == nil {
		if tcp, err = opts.Cable.listenTCP(opts.Addr); err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
	}
	l := &tlsListener{
		tcp: tcp, config: opts.Credentials.serverTLS(), door: door,
		ready: make(chan *tlsConnection), failed: make(chan struct{}),
		open: make(map[connectionID]*tlsConnection),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Go(l.run)
	return l, nil
}

func (l *tlsListener) Addr() net.Addr { return l.tcp.Addr() }

func (l *tlsListener) accept(ctx context.Context) (connection, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.failed:
		return nil, l.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *tlsListener) shut() {
	l.cancel()
	l.tcp.Close()
}

func (l *tlsListener) close() error {
	l.wg.Wait()
	return nil
}

// run lets newcomers in until the socket is closed.
func (l *tlsListener) run() {
	for {
		tcp, err := l.tcp.Accept()
		switch {
		case err == nil:
			l.receive(tcp)
		case starved(err):
			select { // the newcomer waits in the kernel
			case <-time.After(minBackoff):
			case <-l.ctx.Done():
			}
		default:
			l.err = err
			close(l.failed)
			return
		}
	}
}

// starved tells whether the machine lacks something just now: files that are
// open elsewhere, most likely.
func starved(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

func (l *tlsListener) receive(tcp net.Conn) {
	h, err := l.door.enter(tcp.RemoteAddr())
	if err != nil {
		tcp.Close()
		l.door.report(tcp.RemoteAddr(), err)
		return
	}
	l.wg.Go(func() {
		conn, join, err := l.identify(tcp)
		if err != nil {
			l.sendAway(tcp)
			h.fail(err)
			return
		}
		h.leave()
		if err := l.place(conn, join); err != nil {
			tcp.Close()
			l.door.report(tcp.RemoteAddr(), err)
		}
	})
}

// identify has the peer prove who it is and say what it wants.
func (l *tlsListener) identify(tcp net.Conn) (conn *tls.Conn, j join, err error) {
	ctx, cancel := context.WithTimeoutCause(l.ctx, handshakeTimeout, errNoHandshake)
	defer cancel()
	conn = tls.Server(newReadAhead(tcp), l.config)
	err = during(ctx, conn, func() error {
		if err := shakeHands(conn); err != nil {
			return err
		}
		j, err = readJoin(conn)
		return err
	})
	return conn, j, err
}

// sendAway closes a TCP connection once the peer has had a moment to do so:
// TLS has told it why, and bytes that are unread when a TCP connection is
// closed would take that back.
func (l *tlsListener) sendAway(tcp net.Conn) {
	ctx, cancel := context.WithTimeout(l.ctx, linger)
	defer cancel()
	during(ctx, tcp, func() error {
		_, err := io.Copy(io.Discard, tcp)
		return err
	})
	tcp.Close()
}

// place has the TCP connection kept by the connection that it belongs to.
func (l *tlsListener) place(conn *tls.Conn, j join) error {
	if j.number == 0 {
		return l.begin(newTLSConnection(j.id, conn))
	}
	c := l.find(j.id)
	if c == nil || !c.certificate().Equal(conn.ConnectionState().PeerCertificates[0]) {
		return errNotOpen
	}
	s, err := c.add(int(j.number), conn)
	if err != nil {
		c.close(closeCode(err), errorText(err, maxText))
		return nil
	}
	c.arrived[j.number-1] <- s // there is room: add lets each come once
	return nil
}

func (l *tlsListener) find(id connectionID) *tlsConnection {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open[id]
}

// begin makes a new connection known before its peer hears that it is there.
func (l *tlsListener) begin(c *tlsConnection) error {
	l.mu.Lock()
	_, taken := l.open[c.id]
	if !taken {
		l.open[c.id] = c
	}
	l.mu.Unlock()
	if taken {
		return fmt.Errorf("%w join: a connection of this id is open", errMalformed)
	}
	l.wg.Go(func() {
		c.run()
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.open, c.id)
	})
	select {
	case l.ready <- c:
	case <-l.ctx.Done():
		c.close(closeNormal, errStopped.Error())
	}
	return nil
}
