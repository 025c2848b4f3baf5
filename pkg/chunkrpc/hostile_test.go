package chunkrpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
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
	overBoth(t, func(t *testing.T, over Transport) {
		ca, log := newAuthority(t), newLines(t)
		memory := chunktest.NewMemory("pi3")
		s := serveWith(t, ServerOptions{
			Transport: over, Addr: "127.0.0.1:0", Credentials: ca.node(t, "pi3"), Store: memory, Logger: log.logger(),
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
				err := fate(t, over, s.Addr(), ca.gateway(t, "bad"), streams)
				why, text, ok := said(err)
				if !ok || why != closeProtocol || !strings.Contains(text, "malformed") {
					t.Errorf("the connection ended with %v", err)
					return
				}
				log.wait(t, text)
			})
		}
		if _, err := good.Hello(t.Context()); err != nil || good.session != session {
			t.Errorf("another gateway was hit: %v", err)
		}
	})
}

// fate sends the streams and returns how the connection ended.
func fate(
	t *testing.T, over Transport, addr net.Addr, creds Credentials, streams [][]byte,
) error {
	ctx, cancel := context.WithTimeout(t.Context(), 2*handshakeTimeout)
	defer cancel()
	conn, err := dialAs(t, over, addr, creds.clientTLS(Identity{"test", RoleNode, "pi3"}))
	if err != nil {
		return err
	}
	for _, b := range streams {
		stream, err := conn.openStream(ctx)
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
	overBoth(t, func(t *testing.T, over Transport) {
		ca := newAuthority(t)
		s := serve(t, over, ca, chunktest.NewMemory("pi3"))
		for name, streams := range map[string][][]byte{"no stream": nil, "half a preamble": {[]byte("rzb")}} {
			if err := fate(t, over, s.Addr(), ca.gateway(t, "mute"), streams); err == nil ||
				errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: the connection ended with %v", name, err)
			}
		}
	})
}

func TestTooManyPeersOfARoleAreSentAway(t *testing.T) {
	overBoth(t, func(t *testing.T, over Transport) {
		ca, log := newAuthority(t), newLines(t)
		s := serveWith(t, ServerOptions{
			Transport: over, Addr: "127.0.0.1:0", Credentials: ca.node(t, "pi3"),
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
	})
}

func TestGarbageToThePortIsIgnored(t *testing.T) {
	overBoth(t, func(t *testing.T, over Transport) {
		ca := newAuthority(t)
		s := serve(t, over, ca, chunktest.NewMemory("pi3"))
		for i := range 256 {
			packet := make([]byte, 1+5*i)
			for j := range packet {
				packet[j] = byte(i + j*j)
			}
			conn, err := net.Dial(s.Addr().Network(), s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			conn.Write(packet)
			conn.Close()
		}
		c := dial(t, s, ca.gateway(t, "gw"))
		within(t, 5*time.Second, nil, func(ctx context.Context) error { return retry(ctx, hello(c)) })
	})
}

// retry is for what may fail at first.
func retry(ctx context.Context, f func(context.Context) error) error {
	for {
		err := f(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		runtime.Gosched()
	}
}

// A host begins handshakes and never ends them. It gets so many places and no
// more; a gateway elsewhere connects as if nothing were.
func TestI8HandshakeFloodIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, over Transport) {
		r := newRig(t, over)
		server := r.serve(t)
		stall := make(chan struct{})
		creds := r.ca.gateway(t, "flood")
		config := creds.clientTLS(Identity{})
		config.VerifyConnection = func(tls.ConnectionState) error { <-stall; return nil }
		begin, end := r.flood(t, config)
		defer end()
		defer close(stall)
		for range 4 * maxHandshakesPerHost {
			go begin()
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

// flood returns what begins one handshake from the late host.
func (r *rig) flood(t *testing.T, config *tls.Config) (begin, end func()) {
	if r.over == QUIC {
		transport := &quic.Transport{Conn: r.late.udp}
		begin = func() { transport.Dial(t.Context(), r.node.udp.LocalAddr(), config, quicConfig()) }
		return begin, func() { transport.Close() }
	}
	begin = func() {
		if tcp, err := r.Dial(t.Context(), r.late.addr, r.node.addr); err == nil {
			introduce(t.Context(), tcp, config, join{})
		}
	}
	return begin, func() {}
}

func (d *door) crowd() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting
}
