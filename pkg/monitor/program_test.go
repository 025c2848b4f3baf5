package monitor

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"rozobox/pkg/metrics"
)

// press sends keys to a model, by their names.
func press(m *model, keys ...string) (quit bool) {
	for _, k := range keys {
		quit = m.key(k)
	}
	return quit
}

func opened(opts Options, c *metrics.Cluster) *model {
	m := newModel(opts)
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
	m.Update(snapshots{*c})
	return m
}

func TestArrowsFollowTheLayout(t *testing.T) {
	m := opened(Options{}, healthy(8))
	for _, s := range []struct {
		key  string
		want int
	}{
		{"left", 0}, {"up", 0}, {"right", 1}, {"down", 5}, {"l", 6}, {"k", 2}, {"h", 1}, {"j", 5}, {"down", 5},
	} {
		if press(m, s.key); m.view.Selected != s.want {
			t.Errorf("after %s: card %d, want %d", s.key, m.view.Selected, s.want)
		}
	}
	m.Update(tea.WindowSizeMsg{Width: 40, Height: 12})
	if press(m, "down"); m.view.Selected != 6 {
		t.Errorf("in a list, after down: card %d, want 6", m.view.Selected)
	}
}

func TestPagesAreOpenedAndClosed(t *testing.T) {
	m := opened(Options{}, troubled(8))
	for _, s := range []struct {
		key  string
		want Page
	}{
		{"enter", CardPage}, {"right", CardPage}, {"esc", CardsPage}, {"t", StripePage}, {"t", CardsPage},
		{"s", StripePage}, {"e", EventsPage}, {"up", EventsPage}, {"?", HelpPage}, {"enter", HelpPage},
		{"backspace", CardsPage}, {"x", CardsPage}, {" ", CardsPage},
	} {
		if press(m, s.key); m.view.Page != s.want {
			t.Errorf("after %s: page %d, want %d", s.key, m.view.Page, s.want)
		}
		if v := m.View(); strings.Count(v, "\n") != 23 {
			t.Errorf("after %s: %d lines", s.key, strings.Count(v, "\n")+1)
		}
	}
	if m.view.Selected != 1 {
		t.Errorf("the card page went to %d", m.view.Selected)
	}
	if !press(m, "q") || !press(m, "ctrl+c") {
		t.Error("q does not quit")
	}
}

func TestEventsAreScrolledWithinBounds(t *testing.T) {
	c := healthy(8)
	for i := range 100 {
		c.Events = append(c.Events, metrics.Event{Time: noon, Level: "info", Text: fmt.Sprintf("event %d.", i)})
	}
	m := opened(Options{}, c)
	press(m, "e")
	if v := m.View(); !strings.Contains(v, "event 99.") || strings.Contains(v, "event 10.") {
		t.Errorf("not the newest events:\n%s", v)
	}
	for range 200 {
		press(m, "pgup")
	}
	if v := m.View(); !strings.Contains(v, "pi3 answers") || !strings.Contains(v, "Events 1 to 21 of 102") {
		t.Errorf("not the oldest events:\n%s", v)
	}
	for range 200 {
		press(m, "down")
	}
	if v := m.View(); !strings.Contains(v, "event 99.") {
		t.Errorf("not the newest events:\n%s", v)
	}
}

// The keys of a demonstration act on the chosen card, and go before others.
func TestDemoKeys(t *testing.T) {
	var did []string
	keys := []Key{
		{Key: "u", Help: "unplug", Do: func(card string) { did = append(did, "unplug "+card) }},
		{Key: "s", Help: "slow", Do: func(card string) { did = append(did, "slow "+card) }},
	}
	m := opened(Options{Keys: keys}, healthy(8))
	press(m, "right", "u", "s", "?", "u", "esc", "enter", "u")
	if want := []string{"unplug pi2", "slow pi2", "unplug pi2"}; !slices.Equal(did, want) {
		t.Errorf("did %q, want %q", did, want)
	}
	if press(m, "t"); m.view.Page != StripePage {
		t.Error("t does not open the stripe view")
	}
	opened(Options{Keys: keys}, &metrics.Cluster{}).key("u") // no card to unplug
	if len(did) != 3 {
		t.Errorf("did %q without a card", did)
	}
}

