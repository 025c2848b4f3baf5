package monitor

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/lipgloss"

	"rozobox/pkg/metrics"
)

// FuzzRender: whatever the snapshot and the size, the screen is filled and not
// exceeded, and the terminal gets no control characters but Render's own.
func FuzzRender(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed, uint8(seed*7), uint8(seed*3), "pi\x1b[2J世界é\u0301")
	}
	f.Fuzz(func(t *testing.T, seed uint64, width, height uint8, text string) {
		r := rand.New(rand.NewPCG(seed, 1))
		c, view := randomCluster(r, text), View{
			Page: Page(r.IntN(6)), Selected: r.IntN(30) - 2, Scroll: r.IntN(30) - 2,
			Color: r.IntN(2) == 0, Status: text, Keys: demoKeys,
		}
		for range r.IntN(20) {
			view.History = append(view.History, *randomCluster(r, text))
		}
		got := Render(c, view, int(width), int(height))
		lines := strings.Split(got, "\n")
		if len(lines) != max(1, int(height)) {
			t.Fatalf("%d lines, want %d", len(lines), height)
		}
		for _, l := range lines {
			if n := lipgloss.Width(l); n > int(width) {
				t.Fatalf("a line of %d columns, want at most %d: %q", n, width, l)
			}
			checkControls(t, l, view.Color)
		}
	})
}

// checkControls allows only SGR sequences, and these only with colour.
func checkControls(t *testing.T, line string, color bool) {
	t.Helper()
	for i, r := range line {
		if r >= ' ' && (r < 0x7f || r > 0x9f) {
			continue
		}
		code, _, ended := strings.Cut(line[i:], "m")
		if r != 0x1b || !color || !ended || strings.Trim(code, "\x1b[0123456789;") != "" {
			t.Fatalf("control character %q in %q", r, line)
		}
	}
}

// randomCluster has figures of every size, and no care for sense.
func randomCluster(r *rand.Rand, text string) *metrics.Cluster {
	pick := func(all ...string) string { return all[r.IntN(len(all))] }
	number := func() float64 {
		return []float64{0, -1, 0.5, r.Float64() * 100, r.Float64() * 1e12, 1e300, math.Inf(1), math.NaN()}[r.IntN(8)]
	}
	name := func() string { return pick("", "pi3", text, strings.Repeat("long ", 30)) }
	c := &metrics.Cluster{Name: name()}
	if r.IntN(2) == 0 {
		c.Time = time.Unix(r.Int64N(1<<40), 0)
	}
	for range r.IntN(25) {
		card := metrics.Card{
			ID: name(), Addr: name(), State: pick(metrics.Idle, metrics.Working, metrics.Unavailable, text),
			Sync: pick(metrics.In, metrics.Out, metrics.Resyncing, metrics.Lost, metrics.Unknown, text),
			Slow: r.IntN(3) == 0, ReadOnly: r.IntN(5) == 0, Why: name(), UsedBytes: r.Uint64(),
			CapacityBytes: r.Uint64() >> r.IntN(65), ReadsPerSecond: number(), WritesPerSecond: number(),
		}
		if r.IntN(3) > 0 {
			v := number()
			card.Host = &metrics.Host{CPU: number(), MemoryUsedBytes: r.Uint64(), Celsius: &v,
				NetInBytesPerSecond: number(), DiskOutBytesPerSecond: number()}
		}
		c.Cards = append(c.Cards, card)
	}
	if r.IntN(3) > 0 {
		c.Gateway = &metrics.Gateway{ID: name(), Health: name(), ReadBytesPerSecond: number(),
			ReadP50Seconds: number(), WriteP99Seconds: number(), DirtyBytes: r.Int64(), UptimeSeconds: number()}
	}
	for range r.IntN(4) {
		c.Volumes = append(c.Volumes, metrics.Volume{Name: name(), State: name(), Why: name(),
			UnderProtectedBlocks: r.Uint64() >> r.IntN(65), SizeBytes: r.Int64()})
		c.Jobs = append(c.Jobs, metrics.Job{Kind: name(), Node: name(), Done: number(),
			RemainingSeconds: number(), BytesPerSecond: number(), Paused: r.IntN(2) == 0})
		c.Events = append(c.Events, metrics.Event{Level: name(), Node: name(), Volume: name(), Text: name()})
	}
	if r.IntN(2) == 0 {
		c.Film = &metrics.Film{Name: name(), BytesPerSecond: number(), Position: number(), BufferSeconds: number(),
			BufferLimitSeconds: number(), LongestPauseSeconds: number(), StalledSeconds: number(),
			CheckedBytes: r.Uint64(), WrongBytes: r.Uint64() >> r.IntN(65), Why: name()}
	}
	if r.IntN(2) == 0 {
		c.Stripe = randomStripe(r, name, number)
	}
	return c
}

func randomStripe(r *rand.Rand, name func() string, number func() float64) *metrics.Stripe {
	s := &metrics.Stripe{Volume: name(), Version: name(), Data: r.IntN(9), Zeroes: r.IntN(2) == 0}
	if r.IntN(2) == 0 {
		s.Read = time.Unix(r.Int64N(1<<40), 0)
	}
	for range r.IntN(20) {
		s.Chunks = append(s.Chunks, metrics.StripeChunk{
			Index: r.IntN(8) - 1, Parity: r.IntN(2) == 0, Node: name(), Spare: r.IntN(3) == 0, State: name(),
			Version: name(), Why: name(), Asked: r.IntN(2) == 0, Used: r.IntN(2) == 0, Seconds: number(),
		})
	}
	return s
}

