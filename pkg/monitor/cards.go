package monitor

import (
	"fmt"
	"math"
	"strings"

	"rozobox/pkg/metrics"
)

const (
	// The least card that is drawn as a box. The widest line of it is an
	// address: 18 characters, "192.168.100.1:9800".
	minCardWidth  = 20
	minCardHeight = 8
	// maxCardHeight: a higher one would only be emptier.
	maxCardHeight = 18
	// fullCardWidth is enough for figures with their units.
	fullCardWidth = 30

	// minLower is what must be left below the cards for the gateway.
	minLower = 3
	// minItem is the least width of a card in a list: an id, a sign, and
	// "unavailable".
	minItem = 20
)

// look is how a card's state is shown: sign and word, never by colour alone.
func look(state string) (s style, sign, word string) {
	switch state {
	case metrics.Idle:
		return good, "○", state
	case metrics.Working:
		return busy, "●", state
	case metrics.Unavailable:
		return bad, "×", state
	case "":
		return plain, "?", "unknown"
	}
	return plain, "?", state
}

// mark is what stands apart from a card's state: where it does not keep up.
func (p *picture) mark(c *metrics.Card) (s style, text string) {
	switch c.Sync {
	case metrics.Resyncing:
		text = "↻ resyncing"
		for i := range p.Jobs {
			if j := &p.Jobs[i]; j.Kind == metrics.Resync && j.Node == c.ID {
				return markFill, text + " " + percent(j.Done)
			}
		}
		return markFill, text
	case metrics.Out:
		return markFill, "! out"
	case metrics.Lost:
		return badFill, "! lost"
	}
	if c.ReadOnly {
		return badFill, "! read-only"
	}
	if c.Slow {
		return noteFill, "~ slow"
	}
	return plain, ""
}

// overview is the page of all cards: a grid of them, or a list where there is
// little room, and below the gateway.
func (p *picture) overview(a area) {
	if len(p.Cards) == 0 {
		a.text(1, 0, strong, "No cards are configured.")
		p.lower(a.rest(2))
		return
	}
	cols, rows := grid(len(p.Cards), a.w, a.h-minLower)
	if cols == 0 {
		p.list(a)
		return
	}
	p.peak = p.peakOf(a.w / cols)
	high := between((a.h-p.lowerLines())/rows, minCardHeight, maxCardHeight)
	for i := range p.Cards {
		x, next := i%cols*a.w/cols, (i%cols+1)*a.w/cols
		p.card(a.sub(x, i/cols*high, next-x, high), i)
	}
	p.lower(a.rest(rows * high))
}

// grid returns how many columns and rows of boxes to lay n cards in: of those
// that fit, the one that is nearest to twice as many columns as rows, because
// a screen is wide, with few empty places. It returns 0 where none fits.
func grid(n, width, height int) (cols, rows int) {
	best := math.Inf(1)
	for c := 1; c <= n && c*minCardWidth <= width; c++ {
		r := (n + c - 1) / c
		empty := float64(r*c - n)
		cost := math.Abs(math.Log(float64(c)/float64(2*r))) + 0.4*empty
		if r*minCardHeight <= height && cost < best {
			best, cols, rows = cost, c, r
		}
	}
	return cols, rows
}

// card draws one card as a box: its border has the colour of its state.
func (p *picture) card(a area, i int) {
	c := &p.Cards[i]
	s, sign, word := look(c.State)
	f := thin
	if i == p.Selected {
		f = double
	}
	inner := a.box(f, s)
	head := filled(s)
	for x := range a.w {
		a.put(x, 0, f[4], head)
	}
	a.put(0, 0, f[0], head)
	a.put(a.w-1, 0, f[1], head)
	headline(a.sub(1, 0, a.w-2, 1), head, c.ID, sign+" "+word)
	if ms, text := p.mark(c); text != "" {
		a.sub(1, a.h-1, a.w-2, 1).text(0, 0, ms, " "+text+" ")
	}
	full := a.w >= fullCardWidth && a.h > minCardHeight
	if full {
		inner = inner.sub(1, 0, inner.w-2, inner.h)
	}
	switch {
	case c.State == metrics.Unavailable:
		p.deadCard(inner, c)
	case full:
		p.fullCard(inner, c)
	default:
		p.smallCard(inner, c)
	}
}

// headline writes a card's id at the left and its state at the right, with the
// border between them where there is room for it.
func headline(a area, s style, id, state string) {
	if runesWidth(id)+runesWidth(state)+5 <= a.w {
		id, state = " "+id+" ", " "+state+" "
	}
	a.right(a.w, 0, s, state)
	a.sub(0, 0, a.w-runesWidth(state)-1, 1).text(0, 0, s, id)
}

