package chunkrpc

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/quic-go/quic-go"
)

var transports = []Transport{QUIC, TLS}

// overBoth runs a test over each transport.
func overBoth(t *testing.T, test func(t *testing.T, over Transport)) {
	for _, over := range transports {
		t.Run(string(over), func(t *testing.T) { test(t, over) })
	}
}

// bubble runs a test over each transport, in fake time.
func bubble(t *testing.T, test func(t *testing.T, over Transport)) {
	overBoth(t, func(t *testing.T, over Transport) {
		synctest.Test(t, func(t *testing.T) { test(t, over) })
	})
}

// dialAs connects to a server on loopback with whatever TLS configuration, for
// as long as the test at most.
func dialAs(
	t testing.TB, over Transport, addr net.Addr, config *tls.Config,
) (connection, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*handshakeTimeout)
	defer cancel()
	if over == QUIC {
		conn, err := quic.DialAddr(ctx, addr.String(), config, quicConfig())
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { conn.CloseWithError(0, "") })
		return quicConnection{conn}, nil
	}
	conn, release, err := openTLS(ctx, func(ctx context.Context, j join) (*tls.Conn, error) {
		tcp, err := dialTCP(ctx, addr.String())
		if err != nil {
			return nil, err
		}
		return introduce(ctx, tcp, config, j)
	})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		conn.close(closeNormal, "")
		release()
	})
	return conn, nil
}

// said returns what the peer has said when it ended the connection.
func said(err error) (why closure, text string, ok bool) {
	if quic, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return closure(quic.ErrorCode), quic.ErrorMessage, true
	}
	if tls, ok := errors.AsType[*farewell](err); ok {
		return tls.why, tls.text, true
	}
	return 0, "", false
}

// TestAnotherVersionIsNamed: whoever mixes versions is told so.
func TestAnotherVersionIsNamed(t *testing.T) {
	overBoth(t, func(t *testing.T, over Transport) {
		ca := newAuthority(t)
		node := ca.node(t, "pi3")
		gateway := ca.gateway(t, "gw")
		config := gateway.clientTLS(node.Identity)
		config.NextProtos = []string{"rozobox/1"}
		conn, err := dialAs(t, over, impostor(t, over, node, ca), config)
		if err == nil {
			conn.close(closeNormal, "")
			t.Fatal("connected")
		}
		if got := otherVersion(err); !strings.Contains(got.Error(), "must run the same version") || !errors.Is(got, err) {
			t.Errorf("it says: %v", got)
		}
	})
}

// impostor listens with whatever credentials, and accepts anybody's.
func impostor(t *testing.T, over Transport, creds Credentials, clients *authority) net.Addr {
	t.Helper()
	creds.CA = clients.Pool()
	if over == QUIC {
		listener, err := quic.ListenAddr("127.0.0.1:0", creds.serverTLS(), quicConfig())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		return listener.Addr()
	}
	opts := ServerOptions{Addr: "127.0.0.1:0", Credentials: creds}
	listener, err := listenTLS(opts, newDoor(testLog(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		listener.shut()
		listener.close()
	})
	return listener.Addr()
}

// die is the end of a server's process: its machine closes its sockets, and
// nobody says goodbye.
func (s *Server) die() {
	switch l := s.listener.(type) {
	case *quicListener:
		l.conn.Close()
	case *tlsListener:
		l.tcp.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, c := range l.open {
			for number := range maxStreams + 1 {
				c.cut(number)
			}
		}
	}
}

// cut closes some of a connection's TCP connections, as if by the machine; 0
// is the lifeline.
func (c *tlsConnection) cut(numbers ...int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range numbers {
		conn := c.lifeline
		if n > 0 {
			conn = c.streams[n-1]
		}
		if conn != nil {
			conn.NetConn().Close()
		}
	}
}
