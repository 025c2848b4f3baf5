package daemon

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"rozobox/pkg/cluster"
	"rozobox/pkg/stripe"
)

// Bounds of the admin API.
const (
	// maxAdminConns bounds its connections: people and a few monitors.
	maxAdminConns = 32
	// maxAdminBody bounds a request's body; a volume's description is 1 KiB.
	maxAdminBody = 64 << 10
	// maxAdminHeader bounds a request's headers.
	maxAdminHeader = 16 << 10
	// changeTimeout bounds the making or deleting of a volume.
	changeTimeout = 30 * time.Second
	// memberTimeout bounds a change of a node: all blocks are listed twice on
	// all cards, tens of seconds for a volume of millions.
	memberTimeout = 5 * time.Minute
	// adminPatience bounds every other phase of a connection.
	adminPatience = 10 * time.Second
	// statusEvery bounds how often all nodes are asked for their figures,
	// however many watch.
	statusEvery = 100 * time.Millisecond
)

// NewVolume is the body of POST /v1/volumes. Fields left out take the
// defaults of the gateway's [volume].
type NewVolume struct {
	Name           string `json:"name"`
	SizeBytes      int64  `json:"size_bytes"`
	BlockSizeBytes int64  `json:"block_size_bytes,omitempty"`
	DataChunks     int    `json:"data_chunks,omitempty"`
	ParityChunks   int    `json:"parity_chunks,omitempty"`
	ExtentBlocks   int64  `json:"extent_blocks,omitempty"`
}

// clusterHeader names the cluster whose gateway a request is meant for.
const clusterHeader = "Rozobox-Cluster"

// failure is the body of every answer that is not a success.
type failure struct {
	Error string `json:"error"`
}

// admin is the admin API:
//
//	GET    /healthz                200 when all volumes are served, else 503
//	GET    /metrics                figures for Prometheus
//	GET    /v1/status              Status
//	GET    /v1/live                metrics.Cluster about twice a second, as server-sent events
//	GET    /v1/events              [metrics.Event], the last 256, the newest last
//	POST   /v1/volumes             NewVolume; answers 201 and VolumeStatus
//	DELETE /v1/volumes/NAME        204
//	GET    /v1/volumes/NAME/explain?offset=N  metrics.Stripe; see Explain
//	GET    /v1/volumes/NAME/scrub  ScrubReport
//	POST   /v1/volumes/NAME/scrub  202 and ScrubReport, of the one before
//	POST   /v1/nodes/ID/lost       NodeChange
//	POST   /v1/nodes/ID/replace    NodeChange
//	POST   /v1/repair              Pace; answers Pace
//
// What only reads is open to whoever reaches the address. What changes
// something must be signed with the gateway's private key (see verifier):
// neither another user of the machine nor a web page can do that. A request that
// names a cluster (clusterHeader) is answered by a gateway of that only.
type admin struct {
	gateway  *Gateway
	verifier *verifier
	live     *live

	members chan struct{} // a lock that spans I/O: one change of a node at a time

	turn   chan struct{} // a lock that spans I/O: guards status and asked
	status *Status
	asked  time.Time
}

func newAdmin(g *Gateway) *admin {
	return &admin{
		gateway:  g,
		verifier: &verifier{key: g.key, started: g.started, seen: make(map[int64]bool)},
		live:     newLive(g.watch),
		members:  make(chan struct{}, 1),
		turn:     make(chan struct{}, 1),
	}
}

// serveAdmin serves the admin API until ctx ends and all requests are done.
func (g *Gateway) serveAdmin(ctx context.Context) error {
	if err := serveHTTP(ctx, g.admin, newAdmin(g).handler(), g.logger); err != nil {
		return fmt.Errorf("admin API: %w", err)
	}
	return nil
}

// serveHTTP serves until ctx ends and all requests are done.
func serveHTTP(ctx context.Context, l net.Listener, handler http.Handler, logger *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: adminPatience,
		ReadTimeout:       adminPatience,
		WriteTimeout:      memberTimeout + adminPatience,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		IdleTimeout:       adminPatience,
		MaxHeaderBytes:    maxAdminHeader,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	stopped := make(chan error, 1)
	stopping := context.AfterFunc(ctx, func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
		defer cancel()
		stopped <- server.Shutdown(last)
	})
	err := server.Serve(limit(l, maxAdminConns))
	if stopping() {
		return err
	}
	return <-stopped
}

