package chunkrpc

import (
	"context"
	"testing"
)

// benchmarkStream shows the limit that the transport sets: bytes pushed through
// one stream of a connection with the same settings, and nothing else.
func benchmarkStream(b *testing.B, over Transport) {
	ca := newAuthority(b)
	node, gateway := ca.node(b, "pi3"), ca.gateway(b, "gw")
	opts := ServerOptions{Addr: "127.0.0.1:0", Credentials: node, Logger: testLog(b)}
	listen := listenQUIC
	if over == TLS {
		listen = listenTLS
	}
	listener, err := listen(opts, newDoor(testLog(b)))
	if err != nil {
		b.Fatal(err)
	}
	defer listener.close()
	defer listener.shut()
	drained := make(chan int64, 1)
	go func() { drained <- drain(b.Context(), listener) }()
	conn, err := dialAs(b, over, listener.Addr(), gateway.clientTLS(node.Identity))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.close(closeNormal, "")
	stream, err := conn.openStream(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, coalesceSize)
	parallel(b, 1, len(data), func(int) error {
		_, err := stream.Write(data)
		return err
	})
	stream.Write([]byte{last})
	if n := <-drained; n != int64(b.N)*coalesceSize {
		b.Errorf("%d bytes arrived", n)
	}
}

// last is a byte that only the end of a benchmark's data has.
const last = 1

// drain reads a stream until its last byte, and counts the others.
func drain(ctx context.Context, listener listener) (n int64) {
	conn, err := listener.accept(ctx)
	if err != nil {
		return 0
	}
	defer conn.close(closeNormal, "")
	stream, err := conn.acceptStream(ctx)
	if err != nil {
		return 0
	}
	for p := make([]byte, coalesceSize); ; {
		m, err := stream.Read(p)
		n += int64(m)
		if m > 0 && p[m-1] == last {
			return n - 1
		}
		if err != nil {
			return 0
		}
	}
}
