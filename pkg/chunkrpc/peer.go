package chunkrpc

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// peer is one connection of a Server, from the handshake until nothing that
// came over it is under way any more.
type peer struct {
	server *Server
	conn   connection
	log    *slog.Logger
	who    Identity
	client clientID

	wg    sync.WaitGroup // its streams and their handlers
	ended chan struct{}  // closed after the last of them

	admitted bool // by the server, which dismisses it in the end

	mu    sync.Mutex // guards cause
	cause error      // the first reason to end
}

func newPeer(s *Server, conn connection) *peer {
	return &peer{
		server: s, conn: conn, ended: make(chan struct{}),
		log: s.opts.Logger.With("peer", conn.RemoteAddr()),
	}
}

func (p *peer) visitor() visitor { return visitor{p.who, p.client} }

// end closes the connection; the first cause is the one that counts.
func (p *peer) end(cause error) {
	p.mu.Lock()
	if p.cause == nil {
		p.cause = cause
	}
	cause = p.cause
	p.mu.Unlock()
	p.conn.close(closeCode(cause), errorText(cause, maxText))
}

// run serves the connection until it ends, or ctx does.
func (p *peer) run(ctx context.Context) {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		p.end(errStopped)
	})
	p.end(p.serve())
	if !stop() {
		<-stopped
	}
	p.wg.Wait()
	p.server.dismiss(p)
	close(p.ended)
	p.report()
}

// report says who has gone, and loudly if it was sent away.
func (p *peer) report() {
	level := slog.LevelInfo
	if c := closeCode(p.cause); c == closeForbidden || c == closeProtocol || c == closeBusy {
		level = slog.LevelWarn
	}
	p.log.Log(context.Background(), level, "connection closed", "error", p.cause)
}

// serve identifies the peer, ends its older connection, and takes its streams.
func (p *peer) serve() error {
	if err := p.identify(); err != nil {
		return err
	}
	p.log = p.log.With("identity", p.who)
	if err := p.server.admit(p); err != nil {
		return err
	}
	control, err := p.controlStream()
	if err != nil {
		return err
	}
	if older := p.server.replace(p); older != nil {
		older.end(errReplaced)
		<-older.ended
	}
	p.log.Info("connected")
	p.start(control)
	for {
		stream, err := p.conn.acceptStream(p.conn.Context())
		if err != nil {
			return err
		}
		p.wg.Go(func() { p.greet(stream) })
	}
}

// identify judges the certificate, whose signature and dates TLS has checked.
func (p *peer) identify() error {
	who, err := IdentityOf(p.conn.certificate())
	if err != nil {
		return fmt.Errorf("%w: %w", errForbidden, err)
	}
	me := p.server.opts.Credentials.Identity
	switch {
	case who.Cluster != me.Cluster:
		return fmt.Errorf("%w: %s is not of cluster %s", errForbidden, who, me.Cluster)
	case who.Role != RoleGateway && who.Role != RoleMonitor:
		return fmt.Errorf("%w: %s: a %s may not use a node", errForbidden, who, who.Role)
	}
	p.who = who
	return nil
}

// controlStream is the first, and tells which Client this is. It must come at
// once, so that nobody occupies a place without using it.
func (p *peer) controlStream() (stream, error) {
	ctx, cancel := context.WithTimeout(p.conn.Context(), handshakeTimeout)
	defer cancel()
	stream, err := p.conn.acceptStream(ctx)
	if err != nil {
		return nil, fmt.Errorf("no control stream: %w", err)
	}
	pre, err := readPreamble(stream)
	if err == nil && pre.lane != laneControl {
		err = fmt.Errorf("%w first stream: lane %d", errMalformed, pre.lane)
	}
	p.client = pre.client
	return stream, err
}

// greet begins one of the other streams.
func (p *peer) greet(stream stream) {
	pre, err := readPreamble(stream)
	if err == nil && (pre.lane == laneControl || pre.client != p.client) {
		err = fmt.Errorf("%w preamble: lane %d of another client", errMalformed, pre.lane)
	}
	if err != nil {
		p.end(err)
		return
	}
	p.start(stream)
}

func readPreamble(stream stream) (preamble, error) {
	var b [preambleSize]byte
	stream.SetReadDeadline(time.Now().Add(handshakeTimeout))
	defer stream.SetReadDeadline(time.Time{})
	if _, err := io.ReadFull(stream, b[:]); err != nil {
		return preamble{}, fmt.Errorf("no preamble: %w", err)
	}
	return parsePreamble(b[:])
}

func (p *peer) start(stream stream) {
	st := newServerStream(p, stream)
	p.wg.Go(func() {
		if err := st.out.run(p.conn.Context().Done()); err != nil {
			p.end(err)
		}
	})
	p.wg.Go(func() { p.end(st.serve()) })
}
