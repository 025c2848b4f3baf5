package daemon

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunkrpc"
	"rozobox/pkg/metrics"
	"rozobox/pkg/nbd"
	"rozobox/pkg/stripe"
)

// Gateway is a running gateway: it keeps every volume of the cluster open and
// exports it over NBD, and answers the admin API.
//
// It stops from the outside in: the listeners first, then every request that
// had begun, then the volumes (flushed and marked clean), then the connections
// to the nodes.
type Gateway struct {
	config  *GatewayConfig
	logger  *slog.Logger // whose events are kept
	quiet   *slog.Logger // for what is no event
	events  *events
	page    http.Handler         // beside the admin API; nil for none
	film    func() *metrics.Film // of a demonstration; nil for none
	started time.Time
	key     crypto.PublicKey // whose owner may change things
	clients []*chunkrpc.Client
	peers   []peer
	options stripe.Options
	fronts  []front
	admin   net.Listener

	work    context.Context // ends after the last NBD request
	endWork context.CancelFunc
	tasks   sync.WaitGroup // volumes, and the search for them
	ready   chan struct{}  // closed once the volumes found first were tried
	pace    pacer          // of all repair

	mu      sync.Mutex // guards all below; never kept across I/O
	volumes map[chunk.VolumeID]*served
	search  string // why the search for volumes has not ended; empty when it has
}

// front is a listener for NBD clients.
type front struct {
	net.Listener
	server *nbd.Server
}

// RunGateway runs a gateway until ctx ends. The page is served on the admin
// address, where the API has nothing; nil for none.
func RunGateway(ctx context.Context, config *GatewayConfig, page http.Handler, logger *slog.Logger) error {
	g, err := NewGateway(config, page, logger)
	if err != nil {
		return err
	}
	return g.Run(ctx)
}

// NewGateway takes the addresses and reads the credentials that a gateway
// needs. Run must follow: it gives them back.
func NewGateway(config *GatewayConfig, page http.Handler, logger *slog.Logger) (*Gateway, error) {
	creds, err := config.credentials()
	if err != nil {
		return nil, err
	}
	g := newGateway(config, creds, logger)
	g.page = page
	if err := g.listen(); err != nil {
		g.endWork()
		return nil, err
	}
	for _, n := range config.Nodes {
		g.connect(n, config.Transport, creds)
	}
	return g, nil
}

func newGateway(config *GatewayConfig, creds chunkrpc.Credentials, logger *slog.Logger) *Gateway {
	kept := &events{}
	quiet, logger := logger, keepEvents(logger, kept)
	g := &Gateway{
		config:  config,
		logger:  logger,
		quiet:   quiet,
		events:  kept,
		started: time.Now(),
		key:     creds.Certificate.Leaf.PublicKey,
		ready:   make(chan struct{}),
		volumes: make(map[chunk.VolumeID]*served),
		search:  "looking for volumes",
		options: stripe.Options{
			NodeTimeout: time.Duration(config.NodeTimeout),
			SyncEvery:   time.Duration(config.SyncEvery),
			Writeback:   config.Writeback,
			Memory:      int64(config.Memory),
			Clock:       boottime,
			Logger:      logger,
		},
	}
	g.work, g.endWork = context.WithCancel(context.Background())
	return g
}

// listen takes all addresses, or none.
func (g *Gateway) listen() (err error) {
	defer func() {
		if err != nil {
			g.closeListeners()
		}
	}()
	if err := g.listenTCP(g.config.NBD.Listen); err != nil {
		return err
	}
	if err := g.listenUnix(g.config.NBD.Unix); err != nil {
		return err
	}
	if g.admin, err = net.Listen("tcp", g.config.Admin); err != nil {
		return fmt.Errorf("listen for the admin API on %s (admin): %w", g.config.Admin, err)
	}
	return nil
}

func (g *Gateway) listenTCP(addr string) error {
	if addr == "" {
		return nil
	}
	config, err := g.config.NBD.tlsConfig()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for NBD clients on %s (nbd.listen): %w", addr, err)
	}
	if g.config.NBD.TLS != tlsRequired && !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
		g.logger.Warn("whoever reaches this address can read and write every volume: "+
			`set tls = "required" in [nbd]`, "addr", l.Addr().String())
	}
	return g.addFront(l, nbd.Options{TLS: config, RequireTLS: g.config.NBD.TLS == tlsRequired})
}

func (g *Gateway) addFront(l net.Listener, opts nbd.Options) error {
	opts.Exports, opts.Logger, opts.Resumable = g, g.logger, true
	server, err := nbd.NewServer(opts)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	g.fronts = append(g.fronts, front{l, server})
	return nil
}

// listenUnix needs no TLS: the socket's mode says who may connect.
func (g *Gateway) listenUnix(path string) error {
	if path == "" {
		return nil
	}
	l, err := listenUnix(path)
	if err != nil {
		return fmt.Errorf("listen for NBD clients on %s (nbd.unix): %w", path, err)
	}
	return g.addFront(l, nbd.Options{})
}

func (g *Gateway) closeListeners() {
	for _, l := range g.fronts {
		l.Close()
	}
}

// connect makes the client of a node; it dials in the background.
func (g *Gateway) connect(n Node, over chunkrpc.Transport, creds chunkrpc.Credentials) {
	id := chunk.NodeID(n.ID)
	c := chunkrpc.NewClient(chunkrpc.ClientOptions{
		Node: id, Addr: n.Addr, Transport: over, Credentials: creds, Logger: g.logger,
	})
	g.clients = append(g.clients, c)
	g.addNode(n, stripe.Node{ID: id, Store: c, Background: c.Background()})
}

func (g *Gateway) addNode(n Node, s stripe.Node) {
	g.peers = append(g.peers, peer{Node: n, store: s.Store})
	g.options.Nodes = append(g.options.Nodes, s)
}

// Run serves until ctx ends or a listener fails.
func (g *Gateway) Run(ctx context.Context) error {
	g.tasks.Go(g.discover)
	fronts, frontCtx := errgroup.WithContext(ctx)
	fronts.Go(func() error { return g.serveAdmin(frontCtx) })
	for _, f := range g.fronts {
		fronts.Go(func() error { return g.serveNBD(frontCtx, f) })
	}
	err := fronts.Wait()
	g.logger.Info("gateway is closing the volumes")
	g.endWork()
	g.tasks.Wait()
	for _, c := range g.clients {
		err = errors.Join(err, c.Close())
	}
	return err
}

// serveNBD takes clients once the volumes had their chance to open: a kernel
// that reconnects after a restart of the gateway is better kept waiting than
// told that its volume does not exist. A volume that cannot open keeps the
// others waiting no longer than a request would.
func (g *Gateway) serveNBD(ctx context.Context, f front) error {
	select {
	case <-g.ready:
	case <-time.After(time.Duration(g.config.IOTimeout)):
	case <-ctx.Done():
		return f.Close()
	}
	g.logger.Info("NBD clients are served", "addr", f.Addr().String())
	return f.server.Serve(ctx, f)
}
