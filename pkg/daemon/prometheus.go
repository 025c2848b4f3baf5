package daemon

import (
	"context"

	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"slices"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
	"rozobox/pkg/metrics"
	"rozobox/pkg/metrics/prom"
	"rozobox/pkg/stripe"
)

// family is a family of figures of things of one kind.
type family[T any] struct {
	prom.Family
	value func(T) float64
}

// What /metrics shows. The names are an interface, as the keys of Status are:
// dashboards and alerts use them.
var (
	buildInfo = prom.Family{
		Name: "rozobox_build_info", Help: "1; the label says which Rozobox this is.", Labels: []string{"version"},
	}

	requestLabels    = []string{"volume", "operation"}
	requestDurations = prom.Family{
		Name: "rozobox_gateway_request_duration_seconds", Kind: prom.Histogram, Labels: requestLabels,
		Help: "How long requests of NBD clients took: read, write, flush, trim, zero.",
	}
	requestBytes = prom.Family{
		Name: "rozobox_gateway_request_bytes_total", Kind: prom.Counter, Labels: requestLabels,
		Help: "Bytes of requests of NBD clients that went well.",
	}
	requestErrors = prom.Family{
		Name: "rozobox_gateway_request_errors_total", Kind: prom.Counter, Labels: requestLabels,
		Help: "Requests of NBD clients that failed.",
	}

	volumeLabels   = []string{"volume"}
	volumeFamilies = []family[VolumeStatus]{
		{prom.Family{Name: "rozobox_volume_serving", Labels: volumeLabels,
			Help: "1 when clients can use the volume."},
			func(v VolumeStatus) float64 { return truth(v.State == stateServing) }},
		{prom.Family{Name: "rozobox_volume_size_bytes", Labels: volumeLabels,
			Help: "What clients see."},
			func(v VolumeStatus) float64 { return float64(v.SizeBytes) }},
		{prom.Family{Name: "rozobox_volume_stored_bytes", Labels: volumeLabels,
			Help: "What the volume takes on all nodes that answer, parity included."},
			func(v VolumeStatus) float64 { return float64(v.StoredBytes) }},
	}
	servedFamilies = []family[servedFigures]{
		{prom.Family{Name: "rozobox_volume_under_protected_blocks", Labels: volumeLabels,
			Help: "Blocks with fewer than all chunks placed."},
			func(f servedFigures) float64 { return float64(f.UnderProtectedBlocks) }},
		{prom.Family{Name: "rozobox_volume_unsettled_bytes", Labels: volumeLabels,
			Help: "Bytes of chunks that were replied to and are not yet known to be durable."},
			func(f servedFigures) float64 { return float64(f.UnsettledBytes) }},
		{prom.Family{Name: "rozobox_volume_hedged_reads_total", Labels: volumeLabels, Kind: prom.Counter,
			Help: "Reads that were asked of other nodes too because one was late."},
			func(f servedFigures) float64 { return float64(f.Hedged) }},
		{prom.Family{Name: "rozobox_volume_degraded_blocks_total", Labels: volumeLabels, Kind: prom.Counter,
			Help: "Blocks that were read from others than their home nodes."},
			func(f servedFigures) float64 { return float64(f.Degraded) }},
		{prom.Family{Name: "rozobox_volume_mended_chunks_total", Labels: volumeLabels, Kind: prom.Counter,
			Help: "Damaged chunks that were written anew."},
			func(f servedFigures) float64 { return float64(f.Mended) }},
		{prom.Family{Name: "rozobox_volume_epoch", Labels: volumeLabels,
			Help: "The gateway's term of office for the volume."},
			func(f servedFigures) float64 { return float64(f.Superblock.Epoch) }},
		{prom.Family{Name: "rozobox_volume_watermark", Labels: volumeLabels,
			Help: "The newest write, counted within its epoch, up to which all is durable."},
			func(f servedFigures) float64 { return float64(f.Watermark.Seq()) }},
	}
	repairProgress = prom.Family{
		Name: "rozobox_volume_repair_progress_ratio", Labels: []string{"volume", "kind"},
		Help: "How far the repair is that is under way: resync, rebuild, tidy, reclaim or scrub.",
	}

	nodeLabels   = []string{"node"}
	nodeFamilies = []family[NodeStatus]{
		{prom.Family{Name: "rozobox_node_up", Labels: nodeLabels,
			Help: "1 when the node answers the gateway."},
			func(n NodeStatus) float64 { return truth(n.State != metrics.Unavailable) }},
		{prom.Family{Name: "rozobox_node_in", Labels: nodeLabels,
			Help: "1 when the node is up to date for every volume."},
			func(n NodeStatus) float64 { return truth(n.Sync == cluster.In.String()) }},
	}
	cardFamilies = []family[NodeStatus]{
		{prom.Family{Name: "rozobox_node_used_bytes", Labels: nodeLabels,
			Help: "What is used of the node's card."},
			func(n NodeStatus) float64 { return float64(n.UsedBytes) }},
		{prom.Family{Name: "rozobox_node_capacity_bytes", Labels: nodeLabels,
			Help: "The size of the node's card."},
			func(n NodeStatus) float64 { return float64(n.CapacityBytes) }},
		{prom.Family{Name: "rozobox_node_free_bytes", Labels: nodeLabels,
			Help: "What new data may still take on the node's card."},
			func(n NodeStatus) float64 { return float64(n.FreeBytes) }},
		{prom.Family{Name: "rozobox_node_read_only", Labels: nodeLabels,
			Help: "1 when the node takes no writes any more, after a failed sync."},
			func(n NodeStatus) float64 { return truth(n.ReadOnly) }},
	}

	chunkserverFamilies = []family[chunk.Stat]{
		{prom.Family{Name: "rozobox_chunkserver_chunk_reads_total", Labels: nodeLabels, Kind: prom.Counter,
			Help: "Chunks that were read."},
			func(s chunk.Stat) float64 { return float64(s.Reads) }},
		{prom.Family{Name: "rozobox_chunkserver_chunk_writes_total", Labels: nodeLabels, Kind: prom.Counter,
			Help: "Chunks that were written."},
			func(s chunk.Stat) float64 { return float64(s.Writes) }},
		{prom.Family{Name: "rozobox_chunkserver_read_bytes_total", Labels: nodeLabels, Kind: prom.Counter,
			Help: "Bytes of chunks that were read."},
			func(s chunk.Stat) float64 { return float64(s.ReadBytes) }},
		{prom.Family{Name: "rozobox_chunkserver_written_bytes_total", Labels: nodeLabels, Kind: prom.Counter,
			Help: "Bytes of chunks that were written."},
			func(s chunk.Stat) float64 { return float64(s.WriteBytes) }},
		{prom.Family{Name: "rozobox_chunkserver_syncs_total", Labels: nodeLabels, Kind: prom.Counter,
			Help: "How often the card was synced."},
			func(s chunk.Stat) float64 { return float64(s.Syncs) }},
		{prom.Family{Name: "rozobox_chunkserver_chunks", Labels: nodeLabels,
			Help: "Versions of chunks that are held, tombstones included."},
			func(s chunk.Stat) float64 { return float64(s.Chunks) }},
		{prom.Family{Name: "rozobox_chunkserver_used_bytes", Labels: nodeLabels,
			Help: "What is used of the card."},
			func(s chunk.Stat) float64 { return float64(s.UsedBytes) }},
		{prom.Family{Name: "rozobox_chunkserver_capacity_bytes", Labels: nodeLabels,
			Help: "The size of the card."},
			func(s chunk.Stat) float64 { return float64(s.CapacityBytes) }},
		{prom.Family{Name: "rozobox_chunkserver_free_bytes", Labels: nodeLabels,
			Help: "What new data may still take on the card."},
			func(s chunk.Stat) float64 { return float64(s.FreeBytes) }},
		{prom.Family{Name: "rozobox_chunkserver_read_only", Labels: nodeLabels,
			Help: "1 when the card takes no writes any more, after a failed sync."},
			func(s chunk.Stat) float64 { return truth(s.ReadOnly) }},
	}
)

