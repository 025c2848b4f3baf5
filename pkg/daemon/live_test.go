package daemon

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/metrics"
)

// await returns the first picture of which ok is true.
func await(t *testing.T, pictures <-chan metrics.Cluster, what string, ok func(metrics.Cluster) bool) metrics.Cluster {
	t.Helper()
	var last metrics.Cluster
	for begun := time.Now(); time.Since(begun) < 30*time.Second; {
		p, more := <-pictures
		if more && ok(p) {
			return p
		}
		if !more {
			break
		}
		last = p
	}
	t.Fatalf("%s: not seen, last %+v", what, last)
	return last
}

// follow reads /v1/live as any viewer may.
func (r *rig) follow(t *testing.T) <-chan metrics.Cluster {
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.server.URL+"/v1/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatal(resp, err)
	}
	out, done := make(chan metrics.Cluster), make(chan bool)
	go func() {
		defer close(done)
		defer close(out)
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			text, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok {
				continue
			}
			var c metrics.Cluster
			if err := json.Unmarshal([]byte(text), &c); err != nil {
				t.Error(err)
			}
			select {
			case out <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		resp.Body.Close()
	})
	return out
}

func card(c metrics.Cluster, id string) metrics.Card {
	for _, card := range c.Cards {
		if card.ID == id {
			return card
		}
	}
	return metrics.Card{}
}

func TestViewersSeeANodeDie(t *testing.T) {
	r := newRig(t)
	link := &chunktest.Link{Store: r.peers[2].store}
	r.peers[2].store = link
	r.start()
	if _, err := r.client.CreateVolume(t.Context(), NewVolume{Name: "films", SizeBytes: mib}); err != nil {
		t.Fatal(err)
	}
	pictures := r.follow(t)
	p := await(t, pictures, "all well", func(metrics.Cluster) bool { return true })
	if len(p.Cards) != 6 || p.Gateway == nil || p.Gateway.Health != Healthy || len(p.Volumes) != 1 {
		t.Errorf("first picture: %+v", p)
	}
	if c := card(p, "pi3"); c.State != metrics.Idle || c.Sync != metrics.In {
		t.Errorf("pi3 is %+v", c)
	}
	link.Cut()
	await(t, pictures, "dead", func(p metrics.Cluster) bool { return card(p, "pi3").State == metrics.Unavailable })
}

// fakeWatch shows a picture whenever it is told to, as long as somebody looks.
type fakeWatch struct {
	begun, ended atomic.Int32
	pictures     chan metrics.Cluster
}

func newFakeWatch() (*fakeWatch, *live) {
	f := &fakeWatch{pictures: make(chan metrics.Cluster)}
	return f, newLive(f.run)
}

func (f *fakeWatch) run(ctx context.Context, out chan<- metrics.Cluster) {
	f.begun.Add(1)
	defer f.ended.Add(1)
	for {
		select {
		case p := <-f.pictures:
			out <- p
		case <-ctx.Done():
			return
		}
	}
}

func (l *live) mustJoin(t *testing.T) viewer {
	t.Helper()
	v, err := l.join()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func nameOf(t *testing.T, text []byte) string {
	t.Helper()
	var p metrics.Cluster
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	return p.Name
}

func TestNodesAreAskedOnceForAllAndOnlyWhileSomebodyWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, l := newFakeWatch()
		for round := range int32(3) {
			first, second := l.mustJoin(t), l.mustJoin(t)
			synctest.Wait()
			if f.begun.Load() != round+1 || f.ended.Load() != round {
				t.Fatalf("round %d: begun %d times, ended %d", round, f.begun.Load(), f.ended.Load())
			}
			select {
			case text := <-first:
				t.Errorf("a picture of an earlier time: %s", text)
			default:
			}
			f.pictures <- metrics.Cluster{Name: "a"}
			if a, b := nameOf(t, <-first), nameOf(t, <-second); a != "a" || b != "a" {
				t.Errorf("shown %q and %q", a, b)
			}
			l.leave(first)
			if f.ended.Load() != round {
				t.Error("ended while somebody watched")
			}
			l.leave(second)
			if f.ended.Load() != round+1 {
				t.Error("leave returned before the watching had ended")
			}
		}
	})
}

func TestALateViewerSeesTheLastPictureAndASlowOneTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, l := newFakeWatch()
		slow := l.mustJoin(t)
		defer l.leave(slow)
		for _, name := range []string{"a", "b", "c"} {
			f.pictures <- metrics.Cluster{Name: name}
		}
		synctest.Wait()
		late := l.mustJoin(t)
		defer l.leave(late)
		if a, b := nameOf(t, <-slow), nameOf(t, <-late); a != "c" || b != "c" {
			t.Errorf("shown %q and %q", a, b)
		}
	})
}

// I9: who watches takes no more than half of the API's connections.
func TestI9ViewersAreBounded(t *testing.T) {
	r := newRig(t)
	a := newAdmin(r.Gateway)
	server := httptest.NewServer(a.handler())
	defer server.Close()
	var viewers []viewer
	for range maxViewers {
		viewers = append(viewers, a.live.mustJoin(t))
	}
	resp, err := http.Get(server.URL + "/v1/live")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one too many got %s", resp.Status)
	}
	for _, v := range viewers {
		a.live.leave(v)
	}
	a.live.leave(a.live.mustJoin(t))
}

func TestTheStreamEndsWithTheGateway(t *testing.T) {
	r := newRigWithoutAPI(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.admin = l
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.serveAdmin(ctx) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/v1/live")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
}

// A gateway that answers nonsense, or nothing, is as good as none.
func TestAStrangeGatewayIsNone(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		want   string
	}{
		"an error":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }, "418"},
		"nonsense":     {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "data: {]\n\n") }, "not a picture"},
		"another page": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>\n<p>data: no") }, errStreamEnded.Error()},
		"a line without end": {func(w http.ResponseWriter, _ *http.Request) {
			line := bytes.Repeat([]byte("data: "), 1<<17)
			for range 10 {
				w.Write(line)
			}
		}, "token too long"},
		"nothing": {func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, errGatewaySilent.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(c.answer))
			defer server.Close()
			client := &Client{admin: server.Listener.Addr().String()}
			err := client.listenOnce(t.Context(), func(p *metrics.Cluster) { t.Errorf("took it for %+v", p) })
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestJobsOfPictures(t *testing.T) {
	for _, c := range []struct {
		repair RepairStatus
		want   metrics.Job // without a kind: none is shown
	}{
		{RepairStatus{}, metrics.Job{}},
		{RepairStatus{Kind: "tidy", TotalBlocks: 4, DoneBlocks: 1}, metrics.Job{}},
		{
			RepairStatus{Kind: "resync", Node: "pi3", TotalBlocks: 4, DoneBlocks: 1, RateBytesPerSecond: 7, RemainingSeconds: 3},
			metrics.Job{Kind: metrics.Resync, Volume: "v", Node: "pi3", Done: 0.25, BytesPerSecond: 7, RemainingSeconds: 3},
		},
		{
			RepairStatus{Kind: "scrub", Paused: true},
			metrics.Job{Kind: metrics.Scrub, Volume: "v", Paused: true, RemainingSeconds: -1},
		},
		{
			RepairStatus{Kind: "rebuild", TotalBlocks: 4, DoneBlocks: 5},
			metrics.Job{Kind: metrics.Rebuild, Volume: "v", Done: 1, RemainingSeconds: -1},
		},
	} {
		job, ok := c.repair.known("v")
		if ok != (c.want.Kind != "") || ok && job != c.want {
			t.Errorf("%+v: %+v, %v", c.repair, job, ok)
		}
	}
}