func (a *admin) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", a.health)
	mux.Handle("GET /metrics", a.metrics())
	mux.HandleFunc("GET /v1/status", a.showStatus)
	mux.HandleFunc("GET /v1/live", a.showLive)
	mux.HandleFunc("GET /v1/events", a.showEvents)
	mux.Handle("POST /v1/volumes", a.signed(a.createVolume))
	mux.Handle("DELETE /v1/volumes/{name}", a.signed(a.deleteVolume))
	mux.HandleFunc("GET /v1/volumes/{name}/explain", a.explain)
	mux.HandleFunc("GET /v1/volumes/{name}/scrub", a.showScrub)
	mux.Handle("POST /v1/volumes/{name}/scrub", a.signed(a.startScrub))
	mux.Handle("POST /v1/nodes/{id}/lost", a.signed(a.changeMember(giveUp)))
	mux.Handle("POST /v1/nodes/{id}/replace", a.signed(a.changeMember(replaceCard)))
	mux.Handle("POST /v1/repair", a.signed(a.setPace))
	if a.gateway.page != nil {
		mux.Handle("/", a.gateway.page)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A page whose name was made to point here reads nothing either.
		if !literalHost(r.Host) {
			fail(w, http.StatusForbidden, errors.New("call this address by number or as localhost"))
			return
		}
		if err := a.addressed(r.Header.Get(clusterHeader)); err != nil {
			fail(w, http.StatusMisdirectedRequest, err)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// addressed refuses what is meant for another cluster, whose gateway is, or was,
// at the same address. Browsers name none.
func (a *admin) addressed(cluster string) error {
	if ours := a.gateway.config.Cluster; cluster != "" && cluster != ours {
		return fmt.Errorf("this is the gateway of cluster %q, not of %q: give each its own address, admin in gateway.toml",
			ours, cluster)
	}
	return nil
}

// literalHost reports whether a Host header needed no name service.
func literalHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	_, err = netip.ParseAddr(host)
	return err == nil || host == "localhost"
}

// change is a handler of what changes something.
type change func(w http.ResponseWriter, r *http.Request, body []byte)

// signed lets only verified requests pass, with their body in memory.
func (a *admin) signed(next change) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAdminBody))
		if err != nil {
			fail(w, http.StatusRequestEntityTooLarge, fmt.Errorf("read the request: %w", err))
			return
		}
		err = a.verifier.verify(r.Header.Get(signatureHeader), time.Now(), r.Method, r.URL.EscapedPath(), body)
		if err != nil {
			fail(w, http.StatusUnauthorized, err)
			return
		}
		next(w, r, body)
	})
}

func (a *admin) health(w http.ResponseWriter, r *http.Request) {
	status := a.current(r.Context())
	if status == nil || status.Health == Unavailable {
		fail(w, http.StatusServiceUnavailable, errors.New(Unavailable))
		return
	}
	answer(w, http.StatusOK, map[string]string{"health": status.Health})
}

func (a *admin) showStatus(w http.ResponseWriter, r *http.Request) {
	status := a.current(r.Context())
	if status == nil {
		fail(w, http.StatusServiceUnavailable, r.Context().Err())
		return
	}
	answer(w, http.StatusOK, status)
}

// current returns a status that is fresh enough; nil when ctx ends first.
func (a *admin) current(ctx context.Context) *Status {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return nil
	}
	if a.status == nil || time.Since(a.asked) > statusEvery {
		// Not with ctx: others use the answer, and may not find nodes
		// unavailable because the first who asked went away.
		a.status = a.gateway.Status(context.WithoutCancel(ctx))
		a.asked = time.Now()
	}
	return a.status
}

func (a *admin) createVolume(w http.ResponseWriter, r *http.Request, body []byte) {
	var v NewVolume
	if err := decodeJSON(body, &v); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	geo, err := v.geometry(a.gateway.config.Volume)
	if err == nil {
		err = checkNew(v.Name, geo, len(a.gateway.peers))
	}
	if err != nil {
		fail(w, http.StatusBadRequest, fmt.Errorf("create volume %q: %w", v.Name, err))
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), changeTimeout)
	defer cancel()
	s, err := a.gateway.create(ctx, v.Name, geo)
	if err != nil {
		fail(w, statusOf(err), err)
		return
	}
	answer(w, http.StatusCreated, s.status(0))
}

func (v *NewVolume) geometry(def VolumeDefaults) (cluster.Geometry, error) {
	def.BlockSize = cmp.Or(Size(v.BlockSizeBytes), def.BlockSize)
	def.DataChunks = cmp.Or(v.DataChunks, def.DataChunks)
	def.ParityChunks = cmp.Or(v.ParityChunks, def.ParityChunks)
	def.Extent = cmp.Or(v.ExtentBlocks, def.Extent)
	return def.geometry(Size(v.SizeBytes)), checkBlockSize(def.BlockSize)
}

// checkNew refuses a volume before anything is asked of a node.
func checkNew(name string, geo cluster.Geometry, nodes int) error {
	if err := cluster.ValidateName(name); err != nil {
		return err
	}
	if err := geo.Validate(); err != nil {
		return err
	}
	if geo.Width() > nodes {
		return fmt.Errorf("%d+%d chunks need %d nodes, the cluster has %d",
			geo.Data, geo.Parity, geo.Width(), nodes)
	}
	return nil
}

func (a *admin) deleteVolume(w http.ResponseWriter, r *http.Request, _ []byte) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), changeTimeout)
	defer cancel()
	if err := a.gateway.remove(ctx, r.PathValue("name")); err != nil {
		fail(w, statusOf(err), err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// statusOf translates what went wrong into HTTP, here and nowhere else.
func statusOf(err error) int {
	switch {
	case errors.Is(err, stripe.ErrExists), errors.Is(err, stripe.ErrRefused):
		return http.StatusConflict
	case errors.Is(err, errBeyond):
		return http.StatusBadRequest
	case errors.Is(err, errNoVolume), errors.Is(err, errNoNode), errors.Is(err, errNoRead):
		return http.StatusNotFound
	case errors.Is(err, stripe.ErrTooFewNodes), errors.Is(err, stripe.ErrDeposed), errors.Is(err, errNotServed):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func fail(w http.ResponseWriter, code int, err error) { answer(w, code, failure{err.Error()}) }

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	// The only error is a client that has gone: there is nobody to tell.
	_ = json.NewEncoder(w).Encode(body)
}

// decodeJSON reads exactly one value, and refuses fields it does not know.
func decodeJSON(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("bad JSON: %w", err)
	}
	if d.More() {
		return errors.New("bad JSON: more than one value")
	}
	return nil
}
