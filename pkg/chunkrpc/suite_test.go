package chunkrpc

import (
	"context"
	"testing"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
)

// The reference store behind a connection is still a chunk.Store, on the lanes
// of clients and on that of background work.
func TestStoreContract(t *testing.T) {
	overBoth(t, func(t *testing.T, over Transport) {
		ca := newAuthority(t)
		node, gateway := ca.node(t, "pi3"), ca.gateway(t, "gw")
		for name, view := range map[string]func(*Client) chunk.Store{
			"client":     func(c *Client) chunk.Store { return c },
			"background": func(c *Client) chunk.Store { return c.Background() },
		} {
			t.Run(name, func(t *testing.T) {
				chunktest.Suite(t, func(t *testing.T) chunktest.Subject { return subject(t, over, node, gateway, view) })
			})
		}
	})
}

// subject restarts the node's store and its server together.
func subject(
	t *testing.T, over Transport, node, gateway Credentials, view func(*Client) chunk.Store,
) chunktest.Subject {
	memory := chunktest.NewMemory("pi3")
	var stop func()
	start := func() chunk.Store {
		var server *Server
		server, stop = run(t, ServerOptions{Transport: over, Addr: "127.0.0.1:0", Credentials: node, Store: memory})
		t.Cleanup(stop)
		return view(dial(t, server, gateway))
	}
	reopen := func(t *testing.T, clean bool) chunk.Store {
		stop()
		if clean {
			memory.Restart()
		} else {
			memory.Crash(0)
		}
		return start()
	}
	return chunktest.Subject{Store: start(), Reopen: reopen}
}

// run serves until stop is called, which may be more than once.
func run(t testing.TB, opts ServerOptions) (*Server, func()) {
	t.Helper()
	server, err := Listen(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(ctx)
		close(served)
	}()
	return server, func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
}
