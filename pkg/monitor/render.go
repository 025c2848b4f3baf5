package monitor

import (
	"cmp"
	"fmt"
	"strings"

	"rozobox/pkg/metrics"
)

// Page is what fills the screen.
type Page int

// The pages.
const (
	CardsPage  Page = iota // all cards, and the gateway
	CardPage               // one card
	StripePage             // one block's chunks
	EventsPage
	HelpPage
)

// View says how a snapshot is looked at. The zero value shows all cards.
type View struct {
	Page     Page
	Selected int // index of a card
	Scroll   int // events that are newer than the last one shown

	// History has the samples before this one, the oldest first, for the
	// little bars.
	History []metrics.Cluster

	Status string // of a replay: stands beside the clock
	Keys   []Key  // what a demonstration adds
	Color  bool
}

// Key is a key that a demonstration adds.
type Key struct {
	Key     string            // as bubbletea names it: "u", "ctrl+x"
	Help    string            // one word
	Explain string            // for the help page; empty: Help is done to the chosen card
	Do      func(card string) // called with the selected card; must return at once
}

// name is what the key is called.
func (k Key) name() string {
	if k.Key == " " {
		return "space"
	}
	return k.Key
}

func (k Key) explain() string { return cmp.Or(k.Explain, k.Help+" the chosen card") }

// Render draws a snapshot: width columns by height lines of plain text, or
// with terminal colours. It is a pure function, and bears any snapshot.
func Render(c *metrics.Cluster, view View, width, height int) string {
	canvas := newCanvas(width, height)
	p := picture{Cluster: c, View: view}
	p.Selected = between(p.Selected, 0, max(0, len(c.Cards)-1))
	p.draw(canvas.area())
	return canvas.String(view.Color)
}

// picture is a snapshot on its way to the screen.
type picture struct {
	*metrics.Cluster
	View
	peak float64 // the most chunks a second of any card in the history
}

// roomy is the height below which the line of keys is not worth its place.
const roomy = 6

func (p *picture) draw(a area) {
	p.title(a.row(0))
	body := a.rest(1)
	if a.h >= roomy {
		p.keys(a.row(a.h - 1))
		body = a.sub(0, 1, a.w, a.h-2)
	}
	switch p.Page {
	case CardPage:
		p.cardPage(body)
	case StripePage:
		p.stripePage(body)
	case EventsPage:
		p.eventsPage(body)
	case HelpPage:
		p.helpPage(body)
	default:
		p.overview(body)
	}
}

// title is the headline: what is watched, how its cards are, and when.
func (p *picture) title(a area) {
	a.fill(headFill)
	end := a.w
	when := clock(p.Time) + " "
	if p.Status != "" {
		when = p.Status + "  " + when
	}
	if a.w >= 30 {
		end = a.w - runesWidth(when) - 1
		a.right(a.w, 0, headFill, when)
	}
	name := p.Name
	if a.w >= 60 {
		name = strings.TrimSpace("Rozobox " + name)
	}
	parts := []span{{headFill, " " + name}}
	if len(p.Cards) == 0 {
		parts = append(parts, span{headFill, "no cards"})
	}
	for _, state := range []string{metrics.Unavailable, metrics.Working, metrics.Idle} {
		if n := p.cardsIn(state); n > 0 {
			parts = append(parts, span{headFill, fmt.Sprintf("%d %s", n, state)})
		}
	}
	a.sub(0, 0, end, 1).parts(0, 0, parts...)
}

func (p *picture) cardsIn(state string) (n int) {
	for i := range p.Cards {
		if p.Cards[i].State == state {
			n++
		}
	}
	return n
}

// keys is the last line: what one can press.
func (p *picture) keys(a area) {
	var parts []span
	add := func(key, help string) { parts = append(parts, span{note, key + " " + help}) }
	for _, k := range p.Keys {
		if p.Page == CardsPage || p.Page == CardPage {
			add(k.name(), k.Help)
		}
	}
	if p.Page != CardsPage {
		add("esc", "back")
	}
	add("?", "help")
	add("q", "quit")
	if p.Status != "" {
		add("space", "pause")
		add("+ -", "speed")
	}
	switch p.Page {
	case CardsPage:
		add("enter", "card")
		add("t", "stripe")
		add("e", "events")
		add("arrows", "choose")
	case CardPage:
		add("arrows", "next card")
		add("t", "stripe")
	case StripePage:
		add("arrows", "other block")
		add("enter", "follow the stream")
		add("tab", "other volume")
	case EventsPage:
		add("arrows", "older, newer")
	}
	a.parts(1, 0, parts...)
}
