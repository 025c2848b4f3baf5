package chunkrpc

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/quic-go/quic-go"
)

// quicConnection is a connection over UDP: QUIC has streams of its own.
type quicConnection struct {
	*quic.Conn
}

func (c quicConnection) openStream(context.Context) (stream, error) {
	stream, err := c.OpenStream()
	if err != nil {
		return nil, err
	}
	return stream, nil
}

func (c quicConnection) acceptStream(ctx context.Context) (stream, error) {
	stream, err := c.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	return stream, nil
}

func (c quicConnection) certificate() *x509.Certificate {
	return c.ConnectionState().TLS.PeerCertificates[0]
}

func (c quicConnection) close(why closure, reason string) {
	c.CloseWithError(quic.ApplicationErrorCode(why), reason)
}

// dialQUIC connects to a node. release comes after the connection's end.
func (c *Client) dialQUIC(ctx context.Context) (conn connection, release func(), err error) {
	socket, remote, err := c.socket(ctx)
	if err != nil {
		return nil, nil, err
	}
	transport := &quic.Transport{Conn: socket}
	release = func() {
		transport.Close()
		if c.opts.Conn == nil {
			socket.Close()
		}
	}
	config := quicConfig()
	config.KeepAlivePeriod = keepAlive
	dialed, err := transport.Dial(ctx, remote, c.opts.Credentials.clientTLS(c.node()), config)
	if err != nil {
		release()
		return nil, nil, err
	}
	checkBuffers(socket, c.opts.Logger)
	return quicConnection{dialed}, release, nil
}

func (c *Client) socket(ctx context.Context) (net.PacketConn, net.Addr, error) {
	quietQUIC()
	if c.opts.Conn == nil {
		return dialUDP(ctx, c.opts.Addr)
	}
	addr, err := net.ResolveUDPAddr("udp", c.opts.Addr)
	return c.opts.Conn, addr, err
}

// quicListener is a server's UDP socket.
type quicListener struct {
	conn      net.PacketConn
	mine      bool // to close
	transport *quic.Transport
	listener  *quic.Listener
	door      *door
}

func listenQUIC(opts ServerOptions, door *door) (listener, error) {
	key, err := opts.Credentials.resetKey()
	if err != nil {
		return nil, err
	}
	l := &quicListener{conn: opts.Conn, mine: opts.Conn == nil, door: door}
	if l.mine {
		if l.conn, err = opts.Cable.listenUDP(opts.Addr); err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
	}
	l.transport = &quic.Transport{
		Conn:                l.conn,
		ConnectionIDLength:  8, // enough that a stateless reset never hits a stranger
		StatelessResetKey:   key,
		VerifySourceAddress: door.crowded,
		ConnContext:         l.enter,
	}
	config := quicConfig()
	config.MaxIncomingStreams = maxStreams
	quietQUIC()
	if l.listener, err = l.transport.Listen(opts.Credentials.serverTLS(), config); err != nil {
		l.close()
		return nil, fmt.Errorf("listen: %w", err)
	}
	checkBuffers(l.conn, opts.Logger)
	return l, nil
}

// handshakeKey finds a connection's handshake in its context.
type handshakeKey struct{}

// enter is called for each first packet of a connection.
func (l *quicListener) enter(
	ctx context.Context, info *quic.ClientInfo,
) (context.Context, error) {
	h, err := l.door.enter(info.RemoteAddr)
	if err != nil {
		return nil, err
	}
	ctx = context.WithValue(ctx, handshakeKey{}, h)
	h.stop = context.AfterFunc(ctx, func() { h.fail(context.Cause(ctx)) })
	return ctx, nil
}

func (l *quicListener) accept(ctx context.Context) (connection, error) {
	conn, err := l.listener.Accept(ctx)
	if err != nil {
		return nil, err
	}
	if h, ok := conn.Context().Value(handshakeKey{}).(*handshake); ok {
		h.stop()
		h.leave()
	}
	return quicConnection{conn}, nil
}

func (l *quicListener) Addr() net.Addr { return l.conn.LocalAddr() }

func (l *quicListener) shut() { l.listener.Close() }

func (l *quicListener) close() error {
	err := l.transport.Close()
	if l.mine {
		err = errors.Join(err, l.conn.Close())
	}
	return err
}