// servedFigures are those of a volume that is served.
type servedFigures struct {
	stripe.Status
	UnderProtectedBlocks uint64
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// sheet collects figures.
type sheet []prom.Figure

func (s *sheet) add(f *prom.Family, value float64, labels ...string) {
	*s = append(*s, prom.Figure{Family: f, Labels: labels, Value: value})
}

// fill adds what the families show of one thing.
func fill[T any](s *sheet, families []family[T], of T, label string) {
	for i := range families {
		s.add(&families[i].Family, families[i].value(of), label)
	}
}

// metrics shows the gateway's figures to Prometheus.
func (a *admin) metrics() http.Handler {
	return prom.Handler(func(ctx context.Context) iter.Seq[prom.Figure] {
		s := sheet{}
		s.add(&buildInfo, 1, Version())
		if status := a.current(ctx); status != nil {
			a.gateway.figures(&s, status)
		}
		return slices.Values(s)
	})
}

func (g *Gateway) figures(s *sheet, status *Status) {
	for _, n := range status.Nodes {
		fill(s, nodeFamilies, n, n.ID)
		if n.State != metrics.Unavailable {
			fill(s, cardFamilies, n, n.ID)
		}
	}
	for _, v := range status.Volumes {
		fill(s, volumeFamilies, v, v.Name)
		if served := g.find(v.Name); served != nil {
			served.figures(s, v)
		}
	}
}

func (v *served) figures(s *sheet, status VolumeStatus) {
	for op := range operations {
		t, labels := &v.traffic[op], []string{status.Name, operationNames[op]}
		durations := t.latency.Snapshot()
		*s = append(*s, prom.Figure{Family: &requestDurations, Labels: labels, Durations: &durations})
		s.add(&requestErrors, float64(t.failed.Load()), labels...)
		if op != opFlush {
			s.add(&requestBytes, float64(t.bytes.Load()), labels...)
		}
	}
	if array := v.serving(); array != nil {
		fill(s, servedFamilies, servedFigures{array.Status(), status.UnderProtectedBlocks}, status.Name)
	}
	if r := status.Repair; r.Kind != "" && r.TotalBlocks > 0 {
		s.add(&repairProgress, min(1, float64(r.DoneBlocks)/float64(r.TotalBlocks)), status.Name, r.Kind)
	}
}

// exporter shows a chunk server's figures over HTTP.
type exporter struct {
	net.Listener
	store  chunk.Catalog
	node   string
	logger *slog.Logger
}

// listenMetrics takes the address that Prometheus is to ask; nil where there is
// none.
func listenMetrics(config *ChunkserverConfig, store chunk.Catalog, logger *slog.Logger) (*exporter, error) {
	if config.Metrics == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", config.Metrics)
	if err != nil {
		return nil, fmt.Errorf("listen for Prometheus on %s (metrics): %w", config.Metrics, err)
	}
	logger.Info("figures are shown", "addr", l.Addr().String())
	return &exporter{l, store, config.ID, logger}, nil
}

// close gives the address back where nothing was served yet.
func (e *exporter) close() error {
	if e == nil {
		return nil
	}
	return e.Close()
}

// serve answers until ctx ends.
func (e *exporter) serve(ctx context.Context) error {
	if e == nil {
		<-ctx.Done()
		return nil
	}
	return serveHTTP(ctx, e.Listener, e.handler(), e.logger)
}

func (e *exporter) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", e.health)
	mux.Handle("GET /metrics", prom.Handler(e.figures))
	return mux
}

// figures has nothing of the store once that is closed.
func (e *exporter) figures(ctx context.Context) iter.Seq[prom.Figure] {
	s := sheet{}
	s.add(&buildInfo, 1, Version())
	if stat, err := e.store.Stat(ctx); err == nil {
		fill(&s, chunkserverFamilies, stat, e.node)
	}
	return slices.Values(s)
}

// health is bad when the card takes no writes any more.
func (e *exporter) health(w http.ResponseWriter, r *http.Request) {
	stat, err := e.store.Stat(r.Context())
	if err == nil && stat.ReadOnly {
		err = chunk.ErrReadOnly
	}
	if err != nil {
		fail(w, http.StatusServiceUnavailable, err)
		return
	}
	answer(w, http.StatusOK, map[string]string{"health": Healthy})
}
