package monitor

import (
	"fmt"
	"math"
	"slices"

	"rozobox/pkg/metrics"
)

// gaugeLine is one figure of a card's page with its history.
type gaugeLine struct {
	name  string
	text  string
	of    figure
	limit float64 // of a full bar; 0: the most in the history
	style style
}

// cardPage shows one card: all its figures with their history, and its events.
func (p *picture) cardPage(a area) {
	if len(p.Cards) == 0 {
		a.text(1, 0, strong, "No cards are configured.")
		return
	}
	c := &p.Cards[p.Selected]
	p.cardHead(a.row(0), c)
	y := 1
	if c.Why != "" {
		for _, line := range wrap(c.Why, a.w-2) {
			a.text(1, y, bad, line)
			y++
		}
	}
	for i := range p.Jobs {
		if p.Jobs[i].Node == c.ID {
			job(a.row(y), &p.Jobs[i])
			y++
		}
	}
	lines := gaugeLines(c)
	high := between((a.h-y-minEvents)/len(lines), 1, 4)
	for i, l := range lines {
		p.gaugeLine(a.sub(0, y+i*high, a.w, high), c, l)
	}
	var own []metrics.Event
	for _, e := range p.Events {
		if e.Node == c.ID {
			own = append(own, e)
		}
	}
	p.log(a.rest(y+len(lines)*high), own)
}

func (p *picture) cardHead(a area, c *metrics.Card) {
	s, sign, word := look(c.State)
	parts := []span{{strong, c.ID}, {filled(s), " " + sign + " " + word + " "}}
	if ms, text := p.mark(c); text != "" {
		parts = append(parts, span{ms, " " + text + " "})
	}
	parts = append(parts, span{plain, c.Addr})
	switch c.Sync {
	case metrics.In:
		parts = append(parts, span{plain, "in the cluster"})
	case metrics.Unknown, "":
		parts = append(parts, span{faint, "no gateway says whether it is in"})
	}
	a.parts(1, 0, parts...)
}

func gaugeLines(c *metrics.Card) []gaugeLine {
	known := func(text string) string {
		if c.State == metrics.Unavailable {
			return "-"
		}
		return text
	}
	lines := []gaugeLine{
		{"chunk reads", known(each(c.ReadsPerSecond) + " " + speed(c.ReadBytesPerSecond)),
			func(c *metrics.Card) float64 { return c.ReadsPerSecond }, 0, busy},
		{"chunk writes", known(each(c.WritesPerSecond) + " " + speed(c.WriteBytesPerSecond)),
			func(c *metrics.Card) float64 { return c.WritesPerSecond }, 0, busy},
		{"card", size(float64(c.UsedBytes)) + " of " + size(float64(c.CapacityBytes)),
			func(c *metrics.Card) float64 { return share(c.UsedBytes, c.CapacityBytes) }, 1, good},
	}
	return append(lines, hostLines(c.Host)...)
}

func hostLines(h *metrics.Host) []gaugeLine {
	if h == nil {
		h = &metrics.Host{CPU: math.NaN()}
	}
	of := func(f func(h *metrics.Host) float64) figure {
		return func(c *metrics.Card) float64 { return ofHost(c, f) }
	}
	lines := []gaugeLine{
		{"cpu", percent(h.CPU), cpu, 1, note},
		{"memory", size(float64(h.MemoryUsedBytes)) + " of " + size(float64(h.MemoryBytes)), of(memory), 1, note},
		{"net in", speed(h.NetInBytesPerSecond),
			of(func(h *metrics.Host) float64 { return h.NetInBytesPerSecond }), 0, plain},
		{"net out", speed(h.NetOutBytesPerSecond),
			of(func(h *metrics.Host) float64 { return h.NetOutBytesPerSecond }), 0, plain},
		{"disk written", speed(h.DiskInBytesPerSecond),
			of(func(h *metrics.Host) float64 { return h.DiskInBytesPerSecond }), 0, plain},
		{"disk read", speed(h.DiskOutBytesPerSecond),
			of(func(h *metrics.Host) float64 { return h.DiskOutBytesPerSecond }), 0, plain},
	}
	if math.IsNaN(h.CPU) {
		for i := range lines {
			lines[i].text = "-"
		}
	}
	if h.Celsius != nil {
		lines = append(lines, gaugeLine{"temperature", celsius(h), of(func(h *metrics.Host) float64 {
			if h.Celsius == nil {
				return math.NaN()
			}
			return *h.Celsius
		}), 100, bad})
	}
	return lines
}

func (p *picture) gaugeLine(a area, c *metrics.Card, l gaugeLine) {
	const names, figures = 14, 24
	a.text(1, a.h-1, plain, l.name)
	a.sub(names, 0, figures-1, a.h).text(0, a.h-1, strong, l.text)
	values := p.series(c.ID, l.of)
	if l.limit == 0 {
		l.limit = 1
		for _, v := range values {
			if v > l.limit { // not so for a NaN
				l.limit = v
			}
		}
	}
	a.sub(names+figures, 0, a.w-names-figures-1, a.h).chart(l.style, values, l.limit)
}

// eventsPage is the log; Scroll leaves out its newest lines.
func (p *picture) eventsPage(a area) {
	if len(p.Events) == 0 {
		a.text(1, 0, plain, "Nothing has happened yet.")
		return
	}
	room := min(max(0, a.h-1), len(p.Events))
	end := between(len(p.Events)-p.Scroll, room, len(p.Events))
	shown := p.Events[end-room : end]
	a.text(1, 0, strong, fmt.Sprintf("Events %d to %d of %d, the newest last",
		end-len(shown)+1, end, len(p.Events)))
	p.log(a.rest(1), shown)
}

func (p *picture) helpPage(a area) {
	words := []span{
		{good, "○ idle         answers, and has nothing to do"},
		{busy, "● working      read or wrote a chunk within the last second"},
		{bad, "× unavailable  does not answer"},
		{markFill, "↻ resyncing"}, {markFill, "! out"}, {badFill, "! lost"}, {noteFill, "~ slow"},
	}
	meaning := map[int]string{
		3: "is being brought up to date", 4: "may have missed writes: not trusted",
		5: "given up: its chunks live on spares", 6: "late: reads go to others, too",
	}
	y := 0
	for i, w := range words {
		a.text(1, y, w.s, w.text)
		a.text(18, y, plain, meaning[i])
		y++
	}
	stripeKeys := "t, s "
	if slices.ContainsFunc(p.Keys, func(k Key) bool { return k.Key == "s" }) {
		stripeKeys = "t    "
	}
	lines := []string{
		"",
		"On a card: r and w are chunks read and written a second, with their history",
		"as bars; ↓ comes in (on a disk: is written), ↑ goes out (is read).",
		"",
		"arrows, hjkl  choose a card        enter   the chosen card's page",
		stripeKeys + "         the stripe view      e       events",
		"esc           back                 q       quit",
	}
	for _, l := range lines {
		a.text(1, y, plain, l)
		y++
	}
	for _, k := range p.Keys {
		a.text(1, y, plain, fmt.Sprintf("%-13s %s", k.name(), k.explain()))
		y++
	}
	if p.Status != "" {
		a.text(1, y, plain, "space         pause the replay     + -     faster, slower")
		y++
	}
	a.text(1, y+1, faint, "Enough of a block's chunks, whichever they are, give it back: see the stripe view.")
}
