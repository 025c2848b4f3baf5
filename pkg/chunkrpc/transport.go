package chunkrpc

import (
	"context"
	"crypto/x509"
	"net"
)

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

// A value is never used again for another reason.
const (
	closeNormal closure = iota
	closeForbidden
	closeProtocol
	closeReplaced
	closeBusy
)
