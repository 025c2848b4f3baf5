package stripe

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// diary is a log that is read back.
type diary struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (d *diary) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

// about returns what was logged of a node, and forgets it.
func (d *diary) about(t *testing.T, node string) (messages []string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := json.NewDecoder(&d.text)
	for lines.More() {
		var line struct{ Msg, Node, Volume, Why string }
		if err := lines.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if line.Why != "" {
			line.Msg += ": " + line.Why
		}
		if line.Node == node && line.Volume == "v" {
			messages = append(messages, line.Msg)
		}
	}
	return messages
}

// The heartbeat, writes and syncs of a node that is gone all fail, one after
// the other and in different words. That is one event, and its return is one.
func TestEachEventOfANodeIsLoggedOnce(t *testing.T) {
	for name, away := range map[string]func(*rig){
		"cut":                  func(r *rig) { r.links[2].Cut() },
		"frozen":               func(r *rig) { r.links[2].Freeze() },
		"frozen and then cut":  func(r *rig) { r.links[2].Freeze(); time.Sleep(3 * time.Second); r.links[2].Cut() },
		"no reply and then no": func(r *rig) { r.links[2].LoseReplies(); time.Sleep(3 * time.Second); r.links[2].Freeze() },
	} {
		t.Run(name, func(t *testing.T) {
			inRig(t, 8, func(r *rig) {
				var log diary
				r.opts.Logger = slog.New(slog.NewJSONHandler(&log, nil))
				a := r.open()
				r.write(a, 0, 1)
				var clients sync.WaitGroup
				for client := range uint64(8) {
					clients.Go(func() {
						for i := range 200 {
							r.write(a, 8*client+uint64(i%8), i)
							r.flush(a)
							time.Sleep(20 * time.Millisecond)
						}
					})
				}
				time.Sleep(100 * time.Millisecond)
				away(r)
				time.Sleep(12 * time.Second)
				clients.Wait()
				got := log.about(t, "n2")
				slices.Sort(got)
				if want := []string{"node does not answer", "node is out"}; !slices.Equal(got, want) {
					t.Errorf("of its going: %q", got)
				}
				r.links[2].Heal()
				time.Sleep(3 * time.Second)
				if got, want := log.about(t, "n2"), []string{"node answers"}; !slices.Equal(got, want) {
					t.Errorf("of its coming: %q", got)
				}
				r.close(a)
			})
		})
	}
}

// A card that was replaced is another event than one that is away.
func TestAForeignCardIsLoggedOnce(t *testing.T) {
	for name, c := range map[string]struct {
		away time.Duration
		want []string
	}{
		"at once":           {0, []string{"node answers", "node cannot be used", "node is out"}},
		"after it was away": {3 * time.Second, []string{"node answers", "node came back with less than it had", "node does not answer", "node is out"}},
	} {
		t.Run(name, func(t *testing.T) {
			inRig(t, 8, func(r *rig) {
				var log diary
				r.opts.Logger = slog.New(slog.NewJSONHandler(&log, nil))
				a := r.open()
				r.write(a, 0, 1)
				r.flush(a)
				if c.away > 0 {
					r.links[2].Cut()
					time.Sleep(c.away)
				}
				r.stores[2].Wipe()
				r.links[2].Heal()
				time.Sleep(3 * time.Second)
				got := log.about(t, "n2")
				slices.Sort(got)
				if !slices.Equal(got, c.want) {
					t.Errorf("logged %q, want %q", got, c.want)
				}
				r.close(a)
			})
		})
	}
}

func TestASlowNodeIsToldFromOneThatWasLateOnce(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for b := range uint64(64) {
			r.write(a, b, 1)
		}
		r.flush(a)
		read := func(d time.Duration) (slow []bool) {
			ctx, cancel := context.WithTimeout(r.Context(), d)
			defer cancel()
			for b := uint64(0); ctx.Err() == nil; b = (b + 1) % 64 {
				r.expect(a, b, 1)
				time.Sleep(10 * time.Millisecond)
			}
			return a.Status().Slow
		}
		none := make([]bool, 8)
		if slow := read(time.Second); !slices.Equal(slow, none) {
			t.Errorf("all are fast: %v", slow)
		}
		r.links[3].Delay(50 * time.Millisecond)
		read(50 * time.Millisecond)
		r.links[3].Delay(time.Millisecond)
		if slow := read(50 * time.Millisecond); !slices.Equal(slow, none) {
			t.Errorf("after a hiccup: %v", slow)
		}
		r.links[3].Delay(200 * time.Millisecond)
		want := slices.Clone(none)
		want[3] = true
		if slow := read(3 * time.Second); !slices.Equal(slow, want) {
			t.Errorf("n3 is slow: %v", slow)
		}
		r.links[3].Delay(time.Millisecond)
		if slow := read(2 * time.Second); !slices.Equal(slow, none) {
			t.Errorf("n3 is fast again: %v", slow)
		}
		r.close(a)
	})
}

// A node that holds up the writes goes out, which is told with the reason, once.
func TestAStragglerIsToldWithTheReason(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		var log diary
		r.opts.Logger = slog.New(slog.NewJSONHandler(&log, nil))
		a := r.open()
		write := func(d time.Duration) {
			for start := time.Now(); time.Since(start) < d; time.Sleep(5 * time.Millisecond) {
				r.write(a, 5, 1)
			}
		}
		write(time.Second)
		n := int(a.place.Place(5)[0])
		r.links[n].Delay(30 * time.Millisecond)
		write(5 * time.Second)
		a.mu.Lock()
		id := a.peers[n].ID
		a.mu.Unlock()
		got := log.about(t, string(id))
		if len(got) != 1 || !strings.HasPrefix(got[0], "node is out: it is slow: writes take it ") {
			t.Errorf("logged %q", got)
		}
		if why := a.Status().Crawls[n]; why == "" {
			t.Error("the status does not say why it is out")
		}
		r.close(a)
	})
}
