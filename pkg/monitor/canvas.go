package monitor

import (
	"math"
	"strings"
	"unicode"

	"github.com/charmbracelet/lipgloss"
)

// style is how a cell is drawn. The names tell what it means; the terminal's
// own sixteen colours are used, so that its theme keeps them readable.
type style uint8

const (
	plain style = iota
	strong
	faint
	good
	busy
	bad
	note
	goodFill
	busyFill
	badFill
	noteFill
	markFill
	headFill
)

// sgr has the terminal's code for each style.
var sgr = [...]string{
	plain:    "",
	strong:   "1",
	faint:    "2",
	good:     "32",
	busy:     "33",
	bad:      "31",
	note:     "36",
	goodFill: "30;42",
	busyFill: "30;43",
	badFill:  "1;97;41",
	noteFill: "30;46",
	markFill: "1;97;45",
	headFill: "7",
}

// filled is the style of a headline over a frame in the style s.
func filled(s style) style {
	switch s {
	case good:
		return goodFill
	case busy:
		return busyFill
	case bad:
		return badFill
	case note:
		return noteFill
	}
	return headFill
}

// maxSide bounds a screen's width and height, so that a terminal that reports
// nonsense costs no memory.
const maxSide = 1000

// cell is one place of the screen. A wide rune has the cell behind it, too,
// which is marked by the rune 0.
type cell struct {
	r rune
	s style
}

type canvas struct {
	w, h  int
	cells []cell
}

func newCanvas(w, h int) *canvas {
	w, h = min(max(w, 0), maxSide), min(max(h, 0), maxSide)
	c := &canvas{w: w, h: h, cells: make([]cell, w*h)}
	for i := range c.cells {
		c.cells[i].r = ' '
	}
	return c
}

func (c *canvas) area() area { return area{c: c, w: c.w, h: c.h} }

// put sets one cell; what was half of a wide rune loses the other half.
func (c *canvas) put(x, y int, r rune, s style) {
	row := c.cells[y*c.w : (y+1)*c.w]
	if row[x].r == 0 && r != 0 {
		row[x-1].r = ' '
	}
	if x+1 < c.w && row[x+1].r == 0 {
		row[x+1].r = ' '
	}
	row[x] = cell{r: r, s: s}
}

// String returns the rows, with colours or as plain text.
func (c *canvas) String(color bool) string {
	var b strings.Builder
	b.Grow(len(c.cells) + len(c.cells)/2)
	for y := range c.h {
		if y > 0 {
			b.WriteByte('\n')
		}
		row := c.cells[y*c.w : (y+1)*c.w]
		for len(row) > 0 && row[len(row)-1].r == ' ' && !(color && row[len(row)-1].s >= goodFill) {
			row = row[:len(row)-1]
		}
		writeRow(&b, row, color)
	}
	return b.String()
}

func writeRow(b *strings.Builder, row []cell, color bool) {
	last := plain
	for _, c := range row {
		if c.r == 0 {
			continue
		}
		if color && c.s != last {
			b.WriteString("\x1b[0")
			if c.s != plain {
				b.WriteString(";" + sgr[c.s])
			}
			b.WriteByte('m')
			last = c.s
		}
		b.WriteRune(c.r)
	}
	if last != plain {
		b.WriteString("\x1b[0m")
	}
}

// area is a rectangle of a canvas. What is drawn into it is cut off at its
// edges, so that no caller can spoil what stands beside.
type area struct {
	c          *canvas
	x, y, w, h int
}

// sub returns the part of a that lies in the rectangle.
func (a area) sub(x, y, w, h int) area {
	x0, y0 := min(max(x, 0), a.w), min(max(y, 0), a.h)
	return area{
		c: a.c, x: a.x + x0, y: a.y + y0,
		w: max(0, min(w, a.w-x0)), h: max(0, min(h, a.h-y0)),
	}
}

// row returns one line of a.
func (a area) row(y int) area { return a.sub(0, y, a.w, min(1, max(0, a.h-y))) }

// rest returns the lines of a from y on.
func (a area) rest(y int) area { return a.sub(0, y, a.w, a.h-y) }

func (a area) put(x, y int, r rune, s style) {
	if x >= 0 && x < a.w && y >= 0 && y < a.h {
		a.c.put(a.x+x, a.y+y, r, s)
	}
}

