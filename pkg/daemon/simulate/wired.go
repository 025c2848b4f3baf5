package simulate

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/chunkrpc"
	"rozobox/pkg/chunkrpc/rpctest"
)

// wired connects gateways and nodes with chunkrpc over a simulated network.
// Each node is a process that serves its card; what ails it ails the packets:
//
//	gateway ── Client ── QUIC or TLS ── packets ── QUIC or TLS ── Server ── process ── Memory
//	                                       │                                   │
//	                       lost, held, late, doubled, reordered         late, or dead
type wired struct {
	shelf  *shelf
	over   chunkrpc.Transport
	fates  func() chunktest.Fate // of packets; nil: nothing special
	net    *rpctest.Network
	mine   chunkrpc.Credentials   // of every gateway
	creds  []chunkrpc.Credentials // by node
	alive  []*process             // by node; nil while it is dead
	dialed int                    // ways so far
	ends   sync.WaitGroup         // of processes

	mu   sync.Mutex       // guards ways, and their harm; nothing waits under it
	ways map[string]*wire // by the gateway's host
}

func newWired(s *shelf, over chunkrpc.Transport, fates func() chunktest.Fate) *wired {
	ca := rpctest.NewAuthority()
	w := &wired{
		shelf: s, over: over, fates: fates, ways: map[string]*wire{},
		alive: make([]*process, len(s.nodes)),
	}
	w.net = rpctest.NewNetwork(w.fate)
	w.mine = credentials(ca, chunkrpc.RoleGateway, "gateway", x509.ExtKeyUsageClientAuth)
	for i, n := range s.nodes {
		creds := credentials(ca, chunkrpc.RoleNode, string(n.id), x509.ExtKeyUsageServerAuth)
		w.creds = append(w.creds, creds)
		w.boot(i)
	}
	return w
}

func credentials(
	ca *rpctest.Authority, role chunkrpc.Role, id string, usage x509.ExtKeyUsage,
) chunkrpc.Credentials {
	who := chunkrpc.Identity{Cluster: "simulated", Role: role, ID: id}
	return chunkrpc.Credentials{Identity: who, CA: ca.Pool(), Certificate: ca.Issue(who.URI(), usage, nil)}
}

func nodeAddr(i int) string { return fmt.Sprintf("10.0.0.%d:7400", i+1) }

// wire is a way over the network.
type wire struct {
	*wired
	host   string
	conn   net.PacketConn
	client *chunkrpc.Client
	harm   harm // guarded by wired.mu
}

func (w *wired) connect(i int, _ func() chunktest.Fate) way {
	w.dialed++
	host := fmt.Sprintf("10.1.%d.%d", w.dialed/256, w.dialed%256)
	way := &wire{wired: w, host: host}
	w.mu.Lock()
	w.ways[host] = way
	w.mu.Unlock()
	opts := chunkrpc.ClientOptions{
		Node: w.shelf.nodes[i].id, Addr: nodeAddr(i), Transport: w.over,
		Credentials: w.mine,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return w.net.Dial(ctx, host+":5000", addr)
		},
	}
	if w.over == chunkrpc.QUIC {
		way.conn = sure(w.net.ListenPacket(host + ":5000"))
		opts.Conn = way.conn
	}
	way.client = chunkrpc.NewClient(opts)
	return way
}

func (y *wire) node() (front, back chunk.Store) { return y.client, y.client.Background() }

func (y *wire) suffer(h harm) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.harm = h
}

func (y *wire) close() {
	y.client.Close()
	if y.conn != nil {
		y.conn.Close()
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	delete(y.ways, y.host)
}

// fate decides over each packet. Of a node that is dead, only its last words
// are still on the way.
func (w *wired) fate(from, to string) (f rpctest.Fate) {
	if w.fates != nil && !w.shelf.calm.Load() {
		f = stray(w.fates())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	y, up := w.ways[from], true
	if y == nil {
		y, up = w.ways[to], false
	}
	if y == nil {
		return rpctest.Fate{Lost: true} // the gateway is gone
	}
	h := y.harm
	f.Lost = f.Lost || h.parted || up && (h.cut || h.mute) || !up && h.deaf
	f.Held = h.frozen
	if up {
		f.Delay += h.slow
	}
	return f
}

// stray makes of the fate of a request that of a packet.
func stray(f chunktest.Fate) rpctest.Fate {
	return rpctest.Fate{Delay: f.Delay, Again: f.Again, Lost: f.Again > 0 && f.Adrift}
}

// suffer begins and ends processes.
func (w *wired) suffer(i int, h harm) {
	switch {
	case h.cut && w.alive[i] != nil:
		w.alive[i].die()
		w.alive[i] = nil
	case !h.cut && w.alive[i] == nil:
		w.boot(i)
	}
}

func (w *wired) close() {
	for i := range w.alive {
		w.suffer(i, harm{cut: true})
	}
	w.ends.Wait()
}

// process is one start of a chunk server.
type process struct {
	*chunktest.Link                      // to the card; cut when the process dies
	late            func() time.Duration // what repair's next request takes
	stop            context.CancelFunc
	dead            chan struct{}
}

// boot starts the process of a node. The address is taken from its predecessor,
// which may still be ending.
func (w *wired) boot(i int) {
	n := w.shelf.nodes[i]
	p := &process{
		Link: &chunktest.Link{Store: n.store}, dead: make(chan struct{}),
		late: func() time.Duration { return w.late(n) },
	}
	opts := chunkrpc.ServerOptions{
		Transport: w.over, Credentials: w.creds[i], Store: p, Logger: slog.New(slog.DiscardHandler),
	}
	if w.over == chunkrpc.QUIC {
		opts.Conn = sure(w.net.ListenPacket(nodeAddr(i)))
	} else {
		opts.Listener = sure(w.net.Listen(nodeAddr(i)))
	}
	server := sure(chunkrpc.Listen(opts))
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	w.alive[i] = p
	w.ends.Go(func() {
		if err := server.Serve(ctx); err != nil {
			w.shelf.fail("%s: serve: %v", n.id, err)
		}
		if opts.Conn != nil {
			opts.Conn.Close()
		}
	})
}

// late draws how long a node takes over a request of repair. It is longer than
// anybody waits, sometimes, and never nothing (doc.go).
func (w *wired) late(n *node) time.Duration {
	late := time.Duration(n.late.Load())
	if late == 0 && w.fates != nil && !w.shelf.calm.Load() {
		late = w.fates().Again
	}
	return max(late, time.Nanosecond)
}

// die ends the process: what has not reached the card never will.
func (p *process) die() {
	p.Cut()
	close(p.dead)
	p.stop()
}

// Write implements chunk.Data. What repair sends may take long here.
func (p *process) Write(ctx context.Context, term chunk.Term, ops []chunk.Op) (chunk.Ack, error) {
	if ofRepair(ops) {
		select {
		case <-time.After(p.late()):
		case <-p.dead:
		}
	}
	return p.Link.Write(ctx, term, ops)
}

func ofRepair(ops []chunk.Op) bool {
	for _, op := range ops {
		if op.Repair || op.Kind == chunk.OpDrop {
			return true
		}
	}
	return false
}

// sure is for what only a mistake in this package can make fail.
func sure[T any](result T, err error) T {
	if err != nil {
		panic(err)
	}
	return result
}
