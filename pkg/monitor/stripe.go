package monitor

import (
	"fmt"
	"strconv"
	"strings"

	"rozobox/pkg/metrics"
)

const (
	// minBox is the least width of a chunk's box: a border and "unavailable".
	minBox = 13
	maxBox = 24
	// boxHeight is a border and four lines.
	boxHeight = 6
	// flowHeight is what stands below the boxes: arrows, and the block.
	flowHeight = 2
	// minTable is the least width of a table with all its columns.
	minTable = 70
)

// stripePage shows one block: its chunks as boxes, data and parity apart, with
// what came from them flowing down into the block; below, in words, why each
// chunk is where it is.
func (p *picture) stripePage(a area) {
	s := p.Stripe
	if s == nil {
		a.text(1, 0, strong, "No stripe to show.")
		a.text(1, 1, plain, "It appears when a block is read. It takes a gateway.")
		return
	}
	head := fmt.Sprintf("block %d of %s, at byte %d", s.Block, s.Volume, s.Offset)
	version := span{plain, "version " + s.Version}
	switch {
	case s.Version == "":
		version.text = "never written: reads as zeroes"
	case s.Zeroes:
		version.text += ", zeroes"
	}
	a.parts(1, 0, span{strong, head}, version)
	y := 1
	for _, line := range wrap(p.answer(s), a.w-2) {
		a.text(1, y, plain, line)
		y++
	}
	chunks := byIndex(s)
	width := min(maxBox, (a.w-1)/max(1, len(chunks)))
	spare := a.h - y - boxHeight - flowHeight - p.tableLines(a.w, s)
	if width >= minBox && spare >= 0 {
		y += min(1, spare)
		boxes(a.sub(0, y, a.w, boxHeight+flowHeight), s, chunks, width)
		y += boxHeight + flowHeight + between(spare-1, 0, 1)
	}
	p.table(a.rest(y), s)
}

// answer says in words how the block was read last.
func (p *picture) answer(s *metrics.Stripe) string {
	if s.Read.IsZero() {
		return "It is not the block that was read last: who would answer is not known."
	}
	ago := lasting(p.Time.Sub(s.Read).Seconds())
	if s.Memory {
		return "Read " + ago + " ago: the gateway still had it in memory, no card was asked."
	}
	var used, parity, hedged, asked int
	slowest := 0.0
	for i := range s.Chunks {
		c := &s.Chunks[i]
		if c.Asked {
			asked++
		}
		if c.Hedged {
			hedged++
		}
		if c.Used {
			used, slowest = used+1, max(slowest, c.Seconds)
			if c.Parity {
				parity++
			}
		}
	}
	text := fmt.Sprintf("Read %s ago in %s: %s asked, %d used",
		ago, millis(slowest), plural(asked, "chunk", "chunks"), used)
	if hedged > 0 {
		text += fmt.Sprintf(", %d as a hedge", hedged)
	}
	if parity > 0 {
		text += fmt.Sprintf(", %d of parity", parity)
	}
	return text + "."
}

// byIndex groups a stripe's chunks by index: homes first, their spares behind.
func byIndex(s *metrics.Stripe) (all [][]*metrics.StripeChunk) {
	for i := range s.Chunks {
		c := &s.Chunks[i]
		if n := len(all); n > 0 && all[n-1][0].Index == c.Index {
			all[n-1] = append(all[n-1], c)
			continue
		}
		all = append(all, []*metrics.StripeChunk{c})
	}
	return all
}

// best is the chunk that stands for its index: the one that was used, else one
// that was asked, else one that is there.
func best(same []*metrics.StripeChunk) *metrics.StripeChunk {
	found := same[0]
	for _, c := range same[1:] {
		if rank(c) > rank(found) {
			found = c
		}
	}
	return found
}

func rank(c *metrics.StripeChunk) int {
	switch {
	case c.Used:
		return 3
	case c.State == metrics.Present:
		return 2
	case c.Asked:
		return 1
	}
	return 0
}

