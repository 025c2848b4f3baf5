package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/metrics"
)

// list returns all that is kept, as lines.
func (e *events) lines() (lines []string) {
	for _, k := range e.since(time.Time{}, maxEvents) {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s| %s", k.Level, k.Node, k.Volume, k.Text)))
	}
	return lines
}

func TestEventsAreWhatTheLogTells(t *testing.T) {
	var out bytes.Buffer
	var kept events
	plain := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	log := keepEvents(plain, &kept)
	log.Debug("nobody cares")
	log.Info("node is in", "volume", "films", "node", "pi3")
	films := log.With("volume", "films").With("addr", "x")
	films.Warn("node does not answer", "node", "pi4", "error", errors.New("gone\x1b[2J\n"))
	films.Info("node is resynced", "node", "pi4", "blocks", 12, "bytes", 3<<20, "took", 1234567*time.Microsecond)
	films.With("client", "x").Error("bad", "again_in", time.Second)
	client := log.With("export", "films")
	client.Info("client came", "tls", true, "extended", false)
	client.Info("client left", "reason", error(nil))
	client.Info("client hung up", "reason", io.EOF)
	client.Info("client was cut off", "reason", errors.New("it sent garbage"))
	want := []string{
		"info pi3 films| node is in",
		"warn pi4 films| node does not answer: gone[2J",
		"info pi4 films| node is resynced, blocks 12, bytes 3 MiB, took 1.235s",
		"error  films| bad, client x, again in 1s",
		"info  films| client came, tls",
		"info  films| client left",
		"info  films| client hung up",
		"info  films| client was cut off: it sent garbage",
	}
	if got := kept.lines(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("kept\n%s", strings.Join(got, "\n"))
	}
	if text := out.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "node=pi4") {
		t.Errorf("the log at warn has\n%s", text)
	}
}

func TestEventsAreBounded(t *testing.T) {
	var kept events
	log := keepEvents(slog.New(slog.DiscardHandler), &kept)
	for i := range 10 * maxEvents {
		log.Info(strings.Repeat("ü", i), "node", i)
	}
	list := kept.since(time.Time{}, maxEvents)
	if len(list) != maxEvents || list[maxEvents-1].Node != fmt.Sprint(10*maxEvents-1) {
		t.Errorf("%d kept, the last %+v", len(list), list[len(list)-1])
	}
	for _, k := range list {
		if len(k.Text) > maxEventText || strings.ContainsRune(k.Text, '\ufffd') {
			t.Fatalf("%d bytes: %q", len(k.Text), k.Text)
		}
	}
	if got := kept.since(time.Now().Add(-time.Hour), 7); len(got) != 7 {
		t.Errorf("%d of 7", len(got))
	}
	if got := kept.since(time.Now().Add(time.Second), 7); len(got) != 0 {
		t.Errorf("%d from the future", len(got))
	}
}

// A thousand requests that fail do not push out why, and what comes and goes
// is seen to.
func TestARepeatedEventIsKeptOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept events
		log := keepEvents(slog.New(slog.DiscardHandler), &kept)
		for range 1000 {
			log.Warn("request failed", "volume", "films")
			log.Warn("other", "volume", "music")
		}
		log.Info("node answers", "volume", "films")
		log.Warn("request failed", "volume", "films")
		time.Sleep(repeatedFor)
		log.Warn("request failed", "volume", "films")
		want := []string{
			"warn  films| request failed", "warn  music| other", "info  films| node answers",
			"warn  films| request failed", "warn  films| request failed",
		}
		if got := kept.lines(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("kept\n%s", strings.Join(got, "\n"))
		}
	})
}

func TestTheAPIListsEvents(t *testing.T) {
	r := newRig(t)
	code, text := r.send(t, r.request(t, http.MethodGet, "/v1/events", ""))
	if code != http.StatusOK || text != "[]\n" {
		t.Errorf("before anything happened: %d %q", code, text)
	}
	r.start()
	if _, err := r.client.CreateVolume(t.Context(), NewVolume{Name: "films", SizeBytes: mib}); err != nil {
		t.Fatal(err)
	}
	_, text = r.send(t, r.request(t, http.MethodGet, "/v1/events", ""))
	var list []metrics.Event
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list) == 0 {
		t.Fatalf("%v in %s", err, text)
	}
	if e := list[0]; e.Text != "volume is served, incarnation 0" || e.Volume != "films" || e.Level != "info" {
		t.Errorf("first event: %+v", e)
	}
}
