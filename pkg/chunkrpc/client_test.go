package chunkrpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
)

// Nobody listens: the first call waits for the first attempt, which fails as
// soon as the machine says so, and names the node.
func TestCallWithoutANodeFailsAtOnce(t *testing.T) {
	overBoth(t, func(t *testing.T, over Transport) {
		probe, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := probe.LocalAddr().String()
		probe.Close()
		ca := newAuthority(t)
		c := NewClient(ClientOptions{Node: "pi3", Transport: over, Addr: addr, Credentials: ca.gateway(t, "gw")})
		defer c.Close()
		within(t, handshakeTimeout/2, chunk.ErrUnavailable, hello(c))
		_, err = c.Hello(t.Context())
		if want := "node pi3 at " + addr; err == nil || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "connection refused") {
			t.Errorf("got %v, want %q and why", err, want)
		}
	})
}

// The node's process dies without a word; its machine still answers.
func TestDeadProcessIsNoticedAtOnce(t *testing.T) {
	overBoth(t, func(t *testing.T, over Transport) {
		ca := newAuthority(t)
		server, err := Listen(ServerOptions{
			Transport: over, Addr: "127.0.0.1:0", Credentials: ca.node(t, "pi3"),
			Store: chunktest.NewMemory("pi3"),
		})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error)
		go func() { served <- server.Serve(context.Background()) }()
		c := dial(t, server, ca.gateway(t, "gw"))
		within(t, handshakeTimeout, nil, hello(c))
		server.die()
		if err := <-served; err == nil {
			t.Error("Serve does not tell that its socket has failed")
		}
		within(t, time.Second, chunk.ErrUnavailable, hello(c))
	})
}

// Calls under way end when the connection does, those of a closed client too.
func TestEndOfConnectionEndsItsCalls(t *testing.T) {
	for name, end := range map[string]func(r *rig, c *Client){
		"client closes": func(_ *rig, c *Client) { go c.Close() },
		"node is gone":  func(r *rig, _ *Client) { r.silence(true, "10.0.0.3") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, over Transport) {
				r := newRig(t, over)
				store := newSlow(r.memory)
				store.writes, store.reads, r.store = true, true, store
				r.serve(t)
				c := r.client(t)
				wrote := startWrite(t, c, store)
				read := make(chan error, 1)
				go func() {
					_, err := c.Background().Read(t.Context(), chunk.Term{}, []chunk.Get{{Dst: make([]byte, 16)}})
					read <- err
				}()
				time.Sleep(time.Second)
				end(r, c)
				time.Sleep(idleTimeout + keepAlive)
				for _, result := range []<-chan error{wrote, read} {
					select {
					case err := <-result:
						if !errors.Is(err, chunk.ErrUnavailable) {
							t.Errorf("got %v", err)
						}
					default:
						t.Error("a call still waits")
					}
				}
				close(store.gate)
			})
		})
	}
}

func TestServeExecutesWhatItHasReadBeforeItReturns(t *testing.T) {
	bubble(t, func(t *testing.T, over Transport) {
		r := newRig(t, over)
		store := newSlow(r.memory)
		store.writes = true
		r.store = store
		_, stop := run(t, r.options(t))
		c := r.client(t)
		wrote := startWrite(t, c, store)
		stopped := make(chan struct{})
		go func() {
			stop()
			close(stopped)
		}()
		if err := <-wrote; !errors.Is(err, chunk.ErrUnavailable) || !strings.Contains(err.Error(), "stopped") {
			t.Errorf("write: %v", err)
		}
		time.Sleep(time.Minute)
		select {
		case <-stopped:
			t.Error("Serve has returned during a write")
		default:
		}
		close(store.gate)
		<-stopped
		if n := len(r.memory.Unsynced()); n == 0 {
			t.Error("the write was cut short")
		}
	})
}

// Requests beyond the limits are the caller's fault: they are not sent, and the
// connection stays.
func TestRequestsBeyondTheLimitsAreInvalid(t *testing.T) {
	overBoth(t, func(t *testing.T, over Transport) {
		c := loopback(t, over, chunktest.NewMemory("pi3"))
		term, ctx := grant(t, c), t.Context()
		first := c.session
		big := make([]byte, chunk.MaxChunkSize+chunk.ChunkAlign)
		full := make([]byte, chunk.MaxChunkSize)
		manyOps, manyGets := make([]chunk.Op, 9), make([]chunk.Get, 9)
		for i := range manyOps {
			manyOps[i], manyGets[i] = put(1, 1, full), chunk.Get{Dst: full}
		}
		write := func(ops []chunk.Op) error { _, err := c.Write(ctx, term, ops); return err }
		read := func(gets []chunk.Get) error { _, err := c.Read(ctx, term, gets); return err }
		list := func(limit int) error {
			_, _, err := c.List(ctx, term, chunk.ListRequest{Limit: limit})
			return err
		}
		for name, err := range map[string]error{
			"ops":           write(make([]chunk.Op, chunk.MaxOps+1)),
			"op's bytes":    write([]chunk.Op{put(1, 1, big)}),
			"write's bytes": write(manyOps),
			"gets":          read(make([]chunk.Get, chunk.MaxOps+1)),
			"get's bytes":   read([]chunk.Get{{Dst: big}}),
			"read's bytes":  read(manyGets),
			"list":          list(chunk.MaxListEntries + 1),
			"no list":       list(0),
			"name":          c.PutSuperblock(ctx, term, chunk.Superblock{Name: string(big[:chunk.MaxName+1])}),
			"body":          c.PutSuperblock(ctx, term, chunk.Superblock{Body: big[:chunk.MaxSuperblock+1]}),
		} {
			if !errors.Is(err, chunk.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := write(manyOps[:8]); err != nil {
			t.Errorf("the largest write: %v", err)
		}
		if err := read(manyGets[:8]); err != nil || c.session != first {
			t.Errorf("the largest read: %v", err)
		}
	})
}

// Each attempt has another local port; that is not to be logged anew.
func TestTheSameTroubleReadsTheSame(t *testing.T) {
	refused := func(port int) error {
		return fmt.Errorf("dial: %w", &net.OpError{
			Op: "write", Net: "udp", Source: &net.UDPAddr{Port: port}, Err: syscall.ECONNREFUSED,
		})
	}
	if a, b := lasting(refused(1)), lasting(refused(2)); a.Error() != b.Error() || !errors.Is(a, syscall.ECONNREFUSED) {
		t.Errorf("%q is not %q", a, b)
	}
	if err := lasting(errNoAnswer); err != errNoAnswer {
		t.Errorf("no network error became %q", err)
	}
}
