package chunkrpc

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
)

// Transport names what carries the streams of a connection. Nothing above the
// connection knows which it is. Both ends must use the same.
type Transport string

// The transports. Where an option is empty it is QUIC.
const (
	QUIC Transport = "quic" // over UDP
	TLS  Transport = "tls"  // TLS 1.3 over TCP
)

// Validate reports a transport that does not exist.
func (t Transport) Validate() error {
	if t != QUIC && t != TLS {
		return fmt.Errorf("bad transport %q: want %s or %s", string(t), QUIC, TLS)
	}
	return nil
}

// connection is a few streams to a peer whose certificate is valid. They end
// together. Reads and writes then fail with why the connection has ended,
// which is the peer's own reason where it has told one.
type connection interface {
	// openStream and acceptStream are for one goroutine each. The server gets
	// the streams in the order in which the client has opened them.
	openStream(ctx context.Context) (stream, error)
	acceptStream(ctx context.Context) (stream, error)
	// certificate is the peer's own.
	certificate() *x509.Certificate
	// RemoteAddr is where the peer is.
	RemoteAddr() net.Addr
	// Context ends with the connection; its cause says why.
	Context() context.Context
	// close ends the connection without waiting, and tells the peer why as far
	// as it still listens. It does nothing if the connection has ended.
	close(c closure, reason string)
}

// listener is a socket of a server. It yields connections whose handshake has
// succeeded; the door has bounded the others.
type listener interface {
	accept(ctx context.Context) (connection, error)
	// Addr is the socket's.
	Addr() net.Addr
	// shut ends the handshakes and lets nobody in any more.
	shut()
	// close releases everything, when all connections have been closed.
	close() error
}

// closure says in a byte why a connection is closed.
type closure uint8

// The values are the same for all transports, and never used again for another
// reason.
const (
	closeNormal closure = iota
	closeForbidden
	closeProtocol
	closeReplaced
	closeBusy
)
