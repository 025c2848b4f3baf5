package chunkrpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
)

func rawHeader(h header) []byte {
	b := make([]byte, headerSize)
	h.put(b)
	return b
}

func joined(pieces ...[]byte) (all []byte) {
	for _, p := range pieces {
		all = append(all, p...)
	}
	return all
}

// A gateway with a valid certificate sends what no Client does. Its connection
// ends, nobody else notices, and the log says why.
func TestI8HostileFramesEndOnlyTheirConnection(t *testing.T) {
	ca, log := newAuthority(t), newLines(t)
	memory := chunktest.NewMemory("pi3")
	s := serveWith(t, ServerOptions{
		Addr: "127.0.0.1:0", Credentials: ca.node(t, "pi3"), Store: memory, Logger: log.logger(),
	})
	good := dial(t, s, ca.gateway(t, "good"))
	if _, err := good.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	session := good.session
	control := preamble{lane: laneControl}.append(nil)
	write := preamble{lane: laneWrite}.append(nil)
	stranger := preamble{lane: laneWrite, client: clientID{1}}.append(nil)
	twoOps := joined(rawHeader(header{kind: kindWrite, count: 2, length: termSize + opSize}),
		make([]byte, termSize+opSize))
	bigGet := appendRead(nil, chunk.Term{}, []chunk.Get{{Dst: make([]byte, chunk.MaxChunkSize+1)}})
	for name, streams := range map[string][][]byte{
		"no preamble":               {[]byte("GET / HTTP/1.1\r\nHost: pi3\r\n\r\n")},
		"data before control":       {write},
		"an unknown lane":           {control, preamble{lane: lanes}.append(nil)},
		"two control streams":       {control, control},
		"another client's stream":   {control, stranger},
		"an unknown kind":           {joined(control, rawHeader(header{kind: 99}))},
		"a reply":                   {joined(control, rawHeader(header{kind: kindHello | replyBit}))},
		"a huge hello":              {joined(control, rawHeader(header{kind: kindHello, length: 1 << 31}))},
		"a huge write":              {control, joined(write, rawHeader(header{kind: kindWrite, length: maxWriteSize + 1}))},
		"more ops than bytes":       {control, joined(write, twoOps)},
		"a grant that is too short": {joined(control, rawHeader(header{kind: kindGrant, length: 27}), make([]byte, 27))},
		"a read beyond a chunk": {joined(control,
			rawHeader(header{kind: kindRead, count: 1, length: uint32(len(bigGet))}), bigGet)},
	} {
		t.Run(name, func(t *testing.T) {
			err := fate(t, s.Addr(), ca.gateway(t, "bad"), streams)
			app, ok := errors.AsType[*quic.ApplicationError](err)
			if !ok || closure(app.ErrorCode) != closeProtocol || !strings.Contains(app.ErrorMessage, "malformed") {
				t.Errorf("the connection ended with %v", err)
				return
			}
			log.wait(t, app.ErrorMessage)
		})
	}
	if _, err := good.Hello(t.Context()); err != nil || good.session != session {
		t.Errorf("another gateway was hit: %v", err)
	}
}

// fate sends the streams and returns how the connection ended.
func fate(t *testing.T, addr net.Addr, creds Credentials, streams [][]byte) error {
	ctx, cancel := context.WithTimeout(t.Context(), 2*handshakeTimeout)
	defer cancel()
	node := Identity{"test", RoleNode, "pi3"}
	conn, err := quic.DialAddr(ctx, addr.String(), creds.clientTLS(node), quicConfig())
	if err != nil {
		return err
	}
	defer conn.CloseWithError(0, "")
	for _, b := range streams {
		stream, err := conn.OpenStream()
		if err != nil {
			return err
		}
		stream.Write(b)
		go io.Copy(io.Discard, stream)
	}
	select {
	case <-conn.Context().Done():
		return context.Cause(conn.Context())
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestPeerThatSaysNothingIsSentAway(t *testing.T) {
	ca := newAuthority(t)
	s := serve(t, ca, chunktest.NewMemory("pi3"))
	for name, streams := range map[string][][]byte{"no stream": nil, "half a preamble": {[]byte("rzb")}} {
		if err := fate(t, s.Addr(), ca.gateway(t, "mute"), streams); err == nil ||
			errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: the connection ended with %v", name, err)
		}
	}
}

func TestTooManyPeersOfARoleAreSentAway(t *testing.T) {
	ca, log := newAuthority(t), newLines(t)
	s := serveWith(t, ServerOptions{
		Addr: "127.0.0.1:0", Credentials: ca.node(t, "pi3"),
		Store: chunktest.NewMemory("pi3"), Logger: log.logger(),
	})
	creds := ca.issue(t, Identity{"test", RoleMonitor, "screen"}, nil)
	monitors := make([]*Client, maxPeers)
	for i := range monitors {
		monitors[i] = dial(t, s, creds)
		if _, err := monitors[i].Hello(t.Context()); err != nil {
			t.Fatalf("monitor %d: %v", i, err)
		}
	}
	more := dial(t, s, creds)
	_, err := more.Hello(t.Context())
	if err == nil || !strings.Contains(err.Error(), "too many connections: 16 of role monitor") {
		t.Errorf("one monitor more: %v", err)
	}
	more.Close()
	if _, err := dial(t, s, ca.gateway(t, "gw")).Hello(t.Context()); err != nil {
		t.Errorf("gateway: %v", err)
	}
	monitors[0].Close()
	log.wait(t, errClosed.Error())
	if _, err := dial(t, s, creds).Hello(t.Context()); err != nil {
		t.Errorf("monitor in the place of another: %v", err)
	}
}

func TestGarbageToThePortIsIgnored(t *testing.T) {
	ca := newAuthority(t)
	s := serve(t, ca, chunktest.NewMemory("pi3"))
	conn, err := net.Dial("udp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range 256 {
		packet := make([]byte, 1+5*i)
		for j := range packet {
			packet[j] = byte(i + j*j)
		}
		conn.Write(packet)
	}
	if _, err := dial(t, s, ca.gateway(t, "gw")).Hello(t.Context()); err != nil {
		t.Error(err)
	}
}

// A host begins handshakes and never ends them. It gets so many places and no
// more; a gateway elsewhere connects as if nothing were.
func TestI8HandshakeFloodIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		server := serveWith(t, ServerOptions{
			Conn: r.nodeConn, Credentials: r.ca.node(t, "pi3"), Store: r.store, Logger: testLog(t),
		})
		stall := make(chan struct{})
		flood := &quic.Transport{Conn: r.lateConn}
		defer flood.Close()
		defer close(stall)
		creds := r.ca.gateway(t, "flood")
		config := creds.clientTLS(Identity{})
		config.VerifyConnection = func(tls.ConnectionState) error { <-stall; return nil }
		for range 4 * maxHandshakesPerHost {
			go flood.Dial(t.Context(), server.Addr(), config, quicConfig())
		}
		time.Sleep(time.Second) // longer than a lost packet takes to be repeated
		if n := server.door.crowd(); n != maxHandshakesPerHost {
			t.Errorf("%d handshakes wait, want %d", n, maxHandshakesPerHost)
		}
		within(t, time.Second, nil, hello(r.client(t)))
		time.Sleep(3 * handshakeTimeout)
		if n := server.door.crowd(); n != 0 {
			t.Errorf("%d handshakes wait after the flood", n)
		}
	})
}

func (d *door) crowd() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting
}