// boxes draws the chunks side by side, and below them the block.
func boxes(a area, s *metrics.Stripe, chunks [][]*metrics.StripeChunk, width int) {
	x, from := 0, 0
	for i, same := range chunks {
		if i > 0 && same[0].Parity && !chunks[i-1][0].Parity {
			x++ // data and parity stand apart
		}
		c := best(same)
		box(a.sub(x, 0, width, boxHeight), c)
		if c.Used {
			a.put(x+width/2, boxHeight, '▼', good)
		}
		from = x + width
		x += width
	}
	wide := a.sub(0, boxHeight+1, from, 1)
	wide.fill(goodFill)
	text := fmt.Sprintf("the block: %s, any %d chunks give it back",
		plural(len(chunks), "chunk", "chunks"), s.Data)
	wide.text(max(0, (from-runesWidth(text))/2), 0, goodFill, text)
}

// box is one chunk.
func box(a area, c *metrics.StripeChunk) {
	s, f := stateStyle(c), thin
	if c.Used {
		f = double
	}
	inner := a.box(f, s)
	a.sub(1, 0, a.w-2, 1).text(0, 0, filled(s), " "+chunkName(c)+" ")
	inner.text(0, 0, strong, c.Node)
	if c.Spare {
		inner.right(inner.w, 0, note, "spare")
	}
	inner.text(0, 1, s, c.State)
	inner.text(0, 2, useStyle(c), use(c))
	if c.Asked && c.Seconds > 0 {
		inner.text(0, 3, strong, millis(c.Seconds))
	}
}

func chunkName(c *metrics.StripeChunk) string {
	if c.Parity {
		return "parity " + strconv.Itoa(c.Index)
	}
	return "data " + strconv.Itoa(c.Index)
}

func stateStyle(c *metrics.StripeChunk) style {
	switch c.State {
	case metrics.Present, metrics.Tombstone:
		return good
	case metrics.Absent:
		return plain
	}
	return bad
}

// use says what a chunk did at the last read.
func use(c *metrics.StripeChunk) string {
	switch {
	case c.Used && c.Hedged:
		return "hedge: used"
	case c.Used:
		return "used"
	case c.Hedged:
		return "hedge: late"
	case c.Asked:
		return "late"
	}
	return "not asked"
}

func useStyle(c *metrics.StripeChunk) style {
	switch {
	case c.Hedged:
		return note
	case c.Used:
		return good
	case c.Asked:
		return busy
	}
	return faint
}

// columns of the table: where each begins.
var columns = [...]int{1, 10, 18, 24, 36, 48, 56}

// table has a line for each chunk on each card.
func (p *picture) table(a area, s *metrics.Stripe) {
	y := 0
	if a.w >= minTable {
		for i, name := range [...]string{"chunk", "card", "place", "state", "last read", "took", "why"} {
			a.text(columns[i], 0, faint, name)
		}
		y++
	}
	last := -1
	for i := range s.Chunks {
		c := &s.Chunks[i]
		name := chunkName(c)
		if c.Index == last && a.w >= minTable {
			name = ""
		}
		last = c.Index
		y += tableRow(a.rest(y), name, c, s)
	}
}

// tableLines returns how high the table is.
func (p *picture) tableLines(w int, s *metrics.Stripe) int {
	c := newCanvas(w, 0)
	n := 1
	for i := range s.Chunks {
		n += tableRow(c.area(), "", &s.Chunks[i], s)
	}
	return n
}

// tableRow draws a chunk, and returns how many lines that took.
func tableRow(a area, name string, c *metrics.StripeChunk, s *metrics.Stripe) int {
	place, took := "home", ""
	if c.Spare {
		place = "spare"
	}
	if c.Asked {
		took = millis(c.Seconds)
	}
	cells := [...]span{{strong, name}, {plain, c.Node}, {plain, place}, {stateStyle(c), c.State},
		{useStyle(c), use(c)}, {plain, took}}
	if a.w < minTable {
		a.parts(1, 0, cells[0], cells[1], cells[4], cells[5], cells[3], cells[2])
		return 1
	}
	for j, cell := range cells {
		a.sub(columns[j], 0, columns[j+1]-columns[j]-1, 1).text(0, 0, cell.s, cell.text)
	}
	why := reason(c, s)
	x := columns[len(columns)-1]
	if x+runesWidth(why) <= a.w {
		a.text(x, 0, note, why)
		return 1
	}
	a.text(columns[1], 1, note, "└ "+why)
	return 2
}

// reason says why a chunk is not simply at home and up to date.
func reason(c *metrics.StripeChunk, s *metrics.Stripe) string {
	if c.Version == "" || c.Version == s.Version {
		return c.Why
	}
	return strings.TrimSuffix("version "+c.Version+", "+c.Why, ", ")
}
