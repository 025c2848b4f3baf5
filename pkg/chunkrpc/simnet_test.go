package chunkrpc

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/chunkrpc/rpctest"
)

// network is a simulated one. cut lists the hosts whose packets get lost on the
// way out.
type network struct {
	*rpctest.Network

	mu  sync.Mutex // guards cut
	cut map[string]bool
}

func newNetwork() *network {
	n := &network{cut: make(map[string]bool)}
	n.Network = rpctest.NewNetwork(func(from, _ string) rpctest.Fate {
		n.mu.Lock()
		defer n.mu.Unlock()
		return rpctest.Fate{Lost: n.cut[from]}
	})
	return n
}

// silence loses what the hosts send, or no more.
func (n *network) silence(lost bool, hosts ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range hosts {
		n.cut[h] = lost
	}
}

// host is where packets go through, and TCP connections come from.
type host struct {
	addr string
	udp  net.PacketConn
}

func (n *network) host(t *testing.T, addr string) host {
	conn, err := n.ListenPacket(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return host{addr, conn}
}

func (n *network) listen(t *testing.T, addr string) net.Listener {
	l, err := n.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// rig is a node and a gateway in a simulated network.
type rig struct {
	*network
	over   Transport
	ca     *authority
	memory *chunktest.Memory
	store  chunk.Store // in front of memory
	node   host
	gate   host
	late   host // another one for a gateway
}

const (
	nodeAddr = "10.0.0.3:7400"
	gateAddr = "10.0.0.1:5000"
	lateAddr = "10.0.0.2:5000"
)

func newRig(t *testing.T, over Transport) *rig {
	memory := chunktest.NewMemory("pi3")
	r := &rig{
		network: newNetwork(), over: over, ca: newAuthority(t), memory: memory, store: memory,
	}
	r.node, r.gate, r.late = r.host(t, nodeAddr), r.host(t, gateAddr), r.host(t, lateAddr)
	return r
}

func (r *rig) serve(t *testing.T) *Server { return serveWith(t, r.options(t)) }

// options of the node.
func (r *rig) options(t *testing.T) ServerOptions {
	opts := ServerOptions{
		Transport: r.over, Conn: r.node.udp, Credentials: r.ca.node(t, "pi3"), Store: r.store,
		Logger: testLog(t),
	}
	if r.over == TLS {
		opts.Listener = r.listen(t, nodeAddr)
	}
	return opts
}

func (r *rig) client(t *testing.T) *Client { return r.clientOver(t, r.gate, clientID{1}) }

func (r *rig) clientOver(t *testing.T, from host, id clientID) *Client {
	c := newClient(ClientOptions{
		Node: "pi3", Addr: nodeAddr, Transport: r.over, Conn: from.udp,
		Credentials: r.ca.gateway(t, "gw"), Logger: testLog(t),
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return r.Dial(ctx, from.addr, addr)
		},
	}, id)
	t.Cleanup(func() { c.Close() })
	return c
}

// within fails the test unless f ends with the wanted error in less than limit.
func within(t *testing.T, limit time.Duration, want error, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := f(ctx); !errors.Is(err, want) || err != nil && want == nil {
		t.Fatalf("got %v, want %v", err, want)
	}
	if ctx.Err() != nil {
		t.Fatalf("took longer than %v", limit)
	}
}

func hello(c chunk.Store) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := c.Hello(ctx)
		return err
	}
}

// eventually retries, in the bubble's time, what is refused while there is no
// connection.
func eventually(t *testing.T, limit time.Duration, c chunk.Store) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		_, err := c.Hello(t.Context())
		if err == nil {
			return
		}
		if time.Since(began) > limit {
			t.Fatalf("not connected after %v: %v", limit, err)
		}
	}
}

func TestPartitionEndsCallsAndHealingMendsThem(t *testing.T) {
	bubble(t, func(t *testing.T, over Transport) {
		r := newRig(t, over)
		r.serve(t)
		c := r.client(t)
		within(t, time.Second, nil, hello(c))
		r.silence(true, "10.0.0.1", "10.0.0.3")
		within(t, idleTimeout+keepAlive, chunk.ErrUnavailable, hello(c))
		within(t, time.Millisecond, chunk.ErrUnavailable, hello(c)) // at once while not connected
		r.silence(false, "10.0.0.1", "10.0.0.3")
		eventually(t, dialTimeout+2*maxBackoff, c)
	})
}

