package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"rozobox/pkg/chunkrpc"
	"rozobox/pkg/cluster"
	"rozobox/pkg/daemon/film"
	"rozobox/pkg/metrics/host"
)

// The demo's defaults.
const (
	DefaultDemoDir   = "demo-data"
	DefaultDemoNodes = 8
	DefaultDemoSize  = Size(1 << 30)

	// DefaultDemoExtent puts whole films onto the same cards, so that a class
	// sees who works: 32 GiB of the usual blocks.
	DefaultDemoExtent = 1 << 20

	demoName = "demo"          // of the cluster and of its volume
	demoPort = DefaultPort + 1 // of the first node; the others follow
	loopback = "127.0.0.1"

	// adminTries is how many addresses are tried for the admin API where the
	// usual one is taken: each was free a moment before.
	adminTries = 3

	// demoPatience bounds the wait for the demo's own nodes; it covers a
	// slow card's start and a killed predecessor's lease.
	demoPatience = 30 * time.Second
)

// DemoOptions says what Demo starts.
type DemoOptions struct {
	Dir       string             // keeps all data; made where it does not exist
	Nodes     int                // 0: what Dir has, or 8
	Transport chunkrpc.Transport // "": what Dir has, or DefaultTransport
	Size      Size               // of the volume, where it is not there yet
	Extent    int64              // of new volumes; 0: what Dir has, or DefaultDemoExtent
	NBD       string             // where it is exported
	Film      *film.Film         // is played from a volume of its own; nil for none
	Page      http.Handler       // on the admin address; nil for none
	Logger    *slog.Logger

	// Ready is called once the volume can be used. The film begins after that.
	Ready func(DemoInfo)
}

// DemoInfo says what Demo has started.
type DemoInfo struct {
	Dir    string
	Config string // the gateway's, for `rozobox status --config`
	Watch  string // the monitor's, for `rozobox monitor --config`
	Volume VolumeStatus
	NBD    *net.TCPAddr
	Cards  []string // their ids

	// Act does something to a card, and returns at once.
	Act func(card string, a Action) error
	// PauseFilm stops the film, or lets it go on. Nil: there is none.
	PauseFilm func()
}

// Demo runs a whole cluster in this process until ctx ends: chunk servers,
// each with a folder, a certificate and a port of its own, and a gateway
// that exports the volume "demo". The folders are those that init makes. The
// data is kept, and killing the process loses nothing that was flushed.
func Demo(ctx context.Context, opts DemoOptions) error {
	d := &demo{opts: opts, machine: host.New(boottime)}
	if err := d.open(); err != nil {
		return errors.Join(err, d.closeNodes())
	}
	return d.run(ctx)
}

type demo struct {
	opts    DemoOptions
	init    InitOptions // what the folder is, or becomes
	nodes   []*demoCard
	gateway *Gateway
	machine *host.Sampler // one for all nodes
	player  *film.Player  // nil: no film
}

// open makes the folder where it is missing, opens all stores, and writes the
// addresses that were free into the configuration files, where a monitor
// finds them.
func (d *demo) open() error {
	if err := d.prepare(); err != nil {
		return err
	}
	d.init.fill()
	for i := range d.init.Nodes {
		if err := d.openNode(&d.init.Nodes[i]); err != nil {
			return err
		}
	}
	err := d.openGateway()
	for tries := 0; errors.Is(err, syscall.EADDRINUSE) && tries < adminTries; tries++ {
		d.init.Admin = freeAddress()
		err = d.openGateway()
	}
	if err != nil {
		return err
	}
	d.takeFilm()
	return nil
}

// openGateway writes all configuration files and has the gateway listen.
func (d *demo) openGateway() error {
	if err := d.rewrite(); err != nil {
		return err
	}
	config, err := LoadGateway(d.gatewayPath())
	if err != nil {
		return err
	}
	d.gateway, err = NewGateway(config, d.opts.Page, d.opts.Logger)
	return err
}

func (d *demo) gatewayPath() string { return filepath.Join(d.opts.Dir, gatewayDir, gatewayFile) }