// address writes where a card is. Where there is no room for the port, which
// is most often the same for all, it is left out.
func address(a area, addr string) {
	if i := strings.LastIndexByte(addr, ':'); i > 0 && runesWidth(addr) > a.w {
		addr = addr[:i]
	}
	a.text(0, 0, plain, addr)
}

// deadCard says what is wrong with a card that does not answer.
func (p *picture) deadCard(a area, c *metrics.Card) {
	address(a, c.Addr)
	why := c.Why
	if why == "" {
		why = "no answer"
	}
	for i, line := range wrap(why, a.w) {
		a.rest(1).text(0, i, bad, line)
	}
	if a.h >= 4 {
		p.activity(a.row(a.h-1), c.ID)
	}
}

// smallCard has six lines of at least 18 characters.
func (p *picture) smallCard(a area, c *metrics.Card) {
	address(a, c.Addr)
	usage := "card " + percent(share(c.UsedBytes, c.CapacityBytes))
	if h := c.Host; h != nil {
		a.text(0, 1, plain, fmt.Sprintf("cpu %4s  mem %4s", percent(h.CPU), percent(memory(h))))
		if h.Celsius != nil {
			a.right(a.w, 2, plain, celsius(h))
		}
		a.text(0, 3, plain, "net  "+flows(h.NetInBytesPerSecond, h.NetOutBytesPerSecond, shortSpeed))
		a.text(0, 4, plain, "disk "+flows(h.DiskInBytesPerSecond, h.DiskOutBytesPerSecond, shortSpeed))
	} else {
		a.text(0, 1, faint, "cpu    -  mem    -")
	}
	a.text(0, 2, plain, usage)
	rates := "r " + count(c.ReadsPerSecond) + " w " + count(c.WritesPerSecond)
	end := a.text(0, 5, plain, rates) + 1
	if a.h > 6 {
		p.activity(a.rest(6), c.ID)
		return
	}
	p.activity(a.sub(end, 5, a.w-end, 1), c.ID)
}

// fullCard has seven lines with units, and charts in what is left.
func (p *picture) fullCard(a area, c *metrics.Card) {
	address(a.sub(0, 0, a.w-6, 1), c.Addr)
	if h := c.Host; h != nil {
		if h.Celsius != nil {
			a.right(a.w, 0, plain, celsius(h))
		}
		a.text(0, 1, plain, fmt.Sprintf("cpu  %5s", percent(h.CPU)))
		a.sub(11, 1, a.w-11, 1).chart(note, p.series(c.ID, cpu), 1)
		a.text(0, 2, plain, fmt.Sprintf("mem  %5s", percent(memory(h))))
		a.gauge(11, 2, a.w-11, note, memory(h))
		a.text(0, 4, plain, "net    "+flows(h.NetInBytesPerSecond, h.NetOutBytesPerSecond, speed))
		a.text(0, 5, plain, "disk   "+flows(h.DiskInBytesPerSecond, h.DiskOutBytesPerSecond, speed))
	} else {
		a.text(0, 1, faint, "cpu       -")
		a.text(0, 2, faint, "mem       -")
	}
	used := share(c.UsedBytes, c.CapacityBytes)
	a.text(0, 3, plain, fmt.Sprintf("card %5s", percent(used)))
	a.gauge(11, 3, a.w-11, note, used)
	a.text(0, 6, plain, "chunks read "+each(c.ReadsPerSecond)+" write "+each(c.WritesPerSecond))
	p.activity(a.rest(7), c.ID)
}

// activity draws the chunks a second that a card read and wrote. All cards
// have the same scale, so that they can be compared.
func (p *picture) activity(a area, id string) {
	a.chart(busy, p.series(id, chunks), p.peak)
}

// peakOf returns the most chunks a second of any card in the newest samples,
// those that can be seen; and at least 1.
func (p *picture) peakOf(samples int) float64 {
	most := 1.0
	for i := range p.Cards {
		values := p.series(p.Cards[i].ID, chunks)
		for _, v := range values[max(0, len(values)-samples):] {
			if v > most {
				most = v
			}
		}
	}
	return most
}

// figure is one value of a card; NaN where it is not known.
type figure func(c *metrics.Card) float64

func chunks(c *metrics.Card) float64 {
	if c.State == metrics.Unavailable {
		return math.NaN()
	}
	return c.ReadsPerSecond + c.WritesPerSecond
}

