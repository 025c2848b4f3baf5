package chunkrpc

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
)

// testLog sends a Logger's lines to the test's log, until the test ends.
func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// serve runs a server on loopback until the test ends.
func serve(t testing.TB, over Transport, ca *authority, store chunk.Store) *Server {
	t.Helper()
	return serveWith(t, ServerOptions{
		Transport: over, Addr: "127.0.0.1:0", Credentials: ca.node(t, "pi3"), Store: store, Logger: testLog(t),
	})
}

func serveWith(t testing.TB, opts ServerOptions) *Server {
	t.Helper()
	server, stop := run(t, opts)
	t.Cleanup(stop)
	return server
}

// dial connects to a server of node pi3 until the test ends.
func dial(t testing.TB, server *Server, creds Credentials) *Client {
	t.Helper()
	client := NewClient(ClientOptions{
		Node: "pi3", Addr: server.Addr().String(), Transport: server.opts.Transport, Credentials: creds, Logger: testLog(t),
	})
	t.Cleanup(func() { client.Close() })
	return client
}

func loopback(t testing.TB, over Transport, store chunk.Store) *Client {
	t.Helper()
	ca := newAuthority(t)
	return dial(t, serve(t, over, ca, store), ca.gateway(t, "gw"))
}

func grant(t testing.TB, store chunk.Store) chunk.Term {
	t.Helper()
	term := chunk.Term{Volume: chunk.VolumeID{1}, Epoch: 1, Nonce: 7}
	if _, err := store.Grant(t.Context(), term.Volume, term.Epoch, term.Nonce); err != nil {
		t.Fatal(err)
	}
	return term
}

func put(block uint64, seq uint64, data []byte) chunk.Op {
	return chunk.Op{Kind: chunk.OpPut, Block: block, Version: chunk.MakeVersion(1, seq), Data: data}
}

func TestWriteAndRead(t *testing.T) {
	overBoth(t, func(t *testing.T, over Transport) {
		client := loopback(t, over, chunktest.NewMemory("pi3"))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		term := grant(t, client)
		data := bytes.Repeat([]byte("0123456789abcdef"), 1024)
		if _, err := client.Write(ctx, term, []chunk.Op{put(5, 1, data)}); err != nil {
			t.Fatal(err)
		}
		dst := make([]byte, 100)
		chunks, err := client.Read(ctx, term, []chunk.Get{{Block: 5, Off: 16, Dst: dst}, {Block: 6, Dst: dst[:0]}})
		if err != nil {
			t.Fatal(err)
		}
		if chunks[0].State != chunk.Present || chunks[1].State != chunk.Absent || !bytes.Equal(dst, data[16:116]) {
			t.Errorf("read %v, %q", chunks, dst)
		}
	})
}