func (d *demo) monitorPath() string { return filepath.Join(d.opts.Dir, monitorDir, monitorFile) }

// prepare makes the cluster's folders, or checks those that are there.
func (d *demo) prepare() error {
	d.init = InitOptions{
		Dir: d.opts.Dir, Name: demoName, NBD: d.opts.NBD, Transport: d.opts.Transport,
	}
	old, err := LoadGateway(d.gatewayPath())
	if errors.Is(err, fs.ErrNotExist) {
		nodes := cmp.Or(d.opts.Nodes, DefaultDemoNodes)
		d.init.Nodes, d.init.Volume = demoNodes(nodes), demoGeometry(nodes)
		d.init.Volume.Extent = cmp.Or(d.opts.Extent, DefaultDemoExtent)
		return Init(d.init)
	}
	if err != nil {
		return err
	}
	if n := d.opts.Nodes; old.Cluster != demoName || n != 0 && n != len(old.Nodes) {
		return fmt.Errorf("%s has the cluster %q of %d nodes: leave --nodes out or choose another --dir",
			d.opts.Dir, old.Cluster, len(old.Nodes))
	}
	d.init.Nodes, d.init.Volume = old.Nodes, old.Volume
	d.init.Volume.Extent = cmp.Or(d.opts.Extent, old.Volume.Extent)
	d.init.Transport = cmp.Or(d.init.Transport, old.Transport)
	return d.init.Transport.Validate()
}

func demoNodes(n int) (nodes []Node) {
	for i := range n {
		nodes = append(nodes, Node{
			ID:   fmt.Sprintf("pi%d", i+1),
			Addr: fmt.Sprintf("%s:%d", loopback, demoPort+i),
		})
	}
	return nodes
}

// demoGeometry is the usual one where there are nodes enough for it, else the
// smallest that survives a loss.
func demoGeometry(nodes int) VolumeDefaults {
	if nodes >= DefaultDataChunks+DefaultParityChunks {
		return VolumeDefaults{}
	}
	return VolumeDefaults{DataChunks: 2, ParityChunks: 1}
}

// openNode opens a chunk server at its address, or at any that is free.
func (d *demo) openNode(n *Node) error {
	config, err := LoadChunkserver(filepath.Join(d.opts.Dir, n.ID, chunkserverFile))
	if err != nil {
		return err
	}
	config.Listen, config.Transport = n.Addr, d.init.Transport
	card := &demoCard{config: config, machine: d.machine, logger: d.opts.Logger}
	err = card.open()
	if errors.Is(err, syscall.EADDRINUSE) {
		config.Listen = loopback + ":0"
		err = card.open()
	}
	if err != nil {
		return err
	}
	n.Addr = card.server.server.Addr().String()
	config.Listen = n.Addr // when it was wiped, too
	d.nodes = append(d.nodes, card)
	return nil
}

// freeAddress returns a TCP address that was free a moment ago.
func freeAddress() string {
	l, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		return DefaultAdmin // and listening there will say what is wrong
	}
	defer l.Close()
	return l.Addr().String()
}

// rewrite writes the configuration files anew.
func (d *demo) rewrite() error {
	note := []byte("# `rozobox demo` writes this file at each start: changes do not last.\n")
	for _, n := range d.init.Nodes {
		path := filepath.Join(d.opts.Dir, n.ID, chunkserverFile)
		text := append(note[:len(note):len(note)], chunkserverText(demoName, d.init.Transport, n)...)
		if err := replaceFile(path, text, verifyChunkserver); err != nil {
			return err
		}
	}
	text := append(note[:len(note):len(note)], d.init.gatewayText()...)
	if err := replaceFile(d.gatewayPath(), text, verifyGateway); err != nil {
		return err
	}
	text = append(note[:len(note):len(note)], d.init.monitorText()...)
	return replaceFile(d.monitorPath(), text, verifyMonitor)
}

