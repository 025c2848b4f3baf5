package monitor

import (
	"fmt"
	"strings"
	"time"

	"rozobox/pkg/metrics"
)

// minEvents are shown below the cards where there is room for them.
const minEvents = 3

// row draws one line.
type row func(a area)

// lower is what stands below the cards: the gateway, the film, jobs and
// volumes as far as they fit, and the newest events in what is left.
func (p *picture) lower(a area) {
	rows := p.lowerRows()
	if more := len(rows) - a.h; more > 0 {
		rows = rows[:a.h]
		if a.h >= minLower {
			rows[a.h-1] = func(a area) { a.text(1, 0, faint, fmt.Sprintf("and %d lines more", more+1)) }
		}
	}
	for i, draw := range rows {
		draw(a.row(i))
	}
	p.log(a.rest(len(rows)), p.Events)
}

// lowerLines returns how many lines lower would like to have.
func (p *picture) lowerLines() int { return len(p.lowerRows()) + minEvents }

func (p *picture) lowerRows() (rows []row) {
	if p.Gateway != nil {
		rows = append(rows, p.traffic)
	} else {
		rows = append(rows, noGateway)
	}
	if p.Film != nil {
		rows = append(rows, p.film)
		if p.Film.Why != "" || p.Film.WrongBytes > 0 {
			rows = append(rows, p.filmTrouble)
		}
	}
	if p.Gateway != nil {
		rows = append(rows, p.standing)
	}
	for i := range p.Jobs {
		rows = append(rows, func(a area) { job(a, &p.Jobs[i]) })
	}
	for i := range p.Volumes {
		rows = append(rows, func(a area) { volume(a, &p.Volumes[i]) })
	}
	return rows
}

func noGateway(a area) {
	text := "No gateway answers: the cards speak for themselves; volumes are not known."
	if runesWidth(text) > a.w {
		text = "No gateway answers."
	}
	a.text(1, 0, bad, text)
}

// traffic is the gateway's health, and what it does for its clients.
func (p *picture) traffic(a area) {
	g := p.Gateway
	s, sign := health(g.Health)
	state := []span{{strong, "gateway"}, {s, sign + " " + g.Health}}
	if a.w < 2*minCardWidth+10 {
		state = []span{{s, sign + " " + g.Health}}
	}
	parts := append(state,
		span{plain, "read " + speed(g.ReadBytesPerSecond)},
		span{plain, "write " + speed(g.WriteBytesPerSecond)},
		span{plain, "dirty " + size(float64(g.DirtyBytes))},
		span{plain, "hedged " + each(g.HedgedReadsPerSecond)},
		span{plain, count(g.ReadsPerSecond) + " reads/s"},
		span{plain, count(g.WritesPerSecond) + " writes/s"},
		span{faint, g.ID},
		span{faint, "up " + lasting(g.UptimeSeconds)},
		span{faint, "version " + g.Version},
	)
	a.parts(1, 0, parts...)
}

func health(word string) (s style, sign string) {
	switch word {
	case "healthy":
		return good, "○"
	case "degraded":
		return busy, "!"
	}
	return bad, "×"
}

// standing is the gateway's latency, and how well all blocks are protected.
func (p *picture) standing(a area) {
	g := p.Gateway
	var missing uint64
	for i := range p.Volumes {
		missing += p.Volumes[i].UnderProtectedBlocks
	}
	s := plain
	if missing > 0 {
		s = busy
	}
	a.parts(1, 0,
		span{plain, "p50/p99: read " + quantiles(g.ReadP50Seconds, g.ReadP99Seconds)},
		span{plain, "write " + quantiles(g.WriteP50Seconds, g.WriteP99Seconds)},
		span{s, count(float64(missing)) + " under-protected"},
		span{plain, fmt.Sprintf("%s hedged since the start", count(float64(g.HedgedReads)))},
		span{plain, plural(len(p.Volumes), "volume", "volumes")})
}

func quantiles(p50, p99 float64) string {
	return strings.TrimSuffix(millis(p50), " ms") + "/" + millis(p99)
}

// barWidth is how wide a progress bar is on a line of w cells.
func barWidth(w int) int { return between(w/6, 6, 30) }