// Each state has its colour, and a word and a sign besides.
func TestColoursHaveWords(t *testing.T) {
	c := troubled(8)
	for word, style := range map[string]style{
		"○ idle": goodFill, "● working": busyFill, "× unavailable": badFill, "↻ resyncing 43%": markFill,
		"! out": markFill, "! lost": badFill, "~ slow": noteFill,
	} {
		if got := styleOf(t, c, word); got != style {
			t.Errorf("%q has the style %q, want %q", word, sgr[got], sgr[style])
		}
		if !strings.Contains(Render(c, View{}, 80, 24), word) {
			t.Errorf("without colour there is no %q", word)
		}
	}
	for style, code := range map[style]string{goodFill: "42", busyFill: "43", badFill: "41"} {
		if !strings.Contains(sgr[style], code) {
			t.Errorf("style %d is %q, want a background of %s", style, sgr[style], code)
		}
	}
}

// styleOf returns the style of the first place that has text.
func styleOf(t *testing.T, c *metrics.Cluster, text string) style {
	t.Helper()
	got := Render(c, View{Color: true}, 80, 24)
	for s, code := range sgr {
		before := "\x1b[0;" + code + "m"
		for piece := range strings.SplitSeq(got, "\x1b[") {
			if strings.HasPrefix("\x1b["+piece, before) && strings.Contains(piece, text) {
				return style(s)
			}
		}
	}
	t.Fatalf("no styled %q in:\n%s", text, got)
	return plain
}

func TestWithoutColourThereAreNoEscapes(t *testing.T) {
	for name, p := range pictures {
		if strings.Contains(Render(p.of(8), p.view, 120, 40), "\x1b") {
			t.Errorf("%s has an escape sequence", name)
		}
	}
}

// Eight cards stand as four by two at every size from 80x24.
func TestEightCardsAreFourByTwo(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {80, 60}, {100, 24}, {120, 40}, {200, 60}, {400, 120}, {400, 24}} {
		if cols, rows := grid(8, size[0], size[1]-2-minLower); cols != 4 || rows != 2 {
			t.Errorf("at %dx%d: %d by %d", size[0], size[1], cols, rows)
		}
	}
}

func TestGrid(t *testing.T) {
	for n, want := range map[int][2]int{1: {1, 1}, 2: {2, 1}, 3: {3, 1}, 5: {3, 2}, 7: {4, 2}, 20: {5, 4}} {
		if cols, rows := grid(n, 200, 55); cols != want[0] || rows != want[1] {
			t.Errorf("%d cards: %d by %d, want %v", n, cols, rows, want)
		}
	}
}

// What is written over half of a wide rune takes all of it.
func TestWideRunesAreNotHalved(t *testing.T) {
	for x, want := range []string{"a 界|", " a界|", "世a |", "世 a|"} {
		c := newCanvas(5, 1)
		c.area().text(0, 0, plain, "世界|")
		c.area().text(x, 0, plain, "a")
		if got := c.String(false); got != want {
			t.Errorf("a at %d: %q, want %q", x, got, want)
		}
	}
}

func TestWhatATerminalIsNotSent(t *testing.T) {
	for r, want := range map[rune]int{
		'\x1b': 1, '\n': 1, '\u0085': 1, '\u00ad': 1, '\u202e': 1, '\u200d': 1, '\ufeff': 1, '\ue000': 1, // written as ?
		'\u0301': 0, 'ä': 1, '世': 2,
	} {
		got, n := clean(r)
		if n != want || want == 1 && r != 'ä' && got != '?' {
			t.Errorf("%U is drawn as %q over %d cells", r, got, n)
		}
	}
}

// With little room a list scrolls, so that the chosen card is always seen.
func TestTheChosenCardIsSeen(t *testing.T) {
	for _, n := range []int{1, 3, 8, 20, 100} {
		c := healthy(n)
		for i := range n {
			c.Cards[i].ID = strings.Repeat("x", 1+i%3) + string(rune('a'+i%26)) + string(rune('a'+i/26))
		}
		for h := 4; h < 40; h += 5 {
			for i := range n {
				got := Render(c, View{Selected: i}, 60, h)
				if !strings.Contains(got, c.Cards[i].ID) {
					t.Fatalf("%d cards, %d lines: card %d is not seen:\n%s", n, h, i, got)
				}
			}
		}
	}
}

func TestFigures(t *testing.T) {
	for got, want := range map[string]string{
		count(0): "0", count(math.NaN()): "0", count(-3): "0", count(7): "7", count(0.21): "0.2",
		count(1234): "1.2k", count(999): "999", size(0): "0 B", size(1536): "1.5 KiB", size(29 << 30): "29 GiB",
		speed(1.05e6): "1.1 MB/s", speed(0.4): "0 B/s", millis(0.0021): "2.1 ms", millis(0): "-",
		percent(0.431): "43%", percent(7): "100%", percent(math.NaN()): "0%", lasting(0.83): "0.8 s",
		lasting(80): "80 s", lasting(600): "10 min", lasting(7300): "2 h", lasting(1e12): "ages",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	c := striped(20)
	view := View{Color: true, History: past(c)}
	for b.Loop() {
		Render(c, view, 200, 60)
	}
}