func TestFrozenPeerIsNoticedWithoutTraffic(t *testing.T) {
	bubble(t, func(t *testing.T, over Transport) {
		r := newRig(t, over)
		r.serve(t)
		c := r.client(t)
		within(t, time.Second, nil, hello(c))
		r.silence(true, "10.0.0.3") // it receives, and answers nothing
		time.Sleep(idleTimeout + 2*keepAlive)
		within(t, time.Millisecond, chunk.ErrUnavailable, hello(c))
	})
}

// The older connection has a Write under way when the newer one comes:
//
//	older  ──Write────────────────┐ ends at once for the caller
//	newer          ──Hello────────┼───────┐
//	store    [ the Write      released ]  └ answered only now
//
// In the second case the older connection has broken before.
func TestNewerConnectionWaitsForWhatTheOlderHadUnderWay(t *testing.T) {
	for _, broken := range []bool{false, true} {
		bubble(t, func(t *testing.T, over Transport) {
			r := newRig(t, over)
			store := newSlow(r.memory)
			store.writes, r.store = true, store
			r.serve(t)
			older := r.client(t)
			failed := startWrite(t, older, store)
			if broken {
				older.Close()
				time.Sleep(time.Second)
			}
			newer := r.clientOver(t, r.late, older.id)
			if err := <-failed; !errors.Is(err, chunk.ErrUnavailable) {
				t.Errorf("write over the older connection: %v", err)
			}
			older.Close() // or it would take its turn again
			within(t, 3*time.Second, context.DeadlineExceeded, func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
				defer cancel()
				return hello(newer)(ctx)
			})
			close(store.gate)
			eventually(t, dialTimeout+2*maxBackoff, newer)
			if n := store.under.Load(); n != 0 {
				t.Errorf("%d writes of the older connection are still under way", n)
			}
		})
	}
}

// startWrite returns when a Write waits in the store, and tells how it ended.
func startWrite(t *testing.T, c *Client, store *slow) <-chan error {
	term := grant(t, c)
	failed := make(chan error, 1)
	go func() {
		_, err := c.Write(t.Context(), term, []chunk.Op{put(1, 1, make([]byte, 16))})
		failed <- err
	}()
	for store.under.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	return failed
}

func TestIdleConnectionLives(t *testing.T) {
	bubble(t, func(t *testing.T, over Transport) {
		r := newRig(t, over)
		r.serve(t)
		c := r.client(t)
		within(t, time.Second, nil, hello(c))
		first := c.session
		time.Sleep(10 * idleTimeout)
		within(t, time.Second, nil, hello(c))
		if c.session != first {
			t.Error("the connection was lost in between")
		}
	})
}

func TestClientsWithOneCertificateDoNotEndEachOther(t *testing.T) {
	bubble(t, func(t *testing.T, over Transport) {
		r := newRig(t, over)
		r.serve(t)
		one, two := r.client(t), r.clientOver(t, r.late, clientID{2})
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			within(t, time.Second, nil, hello(one))
			within(t, time.Second, nil, hello(two))
		}
	})
}

// The old process is killed, so that it says nothing; its successor has the
// same key and resets the connection at the first packet.
func TestRestartedNodeResetsOldConnectionsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, over Transport) {
		r := newRig(t, over)
		ctx, kill := context.WithCancel(t.Context())
		opts := r.options(t)
		old, err := Listen(opts)
		if err != nil {
			t.Fatal(err)
		}
		gone := make(chan error)
		go func() { gone <- old.Serve(ctx) }()
		c := r.client(t)
		before, err := c.Hello(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.silence(true, "10.0.0.3")
		kill()
		<-gone
		r.memory.Restart()
		if over == TLS {
			opts.Listener = r.listen(t, nodeAddr)
		}
		serveWith(t, opts)
		time.Sleep(100 * time.Millisecond) // what was under way gets lost too
		r.silence(false, "10.0.0.3")
		within(t, 500*time.Millisecond, chunk.ErrUnavailable, hello(c))
		eventually(t, time.Second, c)
		after, err := c.Hello(t.Context())
		if err != nil || after.Instance == before.Instance {
			t.Errorf("hello of the restarted node: %+v, %v", after, err)
		}
	})
}
