package daemon

import (
	"context"
	"sync"
	"time"

	"rozobox/pkg/daemon/watch"
	"rozobox/pkg/metrics"
)

const (
	// rateOver is the least time that the gateway's rates are taken over:
	// pictures come in quick succession when cards change.
	rateOver = 450 * time.Millisecond

	// stripeEvery is how often the stripe that was read last is looked at:
	// eight small questions, which make no card work.
	stripeEvery = 500 * time.Millisecond

	// stripePatience bounds one such look; silent cards take all of it.
	stripePatience = time.Second
)

// painter makes what only a gateway knows for a watcher's pictures.
type painter struct {
	gateway *Gateway
	before  *figures        // where the rates begin
	rates   metrics.Gateway // as last taken

	mu     sync.Mutex // guards stripe
	stripe *metrics.Stripe
}

// watch asks the nodes over the gateway's own connections.
func (g *Gateway) watch(ctx context.Context, out chan<- metrics.Cluster) {
	p := &painter{gateway: g}
	opts := watch.Options{Name: g.config.Cluster, Known: p.known}
	for _, n := range g.peers {
		opts.Nodes = append(opts.Nodes, watch.Node{ID: n.ID, Addr: n.Addr, Asked: n.store})
	}
	var following sync.WaitGroup
	following.Go(func() { p.follow(ctx) })
	watch.Run(ctx, opts, out)
	following.Wait()
}

func (p *painter) known(answers []watch.Answer) *metrics.Cluster {
	now := p.gateway.gatewayFigures()
	if p.before == nil || now.at.Sub(p.before.at) >= rateOver {
		p.rates = metrics.Gateway{}
		now.since(p.before, &p.rates)
		p.before = now
	}
	c := known(p.gateway.statusOf(answers), p.rates)
	c.Events = p.gateway.events.since(now.at.Add(-eventsFor), shownEvents)
	c.Stripe = p.last()
	if p.gateway.film != nil {
		c.Film = p.gateway.film()
	}
	return c
}

// follow keeps the stripe that clients have read last. It asks the nodes, and
// so stays off the watcher's way.
func (p *painter) follow(ctx context.Context) {
	for ctx.Err() == nil {
		stripe := p.gateway.lastStripe(ctx)
		p.mu.Lock()
		p.stripe = stripe
		p.mu.Unlock()
		pause(ctx, stripeEvery)
	}
}

func (p *painter) last() *metrics.Stripe {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stripe
}

// lastStripe returns the stripe that was read last of all volumes, or nil.
func (g *Gateway) lastStripe(ctx context.Context) (last *metrics.Stripe) {
	ctx, cancel := context.WithTimeout(ctx, stripePatience)
	defer cancel()
	for _, s := range g.list() {
		// An error is of a volume that nobody has read, or that is not served.
		told, err := s.explain(ctx, Explain{})
		if err == nil && (last == nil || told.Read.After(last.Read)) {
			last = told
		}
	}
	return last
}

// known puts a gateway's status into the words of a picture.
func known(s *Status, rates metrics.Gateway) *metrics.Cluster {
	gateway := rates
	gateway.ID, gateway.Version = s.Gateway.ID, s.Gateway.Version
	gateway.UptimeSeconds, gateway.Health = s.Gateway.UptimeSeconds, s.Health
	c := &metrics.Cluster{Gateway: &gateway}
	for _, n := range s.Nodes {
		c.Cards = append(c.Cards, metrics.Card{ID: n.ID, Sync: n.Sync, Slow: n.Slow, Why: n.Why})
	}
	for _, v := range s.Volumes {
		c.Volumes = append(c.Volumes, v.known())
		if job, ok := v.Repair.known(v.Name); ok {
			c.Jobs = append(c.Jobs, job)
		}
	}
	return c
}

func (v *VolumeStatus) known() metrics.Volume {
	return metrics.Volume{
		Name: v.Name, State: v.State, Why: v.Why,
		SizeBytes: v.SizeBytes, StoredBytes: v.StoredBytes, BlockSizeBytes: v.BlockSizeBytes,
		DataChunks: v.DataChunks, ParityChunks: v.ParityChunks,
		UnderProtectedBlocks: v.UnderProtectedBlocks,
	}
}

// known returns the job, where it is one that people wait for.
func (r *RepairStatus) known(volume string) (job metrics.Job, ok bool) {
	switch r.Kind {
	case metrics.Resync, metrics.Rebuild, metrics.Scrub:
	default:
		return job, false
	}
	job = metrics.Job{
		Kind: r.Kind, Volume: volume, Node: r.Node,
		BytesPerSecond: r.RateBytesPerSecond, RemainingSeconds: r.RemainingSeconds, Paused: r.Paused,
	}
	if r.TotalBlocks > 0 {
		job.Done = min(1, float64(r.DoneBlocks)/float64(r.TotalBlocks))
	}
	if r.RemainingSeconds == 0 {
		job.RemainingSeconds = -1
	}
	return job, true
}
