package daemon

import (
	"context"
	"fmt"
	"io"
	"sync"
	"text/tabwriter"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
	"rozobox/pkg/daemon/watch"
	"rozobox/pkg/metrics"
	"rozobox/pkg/stripe"
)

// Status is what `rozobox status --json` prints and /v1/status answers. It is
// an interface: keys are only ever added.
type Status struct {
	// Health is "healthy", "degraded" (all volumes are served, with less
	// protection than they were made for) or "unavailable" (a volume, or the
	// gateway, does not serve).
	Health  string         `json:"health"`
	Cluster string         `json:"cluster"`
	Gateway GatewayStatus  `json:"gateway"`
	Nodes   []NodeStatus   `json:"nodes"`
	Volumes []VolumeStatus `json:"volumes"`
}

// The values of Status.Health.
const (
	Healthy     = "healthy"
	Degraded    = "degraded"
	Unavailable = "unavailable"
)

// GatewayStatus is the gateway as it sees itself.
type GatewayStatus struct {
	ID            string  `json:"id"`
	Version       string  `json:"version"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	// State is "serving", "starting" or "unavailable".
	State string `json:"state"`
	// Why says what is wrong, where something is.
	Why string `json:"why,omitempty"`
	// NBDAddr is where the volumes are exported; empty for none.
	NBDAddr string `json:"nbd_addr"`
}

// NodeStatus is one chunk server.
type NodeStatus struct {
	ID   string `json:"id"`
	Addr string `json:"addr"`
	// State is "idle", "working" (a chunk was read or written within the last
	// second) or "unavailable".
	State string `json:"state"`
	// Sync is "in", "out", "resyncing" or "lost": the worst of what the
	// volumes' superblocks record. It is "unknown" where no gateway runs and
	// nobody who may read superblocks asks.
	Sync          string `json:"sync"`
	UsedBytes     uint64 `json:"used_bytes"`
	CapacityBytes uint64 `json:"capacity_bytes"`
	// FreeBytes is what new data may still take.
	FreeBytes uint64 `json:"free_bytes"`
	ReadOnly  bool   `json:"read_only"`
	// Slow says that it answers, but reads go to others because it is late, or
	// that it went out because its writes were.
	Slow bool `json:"slow"`
	// Why says what is wrong, where something is.
	Why string `json:"why,omitempty"`
}

// VolumeStatus is one volume.
type VolumeStatus struct {
	Name           string `json:"name"`
	ID             string `json:"id"`
	SizeBytes      int64  `json:"size_bytes"`
	BlockSizeBytes int    `json:"block_size_bytes"`
	DataChunks     int    `json:"data_chunks"`
	ParityChunks   int    `json:"parity_chunks"`
	ExtentBlocks   int64  `json:"extent_blocks"`
	// StoredBytes is what the volume takes on all nodes that answer, parity
	// included.
	StoredBytes uint64 `json:"stored_bytes"`
	// UnderProtectedBlocks counts blocks with fewer than all chunks placed.
	UnderProtectedBlocks uint64 `json:"under_protected_blocks"`
	// Incarnation rises when an opening may have lost replied writes.
	Incarnation uint32 `json:"incarnation"`
	// State is "serving", "opening", "waiting" (for what Why says), "deposed"
	// (another gateway serves it) or "closed".
	State string `json:"state"`
	Why   string `json:"why,omitempty"`

	Repair RepairStatus `json:"repair"`
	Scrub  ScrubStatus  `json:"scrub"`
	// HedgedReads counts reads, since the opening, that were asked of other
	// nodes too because one was late.
	HedgedReads uint64 `json:"hedged_reads"`
}

// statTimeout bounds the wait for one node's figures. It is short of what a
// person notices as a hang, and ten times a busy card's pause.
const statTimeout = time.Second

// peer is a node as configured, and the way to it.
type peer struct {
	Node
	store chunk.Store
}

// survey asks all peers for their figures, side by side.
func survey(ctx context.Context, peers []peer) []watch.Answer {
	ctx, cancel := context.WithTimeout(ctx, statTimeout)
	defer cancel()
	answers := make([]watch.Answer, len(peers))
	var wg sync.WaitGroup
	for i, p := range peers {
		wg.Go(func() { answers[i].Stat, answers[i].Err = p.store.Stat(ctx) })
	}
	wg.Wait()
	return answers
}

// nodeStatus is what a node's answer shows.
func nodeStatus(n Node, a watch.Answer) NodeStatus {
	s := NodeStatus{
		ID:            n.ID,
		Addr:          n.Addr,
		Sync:          cluster.In.String(),
		UsedBytes:     a.Stat.UsedBytes,
		CapacityBytes: a.Stat.CapacityBytes,
		FreeBytes:     a.Stat.FreeBytes,
		ReadOnly:      a.Stat.ReadOnly,
	}
	s.State, s.Why = a.State()
	return s
}

// stored adds up what the nodes hold of each volume.
func stored(answers []watch.Answer) map[chunk.VolumeID]uint64 {
	sum := make(map[chunk.VolumeID]uint64)
	for _, a := range answers {
		for _, v := range a.Stat.Volumes {
			sum[v.ID] += v.StoredBytes
		}
	}
	return sum
}

// addSync puts into the nodes' status what a superblock records, where that is
// worse than what stands there, and what the array that serves the volume sees
// of them; that may be nil.
func addSync(nodes []NodeStatus, sb *cluster.Superblock, array *stripe.Status) {
	rank := map[string]int{metrics.Resyncing: 1, cluster.Out.String(): 2, cluster.Lost.String(): 3}
	for i := range nodes {
		at := sb.Index(chunk.NodeID(nodes[i].ID))
		if at < 0 {
			continue
		}
		state := sb.Nodes[at].State.String()
		if array != nil {
			if array.Following[at] {
				state = metrics.Resyncing
			}
			nodes[i].see(array, at)
		}
		if rank[state] > rank[nodes[i].Sync] {
			nodes[i].Sync = state
		}
	}
}

// see adds how an array gets on with the node.
func (n *NodeStatus) see(array *stripe.Status, at int) {
	n.Slow = n.Slow || array.Slow[at] || array.Crawls[at] != ""
	if why := array.Unfit[at]; why != nil && n.Why == "" {
		n.Why = why.Error()
	}
	if n.Why == "" {
		n.Why = array.Crawls[at]
	}
}

func volumeStatus(sb *cluster.Superblock, storedBytes uint64) VolumeStatus {
	return VolumeStatus{
		Name:           sb.Name,
		ID:             sb.Volume.String(),
		SizeBytes:      sb.Geometry.Size,
		BlockSizeBytes: sb.Geometry.BlockSize,
		DataChunks:     sb.Geometry.Data,
		ParityChunks:   sb.Geometry.Parity,
		ExtentBlocks:   sb.Geometry.Extent,
		StoredBytes:    storedBytes,
		Incarnation:    sb.Incarnation,
	}
}

// judge sets the health from all the rest.
func (s *Status) judge() {
	s.Health = Healthy
	for _, n := range s.Nodes {
		if n.State == metrics.Unavailable || n.Sync != cluster.In.String() || n.ReadOnly {
			s.Health = Degraded
		}
	}
	for _, v := range s.Volumes {
		if v.UnderProtectedBlocks > 0 {
			s.Health = Degraded
		}
	}
	for _, v := range s.Volumes {
		if v.State != stateServing {
			s.Health = Unavailable
		}
	}
	if s.Gateway.State != stateServing {
		s.Health = Unavailable
	}
}

// Print writes s for people: words and aligned columns.
func (s *Status) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "Cluster %s is %s.\n", s.Cluster, s.Health)
	s.Gateway.print(t)
	fmt.Fprint(t, "\nNODE\tADDRESS\tSTATE\tSYNC\tUSED\tCAPACITY\t\n")
	for _, n := range s.Nodes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			n.ID, n.Addr, n.State, n.Sync, about(n.UsedBytes), about(n.CapacityBytes), n.Why)
	}
	fmt.Fprintln(t)
	PrintVolumes(t, s.Volumes)
	s.printUpkeep(t)
	return t.Flush()
}

// printUpkeep writes what repair does and has done, where there is something.
func (s *Status) printUpkeep(w io.Writer) {
	before := "\n" // a blank line, once
	for _, v := range s.Volumes {
		for _, line := range []string{v.Repair.String(), v.Scrub.String()} {
			if line != "" {
				fmt.Fprintf(w, "%s%s: %s\n", before, v.Name, line)
				before = ""
			}
		}
	}
}

// PrintVolumes writes a table of volumes, its columns ended by tabs.
func PrintVolumes(t *tabwriter.Writer, volumes []VolumeStatus) {
	if len(volumes) == 0 {
		fmt.Fprintln(t, "No volumes.")
		return
	}
	fmt.Fprint(t, "VOLUME\tSIZE\tBLOCK\tDATA+PARITY\tSTORED\tUNDER-PROTECTED\tSTATE\t\n")
	for _, v := range volumes {
		fmt.Fprintf(t, "%s\t%v\t%v\t%d+%d\t%s\t%d blocks\t%s\t%s\n",
			v.Name, Size(v.SizeBytes), Size(v.BlockSizeBytes), v.DataChunks, v.ParityChunks,
			about(v.StoredBytes), v.UnderProtectedBlocks, v.State, v.Why)
	}
}

func (g *GatewayStatus) print(w io.Writer) {
	if g.State == metrics.Unavailable {
		fmt.Fprintf(w, "The gateway is unavailable: %s\n", g.Why)
		return
	}
	uptime := time.Duration(g.UptimeSeconds * float64(time.Second)).Round(time.Second)
	fmt.Fprintf(w, "Gateway %s is %s, version %s, up %v", g.ID, g.State, g.Version, uptime)
	if g.NBDAddr != "" {
		fmt.Fprintf(w, ", NBD at %s", g.NBDAddr)
	}
	fmt.Fprintln(w, ".")
}