// text writes s at x, y, and returns where it ends. What does not fit ends in
// "…". What no terminal should be sent is written as "?".
func (a area) text(x, y int, st style, s string) int {
	end := x + runesWidth(s)
	limit := a.w
	if end > a.w {
		limit = a.w - 1
	}
	for _, r := range s {
		r, n := clean(r)
		if n == 0 {
			continue
		}
		if x+n > limit {
			break
		}
		a.put(x, y, r, st)
		for i := 1; i < n; i++ {
			a.put(x+i, y, 0, st)
		}
		x += n
	}
	if end > a.w {
		a.put(x, y, '…', st)
		return a.w
	}
	return x
}

// right writes s so that it ends before column x.
func (a area) right(x, y int, st style, s string) {
	a.text(max(0, x-runesWidth(s)), y, st, s)
}

// clean returns what is drawn for a rune, and how many cells it takes.
func clean(r rune) (rune, int) {
	if r >= ' ' && r < 0x7f {
		return r, 1
	}
	if !unicode.IsGraphic(r) {
		return '?', 1
	}
	switch n := lipgloss.Width(string(r)); {
	case n == 1 || n == 2:
		return r, n
	case unicode.IsMark(r):
		return r, 0
	}
	return '?', 1
}

func runesWidth(s string) (n int) {
	for _, r := range s {
		_, w := clean(r)
		n += w
	}
	return n
}

// fill gives all of a one style.
func (a area) fill(s style) {
	for y := range a.h {
		for x := range a.w {
			a.put(x, y, ' ', s)
		}
	}
}

// span is a piece of a line.
type span struct {
	s    style
	text string
}

// spans writes pieces one behind the other, and returns where they end.
func (a area) spans(x, y int, all ...span) int {
	for _, p := range all {
		x = a.text(x, y, p.s, p.text)
	}
	return x
}

// parts writes as many of the pieces as fit into row y, two blanks apart: the
// most important ones come first.
func (a area) parts(x, y int, all ...span) int {
	for i, p := range all {
		gap := 2 * min(i, 1)
		if i > 0 && x+gap+runesWidth(p.text) > a.w {
			return x
		}
		x = a.text(x+gap, y, p.s, p.text)
	}
	return x
}

// frame has the pieces of a border: corners from the upper left one clockwise,
// then the horizontal and the vertical line.
type frame [6]rune

var (
	thin   = frame{'┌', '┐', '┘', '└', '─', '│'}
	double = frame{'╔', '╗', '╝', '╚', '═', '║'}
)

// box draws a border around a and returns what is inside.
func (a area) box(f frame, s style) area {
	for x := 1; x < a.w-1; x++ {
		a.put(x, 0, f[4], s)
		a.put(x, a.h-1, f[4], s)
	}
	for y := 1; y < a.h-1; y++ {
		a.put(0, y, f[5], s)
		a.put(a.w-1, y, f[5], s)
	}
	a.put(0, 0, f[0], s)
	a.put(a.w-1, 0, f[1], s)
	a.put(a.w-1, a.h-1, f[2], s)
	a.put(0, a.h-1, f[3], s)
	return a.sub(1, 1, a.w-2, a.h-2)
}

// gauge draws a share, 0 to 1, as a bar over w cells of row y.
func (a area) gauge(x, y, w int, st style, share float64) {
	full := int(math.Round(between(share, 0, 1) * float64(w)))
	for i := range w {
		if i < full {
			a.put(x+i, y, '█', st)
		} else {
			a.put(x+i, y, '░', faint)
		}
	}
}

// eighths are the levels of a bar within one cell.
var eighths = []rune(" ▁▂▃▄▅▆▇█")

// chart draws values as upright bars that fill a, the newest at the right;
// limit is what a full bar stands for. What is not known, a NaN, has no bar,
// and only 0 has the lowest: a little is not nothing.
func (a area) chart(st style, values []float64, limit float64) {
	if len(values) > a.w {
		values = values[len(values)-a.w:]
	}
	for i, v := range values {
		if math.IsNaN(v) {
			continue
		}
		level := max(1, int(math.Round(between(v/limit, 0, 1)*float64(8*a.h))))
		if v > 0 {
			level = max(2, level)
		}
		for y := range a.h {
			a.put(a.w-len(values)+i, a.h-1-y, eighths[between(level-8*y, 0, 8)], st)
		}
	}
}

// between returns v, or the bound that it exceeds; the lower one for a NaN.
func between[T int | float64](v, low, high T) T {
	if v >= high {
		return high
	}
	if v > low {
		return v
	}
	return low
}