// film is the stream of a demonstration.
func (p *picture) film(a area) {
	f := p.Film
	x := a.spans(1, 0, span{strong, "film"}, span{plain, " buffer "})
	w := barWidth(a.w)
	s := good
	if f.BufferSeconds <= 0 {
		s = bad
	}
	a.gauge(x, 0, w, s, f.BufferSeconds/max(f.BufferLimitSeconds, 1e-9))
	stalled := span{plain, "never stalled"}
	if f.StalledSeconds > 0 {
		stalled = span{bad, "stalled " + lasting(f.StalledSeconds)}
	}
	checked := span{good, "checked " + size(float64(f.CheckedBytes)) + ", all right"}
	if f.WrongBytes > 0 {
		checked = span{bad, "WRONG " + size(float64(f.WrongBytes))}
	}
	a.parts(x+w+1, 0,
		span{plain, fmt.Sprintf("%.1f/%.0f s",
			between(f.BufferSeconds, 0, 1e6), between(f.BufferLimitSeconds, 0, 1e6))},
		span{plain, "pause " + millis(f.LongestPauseSeconds)},
		checked,
		stalled,
		span{plain, speed(f.BytesPerSecond)},
		span{plain, "at " + percent(f.Position)},
		span{plain, fmt.Sprintf("round %d", f.Round)},
		span{faint, f.Name})
}

func (p *picture) filmTrouble(a area) {
	f := p.Film
	x := 1
	if f.WrongBytes > 0 {
		x = a.text(x, 0, badFill, fmt.Sprintf(" %s of %s do not have their hash ",
			size(float64(f.WrongBytes)), size(float64(f.CheckedBytes)))) + 1
	}
	if f.Why != "" {
		a.text(x, 0, bad, "film waits: "+f.Why)
	}
}

// job is a repair at work.
func job(a area, j *metrics.Job) {
	x := a.text(1, 0, strong, strings.TrimSpace(j.Kind+" "+j.Node))
	w := barWidth(a.w)
	a.gauge(x+1, 0, w, note, j.Done)
	var state span
	switch {
	case j.Paused:
		state = span{busy, "paused"}
	case j.RemainingSeconds < 0:
		state = span{plain, "time left not known"}
	default:
		state = span{plain, lasting(j.RemainingSeconds) + " left"}
	}
	a.parts(x+w+2, 0, span{plain, percent(j.Done)}, state, span{plain, speed(j.BytesPerSecond)},
		span{faint, "volume " + j.Volume})
}

// volume is one volume's line.
func volume(a area, v *metrics.Volume) {
	s := plain
	if v.Why != "" {
		s = bad
	}
	parts := []span{{strong, "volume " + v.Name}, {s, v.State}}
	if v.Why != "" {
		parts = append(parts, span{s, v.Why})
	}
	protected := span{good, "all blocks protected"}
	if v.UnderProtectedBlocks > 0 {
		protected = span{busy, plural(int(min(v.UnderProtectedBlocks, 1<<50)), "block", "blocks") +
			" under-protected"}
	}
	parts = append(parts, protected,
		span{plain, size(float64(v.StoredBytes)) + " stored of " + size(float64(v.SizeBytes))},
		span{plain, fmt.Sprintf("%d+%d chunks", v.DataChunks, v.ParityChunks)},
		span{plain, size(float64(v.BlockSizeBytes)) + " blocks"})
	a.parts(1, 0, parts...)
}

// log draws the newest events that fit, the newest last.
func (p *picture) log(a area, events []metrics.Event) {
	if len(events) > a.h {
		events = events[len(events)-a.h:]
	}
	for i := range events {
		event(a.row(i), &events[i], p.Time)
	}
}

// fresh is how long an event is news.
const fresh = 10 * time.Second

// event is one line of the log. Its level is a word, and news stands out.
func event(a area, e *metrics.Event, now time.Time) {
	s := plain
	switch e.Level {
	case "warn", "warning":
		s = busy
	case "error":
		s = bad
	default:
		if now.Sub(e.Time) > fresh {
			s = faint
		}
	}
	x := a.spans(1, 0, span{faint, clock(e.Time) + " "}, span{s, fmt.Sprintf("%-5s ", e.Level)})
	text := e.Text
	for _, who := range []string{e.Volume, e.Node} {
		if who != "" && !strings.Contains(text, who) {
			text = who + ": " + text
		}
	}
	a.text(x, 0, s, text)
}
