package chunkrpc

import (
	"context"
	"testing"
	"time"

	"rozobox/pkg/chunk/chunktest"
)

// Of a pulled cable nobody is told: what is asked has no answer, and the
// connection does not end. When it is in again the node is there again.
func TestAPulledCableIsSilent(t *testing.T) {
	overBoth(t, func(t *testing.T, over Transport) {
		ca, cable := newAuthority(t), new(Cable)
		server, stop := run(t, ServerOptions{
			Transport: over, Addr: "127.0.0.1:0", Cable: cable,
			Credentials: ca.node(t, "pi3"), Store: chunktest.NewMemory("pi3"),
		})
		t.Cleanup(stop)
		client := dial(t, server, ca.gateway(t, "gw"))
		ask := func(patience time.Duration) (expired bool, err error) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err = client.Stat(ctx)
			return ctx.Err() != nil, err
		}
		if _, err := ask(dialTimeout); err != nil {
			t.Fatal(err)
		}
		cable.Pull()
		if expired, err := ask(200 * time.Millisecond); err == nil || !expired {
			t.Errorf("with the cable out: %v, and the time was out: %v", err, expired)
		}
		cable.Plug()
		for again := time.NewTicker(20 * time.Millisecond); ; <-again.C {
			if _, err := ask(dialTimeout); err == nil {
				break
			}
		}
	})
}
