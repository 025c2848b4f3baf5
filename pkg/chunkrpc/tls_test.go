package chunkrpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
)

// dribble passes bytes on one at a time, so that every read of a TLS record
// ends within it.
type dribble struct{ net.Conn }

func (d dribble) Read(p []byte) (int, error) { return d.Conn.Read(p[:min(1, len(p))]) }

// A receiver is interrupted, again and again, by a deadline in the past.
func TestInterruptedReadOfTLSLosesNothing(t *testing.T) {
	ca := newAuthority(t)
	node, gateway := ca.node(t, "pi3"), ca.gateway(t, "gw")
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 2<<10) // two records
	go func() {
		server := tls.Server(far, node.serverTLS())
		server.Write(sent)
	}()
	client := tls.Client(dribble{near}, gateway.clientTLS(node.Identity))
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				client.SetReadDeadline(longPast)
			}
		}
	})
	in, got := newReceiver(client), make([]byte, len(sent))
	interrupted := 0
	for n := 0; n < len(got); {
		m, err := in.some(got[n:])
		if err != nil {
			t.Fatalf("after %d bytes: %v", n, err)
		}
		if m == 0 {
			interrupted++
		}
		n += m
	}
	close(over)
	wg.Wait()
	if interrupted == 0 || !bytes.Equal(got, sent) {
		t.Errorf("%d interruptions, and the bytes are equal: %v", interrupted, bytes.Equal(got, sent))
	}
}

// The store is slow, and the lane of the writes held back, for far longer than
// a silent peer would be borne.
func TestHeldBackLaneKeepsItsConnection(t *testing.T) {
	bubble(t, func(t *testing.T, over Transport) {
		r := newRig(t, over)
		store := newSlow(r.memory)
		store.writes, r.store = true, store
		r.serve(t)
		c := r.client(t)
		term := grant(t, c)
		first := c.session
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() { writeBatch(t, c, term, uint64(i+1), 4, chunk.MaxChunkSize) })
		}
		time.Sleep(4 * idleTimeout)
		othersWork(t, c, term)
		close(store.gate)
		wg.Wait()
		if c.session != first {
			t.Error("the connection was lost in between")
		}
	})
}

// Whichever of its TCP connections ends, at whichever end, all calls of the
// connection do at once, and the next connection works.
func TestEndOfOneTCPConnectionEndsAll(t *testing.T) {
	for number := range maxStreams + 1 {
		bubbleTLS(t, func(t *testing.T, r *rig) {
			store := newSlow(r.memory)
			store.writes, r.store = true, store
			r.serve(t)
			c := r.client(t)
			wrote := startWrite(t, c, store)
			began := time.Now()
			c.session.conn.(*tlsConnection).cut(number)
			if err := <-wrote; !errors.Is(err, chunk.ErrUnavailable) {
				t.Errorf("write: %v", err)
			}
			if d := time.Since(began); d > 2*verdictTime {
				t.Errorf("%d: noticed after %v", number, d)
			}
			close(store.gate)
			eventually(t, time.Second, c)
		})
	}
}

func bubbleTLS(t *testing.T, test func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) { test(t, newRig(t, TLS)) })
}

