package chunkrpc

import (
	"context"
	"io"
	"testing"

	"github.com/quic-go/quic-go"
)

// BenchmarkRawStream is the limit that the transport sets: bytes pushed
// through one stream of a connection with the same settings, and nothing else.
func BenchmarkRawStream(b *testing.B) {
	ca := newAuthority(b)
	node, gateway := ca.node(b, "pi3"), ca.gateway(b, "gw")
	config := quicConfig()
	config.MaxIncomingStreams = 1
	listener, err := quic.ListenAddr("127.0.0.1:0", node.serverTLS(), config)
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	drained := make(chan int64, 1)
	go func() { drained <- drain(b.Context(), listener) }()
	conn, err := quic.DialAddr(b.Context(), listener.Addr().String(),
		gateway.clientTLS(node.Identity), quicConfig())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.CloseWithError(0, "")
	stream, err := conn.OpenStream()
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, coalesceSize)
	parallel(b, 1, len(data), func(int) error {
		_, err := stream.Write(data)
		return err
	})
	stream.Close()
	if n := <-drained; n != int64(b.N)*coalesceSize {
		b.Errorf("%d bytes arrived", n)
	}
}

func drain(ctx context.Context, listener *quic.Listener) int64 {
	conn, err := listener.Accept(ctx)
	if err != nil {
		return 0
	}
	stream, err := conn.AcceptStream(ctx)
	if err != nil {
		return 0
	}
	n, _ := io.CopyBuffer(io.Discard, struct{ io.Reader }{stream}, make([]byte, coalesceSize))
	return n
}
