package daemon

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/metrics"
	"rozobox/pkg/nbd"
	"rozobox/pkg/stripe"
)

// rig is a gateway over nodes in memory, with its admin API.
type rig struct {
	*Gateway
	dir    string
	server *httptest.Server
	client *Client
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := newRigWithoutAPI(t)
	r.server = httptest.NewServer(newAdmin(r.Gateway).handler())
	r.client.admin = r.server.Listener.Addr().String()
	t.Cleanup(r.server.Close)
	return r
}

func newRigWithoutAPI(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	if err := Init(labOptions(dir)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, gatewayDir, gatewayFile)
	client, err := NewClient(path)
	if err != nil {
		t.Fatal(err)
	}
	config, err := LoadGateway(path)
	if err != nil {
		t.Fatal(err)
	}
	g := newGateway(config, client.creds, slog.New(slog.DiscardHandler))
	for _, n := range config.Nodes {
		store := chunktest.NewMemory(chunk.NodeID(n.ID))
		g.addNode(n, stripe.Node{ID: chunk.NodeID(n.ID), Store: store, Background: store})
	}
	t.Cleanup(func() {
		g.endWork()
		g.tasks.Wait()
	})
	return &rig{Gateway: g, dir: dir, client: client}
}

// start begins the search for volumes and waits for its end.
func (r *rig) start() {
	r.tasks.Go(r.discover)
	<-r.ready
}

const mib = 1 << 20

func TestAdminMakesListsAndDeletesVolumes(t *testing.T) {
	r := newRig(t)
	r.start()
	made, err := r.client.CreateVolume(t.Context(), NewVolume{Name: "films", SizeBytes: mib})
	if err != nil || made.State != stateServing || made.BlockSizeBytes != 32<<10 || made.DataChunks != 4 {
		t.Fatalf("made %+v, %v", made, err)
	}
	other := NewVolume{Name: "büro 1/2", SizeBytes: mib, BlockSizeBytes: 4096, DataChunks: 2, ParityChunks: 1, ExtentBlocks: 7}
	made, err = r.client.CreateVolume(t.Context(), other)
	if err != nil || made.BlockSizeBytes != 4096 || made.DataChunks != 2 || made.ParityChunks != 1 || made.ExtentBlocks != 7 {
		t.Fatalf("made %+v, %v", made, err)
	}
	if _, err := r.client.CreateVolume(t.Context(), other); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("made twice: %v", err)
	}
	if names := r.Names(); !slices.Equal(names, []string{"büro 1/2", "films"}) {
		t.Errorf("exports %q", names)
	}
	if _, ok := r.Export(""); ok {
		t.Error("of two volumes, one is the default")
	}
	if err := r.client.DeleteVolume(t.Context(), "büro 1/2"); err != nil {
		t.Fatal(err)
	}
	if err := r.client.DeleteVolume(t.Context(), "büro 1/2"); err == nil || !strings.Contains(err.Error(), "no such volume") {
		t.Errorf("deleted twice: %v", err)
	}
	if d, ok := r.Export(""); !ok || d.Size() != mib {
		t.Error("the only volume is not the default")
	}
	if found, err := stripe.Find(t.Context(), r.options); err != nil || len(found) != 1 {
		t.Errorf("the nodes know %d volumes, %v", len(found), err)
	}
}