// run stops the gateway first, so that it can flush, then the nodes.
func (d *demo) run(ctx context.Context) error {
	nodesCtx, stopNodes := context.WithCancel(context.WithoutCancel(ctx))
	defer stopNodes()
	nodes, nodesCtx := errgroup.WithContext(nodesCtx)
	for _, n := range d.nodes {
		nodes.Go(func() error { return n.run(nodesCtx) })
	}
	front, frontCtx := errgroup.WithContext(ctx)
	frontCtx, stopFront := context.WithCancel(frontCtx)
	defer stopFront()
	defer context.AfterFunc(nodesCtx, stopFront)() // a node that failed ends it all
	front.Go(func() error { return d.gateway.Run(frontCtx) })
	front.Go(func() error { return d.present(frontCtx) })
	err := front.Wait()
	stopNodes()
	return errors.Join(err, nodes.Wait())
}

// closeNodes closes nodes that have not run: they run until now.
func (d *demo) closeNodes() (err error) {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for _, n := range d.nodes {
		err = errors.Join(err, n.server.run(over))
	}
	return err
}

// present waits for the volume, makes it at the first start, tells the user,
// and plays the film.
func (d *demo) present(ctx context.Context) error {
	s, err := d.prepareVolumes(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("start volume %q: %w", demoName, err)
	}
	if d.opts.Ready != nil {
		d.opts.Ready(d.info(s))
	}
	if d.player == nil {
		return nil
	}
	if err := d.play(ctx); ctx.Err() == nil {
		return err
	}
	return nil
}

func (d *demo) info(s *served) DemoInfo {
	info := DemoInfo{
		Dir: d.opts.Dir, Config: d.gatewayPath(), Watch: d.monitorPath(),
		Volume: s.status(0), NBD: d.gateway.fronts[0].Addr().(*net.TCPAddr),
		Act: d.act,
	}
	for _, n := range d.init.Nodes {
		info.Cards = append(info.Cards, n.ID)
	}
	if d.player != nil {
		info.PauseFilm = d.player.Pause
	}
	return info
}

// act does something to a card. It returns at once, but for the log.
func (d *demo) act(id string, a Action) error {
	done, known := past[a]
	if !known {
		return fmt.Errorf("%q: no such action: want one of %q", a, Actions())
	}
	for _, card := range d.nodes {
		switch {
		case card.config.ID != id:
			continue
		case a == Wipe && !card.mayWipe(d.opts.Dir):
			return fmt.Errorf("wipe card %s: its data is in %s, outside of %s: empty it yourself",
				id, card.config.Data, d.opts.Dir)
		}
		card.act(a)
		d.gateway.logger.Warn(done, "node", id)
		return nil
	}
	return fmt.Errorf("%s: there is no card %q", a, id)
}

// prepareVolumes drops an older film, and returns the demo's volume once it is
// served.
func (d *demo) prepareVolumes(ctx context.Context) (*served, error) {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	if err := d.searched(ctx); err != nil {
		return nil, err
	}
	if d.gateway.find(filmName) != nil {
		if err := d.gateway.remove(ctx, filmName); err != nil {
			return nil, err
		}
	}
	return d.volume(ctx, demoName, d.init.Volume.geometry(d.opts.Size))
}

// searched waits until the gateway has looked for volumes, or has found the
// demo's.
func (d *demo) searched(ctx context.Context) error {
	select {
	case <-d.gateway.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	for d.gateway.searching() && d.gateway.find(demoName) == nil && ctx.Err() == nil {
		pause(ctx, findEvery/10) // a busy machine takes longer to connect
	}
	return ctx.Err()
}

// volume returns a volume once it is served, and makes it where it is not.
func (d *demo) volume(ctx context.Context, name string, geo cluster.Geometry) (*served, error) {
	s := d.gateway.find(name)
	if s == nil {
		err := checkNew(name, geo, len(d.nodes))
		if err == nil {
			s, err = d.gateway.create(ctx, name, geo)
		}
		if err != nil {
			return nil, err
		}
	}
	for s.open() == nil {
		pause(ctx, reopenAfter/10)
		if ctx.Err() != nil {
			return nil, errors.New(s.status(0).Why)
		}
	}
	return s, nil
}
