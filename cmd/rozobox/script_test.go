package main

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/daemon"
	"rozobox/pkg/metrics"
)

func TestScriptsThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"wait":                          "lesson:1: wait: no such step",
		"\n# remark\nwait long":         `lesson:3: wait long: time: invalid duration "long"`,
		"unplug":                        "no such step",
		"burn pi3":                      "no such step",
		"film now":                      "no such step",
		"expect":                        "no such step",
		"expect 4 yellow":               "no such step",
		"expect pi3 yellow":             "no such step",
		"expect film runs":              "lesson:1: expect film runs: no such step",
		"expect film pause below":       "no such step",
		"expect film pause below 100":   "missing unit in duration",
		"expect 4 working within":       "no such step",
		"expect 4 working within a day": "no such step",
		"expect 4 working within day":   `invalid duration "day"`,
	} {
		if _, err := parseScript("lesson", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// classroom shows pictures that change as a script acts on them.
type classroom struct {
	film   metrics.Film
	acted  []string
	pauses int

	mu    sync.Mutex // guards cards
	cards []metrics.Card
}

// picture is what there is to be seen.
func (c *classroom) picture() metrics.Cluster {
	c.mu.Lock()
	defer c.mu.Unlock()
	film := c.film
	return metrics.Cluster{Cards: slices.Clone(c.cards), Film: &film}
}

func (c *classroom) act(card string, a daemon.Action) error {
	c.acted = append(c.acted, string(a)+" "+card)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.cards {
		if c.cards[i].ID == card && a == daemon.Unplug {
			c.cards[i].State, c.cards[i].Sync = metrics.Unavailable, metrics.Out
		}
	}
	return nil
}

// play plays a script, in a bubble.
func (c *classroom) play(t *testing.T, script string) (out string, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		steps, parseErr := parseScript("lesson", script)
		if parseErr != nil {
			t.Fatal(parseErr)
		}
		pictures, over := make(chan metrics.Cluster), make(chan bool)
		go func() {
			defer close(over)
			for t.Context().Err() == nil {
				select {
				case pictures <- c.picture():
					time.Sleep(100 * time.Millisecond)
				case over <- true:
					return
				}
			}
		}()
		var text bytes.Buffer
		info := daemon.DemoInfo{Act: c.act, PauseFilm: func() { c.pauses++ }}
		err = (&stage{out: &text, info: info, shown: pictures, began: time.Now()}).play(t.Context(), steps)
		out = text.String()
		<-over
	})
	return out, err
}

func newClassroom() *classroom {
	c := &classroom{film: metrics.Film{BufferSeconds: 5, LongestPauseSeconds: 0.03, CheckedBytes: 3 << 20}}
	for _, id := range []string{"pi1", "pi2", "pi3"} {
		c.cards = append(c.cards, metrics.Card{ID: id, State: metrics.Working, Sync: metrics.In})
	}
	c.cards[0].State = metrics.Idle
	return c
}

func TestAScriptIsPlayed(t *testing.T) {
	c := newClassroom()
	out, err := c.play(t, "expect 2 working\nexpect film plays\nexpect film pause below 100ms\n"+
		"unplug working # the first\nexpect it unavailable within 1s\nexpect pi2 out\nwait 2s\n"+
		"film\nplug it\nfreeze pi1\nexpect it idle\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.acted, ", "); got != "unplug pi2, plug pi2, freeze pi1" || c.pauses != 1 {
		t.Errorf("acted %s, stopped the film %d times", got, c.pauses)
	}
	if !strings.HasPrefix(out, "   0.0 s  expect 2 working\n") || !strings.Contains(out, " unplug pi2\n") ||
		!strings.HasSuffix(out, "film: longest pause 30 ms, stalled for 0.0 s, 3.0 MiB checked, 0 bytes wrong\n") {
		t.Errorf("printed\n%s", out)
	}
}

// What is expected in vain, and a film that is wrong, fail.
func TestAScriptFails(t *testing.T) {
	wrong := newClassroom()
	wrong.film.WrongBytes = 7
	waits := newClassroom()
	waits.film.Why, waits.film.BufferSeconds = "no answer", 0
	for _, f := range []struct {
		room         *classroom
		script, want string
	}{
		{newClassroom(), "expect 3 working within 2s", "lesson:1: expect 3 working within 2s: not within 2s: " +
			"pi1 idle, pi2 working, pi3 working, film plays, pause 30 ms"},
		{newClassroom(), "expect pi3 slow", "not within 5s"},
		{newClassroom(), "expect pi9 idle", "not within 5s"},
		{newClassroom(), "plug unavailable", "no card is unavailable"},
		{newClassroom(), "expect film pause below 20ms", "not within 5s"},
		{waits, "expect film plays", "film waits"},
		{wrong, "expect film plays", "7 bytes are wrong"},
	} {
		if _, err := f.room.play(t, f.script); err == nil || !strings.Contains(err.Error(), f.want) {
			t.Errorf("%s: %v, want %s", f.script, err, f.want)
		}
	}
}