func TestAdminRefusesBadVolumes(t *testing.T) {
	r := newRig(t)
	for body, want := range map[string]string{
		``:                                    "bad JSON",
		`{"name":"a","size":1}`:               "unknown field",
		`{"name":"a","size_bytes":1048576} x`: "more than one value",
		`{"name":"","size_bytes":1048576}`:    "name",
		`{"name":"a","size_bytes":0}`:         "size 0",
		`{"name":"a","size_bytes":-32768}`:    "size -32768",
		`{"name":"a","size_bytes":1000}`:      "size 1000",
		`{"name":"a","size_bytes":1048576,"block_size_bytes":3}`:                       "block size",
		`{"name":"a","size_bytes":1048576,"block_size_bytes":4294971392}`:              "block size",
		`{"name":"a","size_bytes":1048576,"data_chunks":8}`:                            "8+2 chunks need 10 nodes",
		`{"name":"a","size_bytes":1048576,"parity_chunks":4}`:                          "parity",
		`{"name":"a","size_bytes":1048576,"extent_blocks":-1}`:                         "extent",
		`{"name":"` + strings.Repeat("a", chunk.MaxName+1) + `","size_bytes":1048576}`: "name",
		`{"name":"` + strings.Repeat("a", maxAdminBody) + `"}`:                         "too large",
	} {
		code, reply := r.send(t, r.signed(t, http.MethodPost, "/v1/volumes", body))
		if code < 400 || code >= 500 || !strings.Contains(reply, want) || strings.Count(reply, "\n") != 1 {
			t.Errorf("%.80s: %d %s, want %q", body, code, reply, want)
		}
	}
	if len(r.list()) != 0 {
		t.Errorf("made %d volumes", len(r.list()))
	}
}