// A process is frozen: its machine acknowledges what is sent to it, and the
// process says nothing.
func TestFrozenProcessIsNoticed(t *testing.T) {
	bubbleTLS(t, func(t *testing.T, r *rig) {
		server := r.serve(t)
		creds := r.ca.gateway(t, "gw")
		tcp, err := r.Dial(t.Context(), r.gate.addr, r.node.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer tcp.Close()
		config := creds.clientTLS(Identity{"test", RoleNode, "pi3"})
		conn, err := introduce(t.Context(), tcp, config, join{})
		if err != nil {
			t.Fatal(err)
		}
		if err := readNote(conn); err != nil {
			t.Fatal(err)
		}
		time.Sleep(idleTimeout + keepAlive)
		listener := server.listener.(*tlsListener)
		listener.mu.Lock()
		defer listener.mu.Unlock()
		if n := len(listener.open); n != 0 {
			t.Errorf("%d connections are open", n)
		}
	})
}

// rawTLS makes TCP connections by hand.
type rawTLS struct {
	addr   net.Addr
	config *tls.Config
}

func (r rawTLS) join(t *testing.T, j join) *tls.Conn {
	t.Helper()
	tcp, err := dialTCP(t.Context(), r.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	conn, err := introduce(t.Context(), tcp, r.config, j)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// end reads notes until there are no more.
func end(conn *tls.Conn) error {
	conn.SetReadDeadline(time.Now().Add(2 * idleTimeout))
	for {
		if err := readNote(conn); err != nil {
			return err
		}
	}
}

// Peers with valid certificates join connections in ways that no Client does.
func TestI8HostileJoinsEndOnlyTheirConnection(t *testing.T) {
	ca, log := newAuthority(t), newLines(t)
	s := serveWith(t, ServerOptions{
		Transport: TLS, Addr: "127.0.0.1:0", Credentials: ca.node(t, "pi3"),
		Store: chunktest.NewMemory("pi3"), Logger: log.logger(),
	})
	good := dial(t, s, ca.gateway(t, "good"))
	within(t, handshakeTimeout, nil, hello(good))
	session := good.session
	victim := session.conn.(*tlsConnection).id
	node := Identity{"test", RoleNode, "pi3"}
	creds := ca.gateway(t, "bad")
	bad := rawTLS{s.Addr(), creds.clientTLS(node)}

	for name, j := range map[string]join{
		"a stream of another's connection": {3, victim},
		"another's lifeline again":         {0, victim},
		"a stream of no connection":        {1, newConnectionID()},
		"a stream beyond the last":         {maxStreams + 1, victim},
	} {
		conn := bad.join(t, j)
		conn.SetReadDeadline(time.Now().Add(2 * handshakeTimeout))
		if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: still open", name)
		}
	}
	mine := newConnectionID()
	lifeline := bad.join(t, join{0, mine})
	if err := readNote(lifeline); err != nil {
		t.Fatal(err)
	}
	bad.join(t, join{2, mine})
	bad.join(t, join{2, mine})
	if why, text, _ := said(end(lifeline)); why != closeProtocol || !strings.Contains(text, "stream 2 again") {
		t.Errorf("a stream twice: %v, %q", why, text)
	}
	for name, note := range map[string][]byte{
		"an unknown note": {7, 0, 0, 0}, "a long text": {noteParting, 0, 0xff, 0xff},
	} {
		lifeline := bad.join(t, join{0, newConnectionID()})
		lifeline.Write(note)
		if why, text, _ := said(end(lifeline)); why != closeProtocol || !strings.Contains(text, "malformed note") {
			t.Errorf("%s: %v, %q", name, why, text)
		}
	}
	within(t, time.Second, nil, hello(good))
	if good.session != session {
		t.Error("another gateway was hit")
	}
}

// TLS alone would let a peer get away without a protocol.
func TestPeersWithoutTheProtocolAreRefused(t *testing.T) {
	ca, log := newAuthority(t), newLines(t)
	s := serveWith(t, ServerOptions{
		Transport: TLS, Addr: "127.0.0.1:0", Credentials: ca.node(t, "pi3"),
		Store: chunktest.NewMemory("pi3"), Logger: log.logger(),
	})
	creds := ca.gateway(t, "gw")
	config := creds.clientTLS(Identity{"test", RoleNode, "pi3"})
	config.NextProtos = nil
	if _, err := dialAs(t, TLS, s.Addr(), config); err == nil || !strings.Contains(err.Error(), `speaks ""`) {
		t.Errorf("client: %v", err)
	}
	tcp, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	if err := tls.Client(tcp, config).Handshake(); err != nil {
		t.Fatal(err)
	}
	log.wait(t, "speaks")
}

// short is a socket that at first lacks what the machine has too few of.
type short struct {
	net.Listener
	failures int
}

func (s *short) Accept() (net.Conn, error) {
	if s.failures--; s.failures >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept", syscall.EMFILE)}
	}
	return s.Listener.Accept()
}

func TestTooManyOpenFilesDoNotStopTheServer(t *testing.T) {
	tcp, err := listenTCP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ca := newAuthority(t)
	s := serveWith(t, ServerOptions{
		Transport: TLS, Listener: &short{tcp, 2}, Credentials: ca.node(t, "pi3"),
		Store: chunktest.NewMemory("pi3"), Logger: slog.New(slog.DiscardHandler),
	})
	within(t, handshakeTimeout, nil, hello(dial(t, s, ca.gateway(t, "gw"))))
}

func TestUnknownTransportsAreNamed(t *testing.T) {
	ca := newAuthority(t)
	_, err := Listen(ServerOptions{Transport: "tcp", Credentials: ca.node(t, "pi3")})
	if want := `bad transport "tcp": want quic or tls`; err == nil || err.Error() != want {
		t.Errorf("Listen: %v, want %s", err, want)
	}
	c := NewClient(ClientOptions{Node: "pi3", Transport: "tcp", Credentials: ca.gateway(t, "gw")})
	defer c.Close()
	if _, err := c.Hello(context.Background()); err == nil || !strings.Contains(err.Error(), "bad transport") {
		t.Errorf("client: %v", err)
	}
}