func cpu(c *metrics.Card) float64 {
	return ofHost(c, func(h *metrics.Host) float64 { return h.CPU })
}

func ofHost(c *metrics.Card, f func(h *metrics.Host) float64) float64 {
	if c.Host == nil {
		return math.NaN()
	}
	return f(c.Host)
}

// series returns a card's figure in the samples of the history and in this
// one; as many as the widest screen can show.
func (p *picture) series(id string, f figure) (values []float64) {
	history := p.History[max(0, len(p.History)-maxSide):]
	for i := range history {
		values = append(values, valueOf(&history[i], id, f))
	}
	return append(values, valueOf(p.Cluster, id, f))
}

func valueOf(c *metrics.Cluster, id string, f figure) float64 {
	for i := range c.Cards {
		if c.Cards[i].ID == id {
			return f(&c.Cards[i])
		}
	}
	return math.NaN()
}

func memory(h *metrics.Host) float64 { return share(h.MemoryUsedBytes, h.MemoryBytes) }

func celsius(h *metrics.Host) string { return fmt.Sprintf("%.0f°C", between(*h.Celsius, -99, 999)) }

// flows writes what comes in and what goes out.
func flows(in, out float64, write func(float64) string) string {
	return "↓" + write(in) + " ↑" + write(out)
}

// list is the page of all cards where boxes do not fit: a line for each, in
// as many columns as are needed and fit.
func (p *picture) list(a area) {
	n := len(p.Cards)
	cols, rows, room := columnsOf(n, a.w, a.h)
	shown := min(rows, room)
	first := between(p.Selected%rows-shown/2, 0, rows-shown)
	for i := range p.Cards {
		x, next := i/rows*a.w/cols, (i/rows+1)*a.w/cols
		if y := i%rows - first; y >= 0 && y < shown {
			p.item(a.sub(x, y, next-x-min(1, cols-1), 1), i)
		}
	}
	below := a.rest(shown)
	if shown < rows {
		below.text(1, 0, faint, fmt.Sprintf("%d of %s: the arrows show more",
			shown*cols, plural(n, "card", "cards")))
		below = below.rest(1)
	}
	p.lower(below)
}

// columnsOf lays n cards out as a list, of which room rows can be seen at once.
func columnsOf(n, width, height int) (cols, rows, room int) {
	room = max(1, height-between(height/4, 0, 4))
	cols = 1
	for (n+cols-1)/cols > room && (cols+1)*minItem <= width {
		cols++
	}
	return cols, (n + cols - 1) / cols, room
}

// steps returns how far apart the indexes of neighbours are, as n cards are
// laid out in a body of this size.
func steps(n, width, height int) (across, down int) {
	if cols, _ := grid(n, width, height-minLower); cols > 0 {
		return 1, cols
	}
	_, rows, _ := columnsOf(n, width, height)
	return rows, 1
}

// item is a card in one line.
func (p *picture) item(a area, i int) {
	c := &p.Cards[i]
	s, sign, word := look(c.State)
	pointer := " "
	if i == p.Selected {
		pointer = ">"
	}
	id := 0
	for j := range p.Cards {
		id = max(id, min(8, runesWidth(p.Cards[j].ID)))
	}
	a.text(0, 0, strong, pointer)
	a.sub(1, 0, id, 1).text(0, 0, strong, c.ID)
	var tail []span
	if ms, text := p.mark(c); text != "" {
		tail = append(tail, span{ms, text})
	}
	if c.State == metrics.Unavailable {
		tail = append(tail, span{bad, c.Why})
	} else {
		tail = append(tail, span{plain, "r " + count(c.ReadsPerSecond) + " w " + count(c.WritesPerSecond)})
		if h := c.Host; h != nil {
			tail = append(tail, span{plain, "cpu " + percent(h.CPU)}, span{plain, "mem " + percent(memory(h))})
		}
		tail = append(tail, span{plain, "card " + percent(share(c.UsedBytes, c.CapacityBytes))})
		if h := c.Host; h != nil {
			if h.Celsius != nil {
				tail = append(tail, span{plain, celsius(h)})
			}
			tail = append(tail,
				span{plain, "net " + flows(h.NetInBytesPerSecond, h.NetOutBytesPerSecond, shortSpeed)},
				span{plain, "disk " + flows(h.DiskInBytesPerSecond, h.DiskOutBytesPerSecond, shortSpeed)})
		}
	}
	state := fmt.Sprintf("%s %-11s", sign, word)
	if a.w < minItem+10 {
		state = strings.TrimSpace(state)
	}
	a.parts(id+2, 0, append([]span{{s, state}}, tail...)...)
}
