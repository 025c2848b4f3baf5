package daemon

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"rozobox/pkg/cluster"
	"rozobox/pkg/metrics"
	"rozobox/pkg/stripe"
)

// The keys are an interface: none of these may go.
func TestStatusKeys(t *testing.T) {
	r := newRig(t)
	r.start()
	if _, err := r.client.CreateVolume(t.Context(), NewVolume{Name: "films", SizeBytes: mib}); err != nil {
		t.Fatal(err)
	}
	_, text := r.send(t, r.request(t, http.MethodGet, "/v1/status", ""))
	var status struct {
		Health  string
		Gateway map[string]any
		Nodes   []map[string]any
		Volumes []map[string]any
	}
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		t.Fatal(err)
	}
	if status.Health != Healthy || len(status.Nodes) != 6 || len(status.Volumes) != 1 {
		t.Fatal(text)
	}
	for want, have := range map[string]map[string]any{
		"id version uptime_seconds":                    status.Gateway,
		"id addr state sync used_bytes capacity_bytes": status.Nodes[0],
		"name size_bytes block_size_bytes data_chunks parity_chunks stored_bytes " +
			"under_protected_blocks incarnation state repair scrub hedged_reads": status.Volumes[0],
		"kind node total_blocks done_blocks bytes rate_bytes_per_second remaining_seconds paused": status.Volumes[0]["repair"].(map[string]any),
		"asked started ended blocks mended failed":                                                status.Volumes[0]["scrub"].(map[string]any),
	} {
		for _, key := range strings.Fields(want) {
			if _, ok := have[key]; !ok {
				t.Errorf("key %s is missing in %v", key, have)
			}
		}
	}
	if code, reply := r.send(t, r.request(t, http.MethodGet, "/healthz", "")); code != 200 {
		t.Errorf("healthz: %d %s", code, reply)
	}
}

func TestHealth(t *testing.T) {
	node := func(state, sync string) NodeStatus { return NodeStatus{State: state, Sync: sync} }
	good := node(metrics.Idle, "in")
	serving := VolumeStatus{State: stateServing}
	for name, c := range map[string]struct {
		gateway string
		node    NodeStatus
		volume  VolumeStatus
		want    string
	}{
		"all well":         {stateServing, good, serving, Healthy},
		"working":          {stateServing, node(metrics.Working, "in"), serving, Healthy},
		"node gone":        {stateServing, node(metrics.Unavailable, "in"), serving, Degraded},
		"node out":         {stateServing, node(metrics.Idle, "out"), serving, Degraded},
		"node lost":        {stateServing, node(metrics.Idle, "lost"), serving, Degraded},
		"node read-only":   {stateServing, NodeStatus{State: metrics.Idle, Sync: "in", ReadOnly: true}, serving, Degraded},
		"under-protected":  {stateServing, good, VolumeStatus{State: stateServing, UnderProtectedBlocks: 1}, Degraded},
		"volume waits":     {stateServing, good, VolumeStatus{State: stateWaiting}, Unavailable},
		"volume deposed":   {stateServing, node(metrics.Idle, "out"), VolumeStatus{State: stateDeposed}, Unavailable},
		"gateway starting": {stateStarting, good, serving, Unavailable},
		"gateway gone":     {metrics.Unavailable, good, serving, Unavailable},
	} {
		s := Status{
			Gateway: GatewayStatus{State: c.gateway}, Nodes: []NodeStatus{good, c.node, good},
			Volumes: []VolumeStatus{serving, c.volume, serving},
		}
		if s.judge(); s.Health != c.want {
			t.Errorf("%s: %s, want %s", name, s.Health, c.want)
		}
	}
}

// The worst of all volumes counts.
func TestNodeSync(t *testing.T) {
	nodes := []NodeStatus{{ID: "pi1", Sync: "in"}, {ID: "pi2", Sync: "in"}, {ID: "pi3", Sync: "in"}}
	for _, states := range [][2]cluster.State{
		{cluster.In, cluster.Out}, {cluster.Lost, cluster.In}, {cluster.Out, cluster.In},
	} {
		addSync(nodes, &cluster.Superblock{Nodes: []cluster.Member{
			{ID: "pi2", State: states[1]}, {ID: "pi1", State: states[0]},
		}}, nil)
	}
	if nodes[0].Sync != "lost" || nodes[1].Sync != "out" || nodes[2].Sync != "in" {
		t.Errorf("got %+v", nodes)
	}
}

// A node that is out and answers says why.
func TestNodeOutForBeingSlow(t *testing.T) {
	nodes := []NodeStatus{{ID: "pi1", Sync: "in"}, {ID: "pi2", Sync: "in"}}
	sb := &cluster.Superblock{Nodes: []cluster.Member{{ID: "pi1", State: cluster.Out}, {ID: "pi2", State: cluster.In}}}
	addSync(nodes, sb, &stripe.Status{
		Following: make([]bool, 2), Slow: make([]bool, 2), Unfit: make([]error, 2), Crawls: []string{"it is slow", ""},
	})
	want := []NodeStatus{{ID: "pi1", Sync: "out", Slow: true, Why: "it is slow"}, {ID: "pi2", Sync: "in"}}
	if !slices.Equal(nodes, want) {
		t.Errorf("got %+v", nodes)
	}
}
