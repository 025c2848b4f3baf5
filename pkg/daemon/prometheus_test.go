package daemon

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/metrics/host"
	"rozobox/pkg/metrics/prom"
)

// lint checks the text of a scrape by Prometheus' own rules.
func lint(t *testing.T, text string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v: %v\n%s", err, problems, text)
	}
}

func wantAll(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, line := range want {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("%q is missing in\n%s", line, text)
		}
	}
}

func TestMetricsOfTheGateway(t *testing.T) {
	r := newRig(t)
	r.start()
	d := exported(t, r, "büro \"1\"")
	if err := d.WriteAt(t.Context(), make([]byte, 65536), 0); err != nil {
		t.Fatal(err)
	}
	if err := d.ReadAt(t.Context(), make([]byte, 512), 0); err != nil {
		t.Fatal(err)
	}
	code, text := r.send(t, r.request(t, http.MethodGet, "/metrics", ""))
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
	lint(t, text)
	wantAll(t, text,
		`rozobox_gateway_request_duration_seconds_count{operation="write",volume="büro \"1\""} 1`,
		`rozobox_gateway_request_duration_seconds_bucket{operation="read",volume="büro \"1\"",le="17.179869184"} 1`,
		`rozobox_gateway_request_bytes_total{operation="read",volume="büro \"1\""} 512`,
		`rozobox_gateway_request_errors_total{operation="trim",volume="büro \"1\""} 0`,
		`rozobox_volume_serving{volume="büro \"1\""} 1`,
		`rozobox_volume_size_bytes{volume="büro \"1\""} 1.048576e+06`,
		`rozobox_volume_under_protected_blocks{volume="büro \"1\""} 0`,
		`rozobox_volume_unsettled_bytes{volume="büro \"1\""} 100352`, // two stripes of 48 KiB, and 1 KiB for each
		`rozobox_node_up{node="pi1"} 1`,
		`rozobox_node_in{node="pi6"} 1`,
		"# TYPE process_cpu_seconds_total counter",
	)
}

// A node of which nothing is known has no figures but that it is not up.
func TestMetricsOfANodeThatIsAway(t *testing.T) {
	r := newRigWithoutAPI(t)
	status := &Status{Nodes: []NodeStatus{{ID: "pi1", State: "unavailable", Sync: "out"}}}
	var s sheet
	r.figures(&s, status)
	for _, f := range s {
		if f.Value != 0 || !slices.Contains([]string{"rozobox_node_up", "rozobox_node_in"}, f.Family.Name) {
			t.Errorf("%s is %v", f.Family.Name, f.Value)
		}
	}
	if len(s) != 2 {
		t.Errorf("%d figures, want 2", len(s))
	}
}

func TestMetricsOfAChunkServer(t *testing.T) {
	r := newRigWithoutAPI(t)
	config, err := LoadChunkserver(filepath.Join(r.dir, "pi1", chunkserverFile))
	if err != nil {
		t.Fatal(err)
	}
	config.Listen, config.Metrics = "127.0.0.1:0", "127.0.0.1:0"
	s, err := openChunkserver(config, host.New(boottime), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.run(ctx) }()
	addr := s.exporter.Addr().String()
	for path, want := range map[string]string{
		"/healthz": `{"health":"healthy"}`,
		"/metrics": `rozobox_chunkserver_chunk_writes_total{node="pi1"} 0`,
	} {
		text := get(t, "http://"+addr+path)
		if !strings.Contains(text, want) {
			t.Errorf("%s: %s", path, text)
		}
		if path == "/metrics" {
			lint(t, text)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A card that takes no writes any more is not healthy.
func TestHealthOfAReadOnlyCard(t *testing.T) {
	store := chunktest.NewMemory("pi1")
	e := &exporter{store: store, node: "pi1"}
	ask := func(path string) (int, string) {
		w := httptest.NewRecorder()
		e.handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	if code, text := ask("/healthz"); code != http.StatusOK {
		t.Errorf("sound: %d %s", code, text)
	}
	term := chunk.Term{Volume: chunk.VolumeID{1}, Epoch: 1, Nonce: 1}
	if _, err := store.Grant(t.Context(), term.Volume, term.Epoch, term.Nonce); err != nil {
		t.Fatal(err)
	}
	store.FailSync()
	if _, err := store.Sync(t.Context(), term); err == nil {
		t.Fatal("the sync did not fail")
	}
	if code, text := ask("/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "read-only") {
		t.Errorf("read-only: %d %s", code, text)
	}
	if _, text := ask("/metrics"); !strings.Contains(text, `rozobox_chunkserver_read_only{node="pi1"} 1`) {
		t.Errorf("read-only: %s", text)
	}
}

// shown returns the names of all figures that there can be, with those that
// Prometheus makes of a histogram's.
func shown(t *testing.T) map[string]bool {
	t.Helper()
	r := newRigWithoutAPI(t)
	r.start()
	exported(t, r, "films")
	status := r.Status(t.Context())
	status.Volumes[0].Repair = RepairStatus{Kind: "resync", TotalBlocks: 2, DoneBlocks: 1}
	s := sheet(slices.Collect((&exporter{store: chunktest.NewMemory("pi1")}).figures(t.Context())))
	r.figures(&s, status)
	names := map[string]bool{"process_cpu_seconds_total": true}
	for _, f := range s {
		names[f.Family.Name] = true
		if f.Family.Kind == prom.Histogram {
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				names[f.Family.Name+part] = true
			}
		}
	}
	return names
}

var metricName = regexp.MustCompile(`\b(rozobox|process|go)_[a-z_]+`)

// The dashboard asks for nothing that is not shown, and every figure that is
// shown is in the README.
func TestDashboardAndReadmeHaveTheNamesThatAreShown(t *testing.T) {
	names := shown(t)
	dashboard := sample(t, "grafana.json")
	if !json.Valid([]byte(dashboard)) {
		t.Error("the dashboard is not JSON")
	}
	used := metricName.FindAllString(dashboard, -1)
	if len(used) < 20 {
		t.Errorf("the dashboard uses only %q", used)
	}
	for _, name := range used {
		if !names[name] {
			t.Errorf("the dashboard uses %s, which is not shown", name)
		}
	}
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range metricName.FindAllString(string(text), -1) {
		if !names[name] {
			t.Errorf("the README tells of %s, which is not shown", name)
		}
	}
	for name := range names {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		if !regexp.MustCompile(`\b` + base + `\b`).Match(text) {
			t.Errorf("the README does not tell of %s", name)
		}
	}
}

func TestBadMetricsAddress(t *testing.T) {
	path := filepath.Join(t.TempDir(), chunkserverFile)
	text := strings.Replace(sample(t, chunkserverFile), `metrics = ""`, `metrics = "9811"`, 1)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadChunkserver(path); err == nil || !strings.Contains(err.Error(), `metrics: bad address "9811"`) {
		t.Errorf("%v", err)
	}
}
