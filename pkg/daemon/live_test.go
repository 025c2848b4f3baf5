package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/metrics"
)

// await returns the first picture of which ok is true.
func await(t *testing.T, pictures <-chan metrics.Cluster, what string, ok func(metrics.Cluster) bool) metrics.Cluster {
	t.Helper()
	var last metrics.Cluster
	for p := range pictures {
		if last = p; ok(p) {
			return p
		}
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
