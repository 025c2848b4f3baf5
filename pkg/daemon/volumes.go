package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
	"rozobox/pkg/daemon/watch"
	"rozobox/pkg/nbd"
	"rozobox/pkg/repair"
	"rozobox/pkg/stripe"
)

// findEvery paces the search for volumes while nodes have not been heard.
const findEvery = time.Second

// discover finds the cluster's volumes. It ends once every node has told what
// it knows: volumes that come later are made through this gateway, and one
// that another gateway makes must not be taken from it.
func (g *Gateway) discover() {
	var heard hearing
	options := g.options
	options.Nodes = heard.wrap(options.Nodes)
	for first := true; g.work.Err() == nil; first = false {
		found, err := stripe.Find(g.work, options)
		for _, sb := range found {
			g.add(sb)
		}
		if first {
			g.tasks.Go(g.announceReady)
		}
		silent := heard.silent()
		g.setSearch(silent, err)
		if err == nil && len(silent) == 0 {
			g.finishDeletions()
			return
		}
		pause(g.work, findEvery)
	}
}

// finishDeletions tells nodes of volumes that were deleted while they were away.
func (g *Gateway) finishDeletions() {
	if err := stripe.FinishDeletions(g.work, g.options); err != nil && g.work.Err() == nil {
		g.logger.Warn("a deleted volume may still take space", "error", err)
	}
}

// announceReady closes g.ready after every volume's first attempt to open.
func (g *Gateway) announceReady() {
	for _, s := range g.list() {
		<-s.tried
	}
	close(g.ready)
}

func (g *Gateway) setSearch(silent []string, err error) {
	why := ""
	switch {
	case err != nil:
		why = err.Error()
	case len(silent) > 0:
		why = fmt.Sprintf("not yet heard: %v", silent)
	}
	g.mu.Lock()
	changed := g.search != why
	g.search = why
	g.mu.Unlock()
	if changed && why != "" {
		g.logger.Warn("volumes may be missing", "error", why)
	}
}

// searching tells whether there may be volumes that are not known yet.
func (g *Gateway) searching() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.search != ""
}

// hearing remembers which nodes have said what volumes they know.
type hearing struct {
	mu   sync.Mutex // guards deaf
	deaf map[chunk.NodeID]bool
}

// listener is a node that is heard.
type listener struct {
	chunk.Store
	hearing *hearing
}

func (h *hearing) wrap(nodes []stripe.Node) []stripe.Node {
	h.deaf = make(map[chunk.NodeID]bool)
	nodes = slices.Clone(nodes)
	for i, n := range nodes {
		h.deaf[n.ID] = true
		nodes[i].Store = listener{n.Store, h}
	}
	return nodes
}

// Hello asks the node, and notes that it answered.
func (l listener) Hello(ctx context.Context) (chunk.Hello, error) {
	hello, err := l.Store.Hello(ctx)
	if err == nil {
		l.hearing.mu.Lock()
		delete(l.hearing.deaf, hello.Node)
		l.hearing.mu.Unlock()
	}
	return hello, err
}

func (h *hearing) silent() (ids []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.deaf {
		ids = append(ids, string(id))
	}
	slices.Sort(ids)
	return ids
}

// add begins to serve a volume, unless that has begun already.
func (g *Gateway) add(sb *cluster.Superblock) *served {
	ctx, stop := context.WithCancel(g.work)
	s := &served{
		sb:      sb,
		options: g.options,
		timeout: time.Duration(g.config.IOTimeout),
		repair: repair.Options{
			RebuildAfter: time.Duration(g.config.RebuildAfter),
			ScrubEvery:   time.Duration(g.config.ScrubEvery),
			Logger:       g.logger.With("volume", sb.Name),
		},
		pace:   &g.pace,
		logger: g.logger.With("volume", sb.Name),
		quiet:  g.quiet.With("volume", sb.Name),
		stop:   stop,
		tried:  make(chan struct{}),
		done:   make(chan struct{}),
		state:  stateOpening,
	}
	g.mu.Lock()
	if known := g.volumes[sb.Volume]; known != nil {
		g.mu.Unlock()
		stop()
		return known
	}
	g.volumes[sb.Volume] = s
	g.mu.Unlock()
	g.tasks.Go(func() {
		defer close(s.done)
		defer g.forget(s)
		defer stop()
		s.run(ctx)
	})
	return s
}