// Keys pressed faster than answers come still move block by block.
func TestStripeKeysAskForBlocks(t *testing.T) {
	var asked []string
	c := striped(8)
	c.Volumes = append(c.Volumes, metrics.Volume{Name: "notes", SizeBytes: 1 << 20, BlockSizeBytes: 4096})
	m := opened(Options{Ask: func(v string, off int64) { asked = append(asked, fmt.Sprint(v, off)) }}, c)
	press(m, "t", "right", "right", "down", "left", "enter", "left", "tab", "left", "tab")
	at, block := c.Stripe.Offset, int64(64<<10)
	want := []string{"0", fmt.Sprint("film", at+block), fmt.Sprint("film", at+2*block), fmt.Sprint("film", at+66*block),
		fmt.Sprint("film", at+65*block), "0", fmt.Sprint("film", at-block), "notes0", "notes0", "film0"}
	if !slices.Equal(asked, want) {
		t.Errorf("asked %q,\nwant  %q", asked, want)
	}
	m = opened(Options{}, healthy(8)) // nobody to ask, and no stripe
	press(m, "t", "right", "tab", "enter")
}

// Keys that are typed faster than they are read all count; a paste does not.
func TestKeysTypedFast(t *testing.T) {
	m := opened(Options{}, healthy(8))
	m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("lljt")})
	if m.view.Selected != 6 || m.view.Page != StripePage {
		t.Errorf("card %d on page %d", m.view.Selected, m.view.Page)
	}
	m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("h"), Alt: true})
	m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("eq"), Paste: true})
	if m.view.Selected != 5 || m.view.Page != CardsPage {
		t.Errorf("card %d on page %d", m.view.Selected, m.view.Page)
	}
	if _, quit := m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("lq")}); quit == nil {
		t.Error("q among others does not quit")
	}
}

func TestHistoryIsBounded(t *testing.T) {
	m := opened(Options{}, healthy(3))
	for range 3 * maxHistory {
		m.Update(snapshots{*healthy(3), *healthy(3)})
	}
	if n := len(m.view.History); n != maxHistory {
		t.Errorf("%d samples", n)
	}
}

func TestBeforeAndAfterTheSource(t *testing.T) {
	m := newModel(Options{})
	m.Update(tea.WindowSizeMsg{Width: 40, Height: 5})
	press(m, "enter", "down", "u")
	if v := m.View(); !strings.Contains(v, "Waiting") {
		t.Errorf("before the first: %q", v)
	}
	m.Update(snapshots{*healthy(3)})
	m.Update(over{})
	if v := m.View(); !strings.Contains(v, "end") {
		t.Errorf("after the last:\n%s", v)
	}
}

// Snapshots that come fast are handed over 4 times a second, and none is lost;
// a change of state waits for nothing.
func TestFeedIsCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := make(chan metrics.Cluster)
		type sent struct {
			after time.Duration
			n     int
		}
		var all []sent
		began, ended := time.Now(), false
		var feeding sync.WaitGroup
		feeding.Go(func() {
			feed(t.Context(), source, func(b []metrics.Cluster) {
				all = append(all, sent{time.Since(began), len(b)})
			}, func() { ended = true })
		})
		c := healthy(3)
		for i := range 70 { // half a second
			if i == 43 {
				c = troubled(3)
			}
			source <- *c
			time.Sleep(7 * time.Millisecond)
		}
		close(source)
		feeding.Wait()
		ms := time.Millisecond
		want := []sent{{0, 1}, {250 * ms, 35}, {301 * ms, 8}, {490 * ms, 26}}
		if !ended || !slices.Equal(all, want) {
			t.Errorf("sent %v, want %v; ended %v", all, want, ended)
		}
	})
}

// watched is a terminal that tells when it has shown a text.
type watched struct {
	mu    sync.Mutex // guards shown, and the closing of seen
	shown strings.Builder
	want  string
	seen  chan struct{}
}

func newWatched(want string) *watched { return &watched{want: want, seen: make(chan struct{})} }

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := strings.Contains(w.shown.String(), w.want)
	w.shown.Write(p)
	if !before && strings.Contains(w.shown.String(), w.want) {
		close(w.seen)
	}
	return len(p), nil
}

// The whole program: it shows a snapshot, answers a key, and ends with q.
func TestRun(t *testing.T) {
	for _, end := range []string{"key", "context"} {
		t.Run(end, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			keys, typing := io.Pipe()
			defer typing.Close()
			first, second := newWatched("Waiting"), newWatched("○ idle")
			source := make(chan metrics.Cluster)
			done := make(chan error, 1)
			go func() {
				done <- Run(ctx, Options{Source: source, Input: keys, Output: io.MultiWriter(first, second)})
			}()
			<-first.seen
			source <- *healthy(8)
			<-second.seen
			if end == "context" {
				cancel()
			} else {
				fmt.Fprint(typing, "q")
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
