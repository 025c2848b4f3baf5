package chunkrpc

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
)

// dialTLS connects to a node. release comes after the connection's end.
func (c *Client) dialTLS(ctx context.Context) (conn connection, release func(), err error) {
	config := c.opts.Credentials.clientTLS(c.node())
	dial := c.opts.Dial
	if dial == nil {
		dial = dialTCP
	}
	return openTLS(ctx, func(ctx context.Context, j join) (*tls.Conn, error) {
		tcp, err := dial(ctx, c.opts.Addr)
		if err != nil {
			return nil, err
		}
		return introduce(ctx, tcp, config, j)
	})
}

// openTLS makes the lifeline of a connection; the streams come later. One
// handshake comes after the other, so that a Client counts for as much at the
// node's door as it does over QUIC.
func openTLS(
	ctx context.Context, dial func(context.Context, join) (*tls.Conn, error),
) (conn connection, release func(), err error) {
	id := newConnectionID()
	lifeline, err := dial(ctx, join{0, id})
	if err != nil {
		return nil, nil, err
	}
	err = during(ctx, lifeline, func() error { return readNote(lifeline) })
	if err != nil {
		lifeline.NetConn().Close()
		return nil, nil, err
	}
	c := newTLSConnection(id, lifeline)
	c.dial = dial
	over := make(chan struct{})
	go func() {
		c.run()
		close(over)
	}()
	return c, func() { <-over }, nil
}

// introduce has the server of a TCP connection prove who it is, and says which
// connection this is to be.
func introduce(
	ctx context.Context, tcp net.Conn, config *tls.Config, j join,
) (*tls.Conn, error) {
	conn := tls.Client(newReadAhead(tcp), config)
	err := during(ctx, conn, func() error {
		if err := shakeHands(conn); err != nil {
			return err
		}
		_, err := conn.Write(j.append(nil))
		return err
	})
	if err != nil {
		tcp.Close()
		return nil, err
	}
	return conn, nil
}

// shakeHands proves each end to the other. Unlike QUIC, TLS lets a peer get
// away with naming no protocol.
func shakeHands(conn *tls.Conn) error {
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	if p := conn.ConnectionState().NegotiatedProtocol; p != alpn {
		return fmt.Errorf("handshake: the peer speaks %q, not %s", p, alpn)
	}
	return nil
}

// during runs f, whose reads and writes of conn fail when ctx ends.
func during(ctx context.Context, conn net.Conn, f func() error) error {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		conn.SetDeadline(longPast)
	})
	err := f()
	if stop() {
		return err
	}
	<-interrupted
	return context.Cause(ctx)
}