func (g *Gateway) forget(s *served) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.volumes, s.sb.Volume)
}

// list returns the volumes by name.
func (g *Gateway) list() []*served {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]*served, 0, len(g.volumes))
	for _, s := range g.volumes {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *served) int { return cmp.Compare(a.sb.Name, b.sb.Name) })
	return list
}

func (g *Gateway) find(name string) *served {
	for _, s := range g.list() {
		if s.sb.Name == name {
			return s
		}
	}
	return nil
}

// Names returns the exports that NBD clients can open now.
func (g *Gateway) Names() (names []string) {
	for _, s := range g.list() {
		if s.open() != nil {
			names = append(names, s.sb.Name)
		}
	}
	return names
}

// Export returns an open volume by name. The empty name means the only one.
func (g *Gateway) Export(name string) (nbd.Device, bool) {
	if name == "" {
		if list := g.list(); len(list) == 1 {
			name = list[0].sb.Name
		}
	}
	s := g.find(name)
	if s == nil {
		return nil, false
	}
	device := s.open()
	return measured{device, &s.traffic}, device != nil
}

// errNoVolume means that the gateway has no volume of that name.
var errNoVolume = errors.New("no such volume")

// create makes a volume and waits for its first opening.
func (g *Gateway) create(ctx context.Context, name string, geo cluster.Geometry) (*served, error) {
	id, err := stripe.Create(ctx, g.options, name, geo)
	if err != nil {
		return nil, err
	}
	s := g.add(&cluster.Superblock{Volume: id, Name: name, Geometry: geo})
	select {
	case <-s.tried:
	case <-ctx.Done():
	}
	return s, nil
}

// remove ends a volume's service and deletes it with all its data.
func (g *Gateway) remove(ctx context.Context, name string) error {
	s := g.find(name)
	if s == nil {
		return fmt.Errorf("delete volume %q: %w", name, errNoVolume)
	}
	s.stop()
	<-s.done
	err := stripe.Delete(ctx, g.options, s.sb.Volume)
	if err != nil && !errors.Is(err, stripe.ErrNotFound) {
		g.add(s.sb) // it is still there: go on serving it
		return err
	}
	return nil
}

// Status gathers what /v1/status answers.
func (g *Gateway) Status(ctx context.Context) *Status { return g.statusOf(survey(ctx, g.peers)) }

// statusOf makes it of what the nodes answered, in their order.
func (g *Gateway) statusOf(answers []watch.Answer) *Status {
	status := &Status{
		Cluster: g.config.Cluster,
		Gateway: g.status(),
		Nodes:   make([]NodeStatus, 0, len(g.peers)),
		Volumes: []VolumeStatus{},
	}
	for i, p := range g.peers {
		status.Nodes = append(status.Nodes, nodeStatus(p.Node, answers[i]))
	}
	sums := stored(answers)
	for _, s := range g.list() {
		status.Volumes = append(status.Volumes, s.status(sums[s.sb.Volume]))
		sb, array := s.sees()
		addSync(status.Nodes, sb, array)
	}
	status.judge()
	return status
}

func (g *Gateway) status() GatewayStatus {
	g.mu.Lock()
	search := g.search
	g.mu.Unlock()
	s := GatewayStatus{
		ID:            g.config.ID,
		Version:       Version(),
		UptimeSeconds: time.Since(g.started).Seconds(),
		State:         stateServing,
		Why:           search,
	}
	if len(g.fronts) > 0 {
		s.NBDAddr = g.fronts[0].Addr().String()
	}
	select {
	case <-g.ready:
	default:
		s.State = stateStarting
	}
	return s
}