func (r *rig) request(t *testing.T, method, path, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func (r *rig) signed(t *testing.T, method, path, body string) *http.Request {
	t.Helper()
	req := r.request(t, method, path, body)
	if err := r.client.sign(req, []byte(body)); err != nil {
		t.Fatal(err)
	}
	return req
}

func (r *rig) send(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := io.Copy(&text, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, text.String()
}

func TestI8UnsignedChangesAreRefused(t *testing.T) {
	r := newRig(t)
	r.start()
	if _, err := r.client.CreateVolume(t.Context(), NewVolume{Name: "films", SizeBytes: mib}); err != nil {
		t.Fatal(err)
	}
	const path = "/v1/volumes/films"
	key := r.client.creds.Certificate.PrivateKey.(crypto.Signer)
	with := func(header string) *http.Request {
		req := r.request(t, http.MethodDelete, path, "")
		req.Header.Set(signatureHeader, header)
		return req
	}
	at := func(now time.Time, method, path, body string) string {
		sig, err := signature(key, now, method, path, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	now := time.Now()
	_, sig, _ := strings.Cut(at(now, http.MethodDelete, path, ""), " ")
	stranger, err := newCA("lab")
	if err != nil {
		t.Fatal(err)
	}
	forged, err := signature(stranger.key, now, http.MethodDelete, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, req := range map[string]*http.Request{
		"no signature":      r.request(t, http.MethodDelete, path, ""),
		"garbage":           with("x y"),
		"time alone":        with(fmt.Sprint(now.UnixNano())),
		"another's key":     with(forged),
		"another method":    with(at(now, http.MethodPost, path, "")),
		"another volume":    with(at(now, http.MethodDelete, path+"x", "")),
		"another body":      with(at(now, http.MethodDelete, path, "x")),
		"another time":      with(fmt.Sprintf("%d %s", now.UnixNano()+1, sig)),
		"too old":           with(at(now.Add(-signedFor-time.Second), http.MethodDelete, path, "")),
		"from the future":   with(at(now.Add(signedFor+time.Minute), http.MethodDelete, path, "")),
		"before this start": with(at(r.started.Add(-time.Nanosecond), http.MethodDelete, path, "")),
		"unsigned creation": r.request(t, http.MethodPost, "/v1/volumes", `{"name":"b","size_bytes":1048576}`),
	} {
		if code, reply := r.send(t, req); code != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, code, reply)
		}
	}
	if names := r.Names(); !slices.Equal(names, []string{"films"}) {
		t.Errorf("exports %q", names)
	}
}

// A request that somebody has listened to works no second time.
func TestI8SignatureIsGoodOnce(t *testing.T) {
	r := newRig(t)
	r.start()
	const body = `{"name":"films","size_bytes":1048576}`
	first := r.signed(t, http.MethodPost, "/v1/volumes", body)
	second := first.Clone(t.Context())
	second.Body = io.NopCloser(strings.NewReader(body))
	if code, reply := r.send(t, first); code != http.StatusCreated {
		t.Fatalf("first: %d %s", code, reply)
	}
	if code, reply := r.send(t, second); code != http.StatusUnauthorized {
		t.Errorf("second: %d %s", code, reply)
	}
}

func TestI8VerifierForgetsWhatIsTooOld(t *testing.T) {
	v := &verifier{seen: map[int64]bool{}}
	now := time.Now()
	for _, off := range []time.Duration{-signedFor - 1, signedFor + 1} {
		if err := v.once(now.Add(off).UnixNano(), now); !errors.Is(err, errStale) {
			t.Errorf("signed %v from now: %v", off, err)
		}
	}
	for i := range 100 {
		at := now.Add(time.Duration(i) * time.Second)
		if err := v.once(at.UnixNano(), at); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(v.seen); n > int(signedFor/time.Second)+1 {
		t.Errorf("%d signatures are remembered", n)
	}
}

func TestI8MonitorChangesNothing(t *testing.T) {
	r := newRig(t)
	monitor, err := NewClient(filepath.Join(r.dir, monitorDir, monitorFile))
	if err != nil {
		t.Fatal(err)
	}
	monitor.admin = r.client.admin
	if _, err := monitor.Status(t.Context()); err != nil {
		t.Errorf("status: %v", err)
	}
	_, err = monitor.CreateVolume(t.Context(), NewVolume{Name: "films", SizeBytes: mib})
	if err == nil || !strings.Contains(err.Error(), "gateway's own") {
		t.Errorf("a monitor made a volume: %v", err)
	}
}

// The gateways of two clusters may be at one address, one after the other.
func TestAnotherClustersGatewayIsNone(t *testing.T) {
	r := newRig(t)
	stranger := *r.client
	stranger.cluster, stranger.nodes = "loft", nil
	status, err := stranger.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const want = `of cluster "lab", not of "loft"`
	if status.Cluster != "loft" || status.Gateway.State != metrics.Unavailable || !strings.Contains(status.Gateway.Why, want) {
		t.Errorf("%+v, want a gateway that is unavailable: %s", status, want)
	}
	_, err = stranger.CreateVolume(t.Context(), NewVolume{Name: "films", SizeBytes: mib})
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("create volume: %v, want %s", err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = stranger.listenOnce(ctx, func(p *metrics.Cluster) {
		t.Errorf("took for its own: %+v", p)
		cancel()
	})
	if err == nil || !strings.Contains(err.Error(), "421") {
		t.Errorf("live: %v, want 421", err)
	}
}

// A web page may have its own name lead to this address: it reads nothing.
func TestI8OnlyLiteralHostsAreServed(t *testing.T) {
	r := newRig(t)
	for host, want := range map[string]int{
		"127.0.0.1:9810": 200, "[::1]:9810": 200, "localhost:9810": 200, "localhost": 200, "10.0.0.1": 200,
		"evil.example": 403, "evil.example:9810": 403, "localhost.evil.example": 403, "127.0.0.1.evil.example:80": 403,
	} {
		req := r.request(t, http.MethodGet, "/v1/status", "")
		req.Host = host
		if code, reply := r.send(t, req); code != want {
			t.Errorf("%s: %d %s", host, code, reply)
		}
	}
}

// A volume that cannot be opened says why and keeps no other waiting.
func TestVolumeThatCannotOpenHindersNoOther(t *testing.T) {
	r := newRig(t)
	more := r.options
	spare := chunktest.NewMemory("pi7")
	more.Nodes = append(slices.Clone(more.Nodes), stripe.Node{ID: "pi7", Store: spare, Background: spare})
	geo := r.config.Volume.geometry(mib)
	if _, err := stripe.Create(t.Context(), more, "big", geo); err != nil {
		t.Fatal(err)
	}
	if _, err := stripe.Create(t.Context(), r.options, "good", geo); err != nil {
		t.Fatal(err)
	}
	r.start()
	status := r.Status(t.Context())
	if status.Health != Unavailable || len(status.Volumes) != 2 {
		t.Fatalf("status %+v", status)
	}
	big, good := status.Volumes[0], status.Volumes[1]
	if big.State != stateWaiting || !strings.Contains(big.Why, "pi7") {
		t.Errorf("big is %+v", big)
	}
	if good.State != stateServing {
		t.Errorf("good is %+v", good)
	}
	if names := r.Names(); !slices.Equal(names, []string{"good"}) {
		t.Errorf("exports %q", names)
	}
}

// Two gateways must not take a volume from each other for ever: the one that
// was deposed stays so.
func TestI5DeposedGatewayStaysDeposed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutAPI(t)
		r.options.Clock = nil // the bubble's
		r.start()
		s, err := r.create(t.Context(), "films", r.config.Volume.geometry(mib))
		if err != nil {
			t.Fatal(err)
		}
		d, ok := r.Export("films")
		if !ok {
			t.Fatal("not exported")
		}
		successor, err := stripe.Open(t.Context(), r.options, s.sb.Volume)
		if err != nil {
			t.Fatal(err)
		}
		defer successor.Close(context.Background())
		if err := d.WriteAt(t.Context(), make([]byte, 512), 0); !errors.Is(err, nbd.ErrGone) {
			t.Errorf("the deposed gateway wrote: %v", err)
		}
		time.Sleep(10 * reopenAtMost)
		if got := s.status(0); got.State != stateDeposed || got.Why == "" {
			t.Errorf("the volume is %+v", got)
		}
		if _, ok := r.Export("films"); ok {
			t.Error("the deposed gateway exports the volume")
		}
		if err := successor.Err(); err != nil {
			t.Errorf("the successor was deposed: %v", err)
		}
	})
}

// A volume whose nodes are away is opened once they are back, and nobody has
// to do anything.
func TestVolumeOpensWhenItsNodesReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutAPI(t)
		r.options.Clock = nil // the bubble's
		if _, err := stripe.Create(t.Context(), r.options, "films", r.config.Volume.geometry(mib)); err != nil {
			t.Fatal(err)
		}
		away := make(chan struct{})
		for i := range r.options.Nodes[:3] {
			r.options.Nodes[i].Store = absent{r.options.Nodes[i].Store, away}
		}
		r.start()
		time.Sleep(time.Minute)
		status := r.Status(t.Context())
		if len(status.Volumes) != 1 || status.Volumes[0].State != stateWaiting || status.Gateway.Why == "" {
			t.Errorf("with half of the nodes: %+v", status)
		}
		close(away)
		time.Sleep(time.Minute)
		status = r.Status(t.Context())
		if status.Volumes[0].State != stateServing || status.Gateway.Why != "" {
			t.Errorf("with all nodes: %+v", status)
		}
	})
}

// A search that began before a deletion must not bring the volume back.
func TestDeletedVolumeIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithoutAPI(t)
		r.options.Clock = nil // the bubble's
		r.start()
		s, err := r.create(t.Context(), "films", r.config.Volume.geometry(mib))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.remove(t.Context(), "films"); err != nil {
			t.Fatal(err)
		}
		<-r.add(s.sb).done
		if left := r.list(); len(left) != 0 {
			t.Errorf("%d volumes are left", len(left))
		}
	})
}

// absent is a node that does not answer until back is closed.
type absent struct {
	chunk.Store
	back chan struct{}
}

func (a absent) Hello(ctx context.Context) (chunk.Hello, error) {
	select {
	case <-a.back:
		return a.Store.Hello(ctx)
	default:
		return chunk.Hello{}, chunk.ErrUnavailable
	}
}
