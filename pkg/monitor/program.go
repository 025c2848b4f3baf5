package monitor

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"rozobox/pkg/metrics"
)

const (
	// redrawEvery is the least time between two snapshots on the screen, unless
	// a card's state has changed: more often nobody can read.
	redrawEvery = 250 * time.Millisecond
	// framesPerSecond bounds how often the terminal is written to; a key must
	// be answered sooner than a snapshot.
	framesPerSecond = 20
	// maxHistory is how many samples the little bars go back: the widest
	// chart of a common screen, and four minutes of them.
	maxHistory = 240
	// manyBlocks is how many blocks the up and down arrows move.
	manyBlocks = 64
)

// Options says what Run shows. Source is required.
type Options struct {
	// Source has the snapshots, as often as they are taken. When it is
	// closed, the last one stays on the screen.
	Source <-chan metrics.Cluster

	// Ask chooses the stripe of the snapshots to come: that of the block at an
	// offset of a volume; with an empty volume, the one that was read last. It
	// must return at once. Without it the stripe view shows what it gets.
	Ask func(volume string, offset int64)

	Keys   []Key   // of a demonstration
	Player *Player // of a recording: space, + and - control it

	Input  io.Reader // nil: the terminal
	Output io.Writer // nil: the terminal
}

// Run shows the monitor until the user quits or ctx ends.
func Run(ctx context.Context, opts Options) error {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	program := tea.NewProgram(newModel(opts), programOptions(running, opts)...)
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		feed(running, opts.Source, func(batch []metrics.Cluster) { program.Send(snapshots(batch)) },
			func() { program.Send(over{}) })
	}()
	_, err := program.Run()
	cancel()
	<-fed
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("monitor: %w", err)
	}
	return nil
}

func programOptions(ctx context.Context, opts Options) []tea.ProgramOption {
	all := []tea.ProgramOption{
		tea.WithContext(ctx), tea.WithAltScreen(), tea.WithFPS(framesPerSecond),
		tea.WithoutSignalHandler(), // ctx ends on signals
	}
	if opts.Input != nil {
		all = append(all, tea.WithInput(opts.Input))
	}
	if opts.Output != nil {
		all = append(all, tea.WithOutput(opts.Output))
	}
	return all
}

type (
	snapshots []metrics.Cluster // the oldest first
	over      struct{}          // there are no more
)

// feed hands over what source has, no more often than redrawEvery: several at
// a time if they come faster.
func feed(ctx context.Context, source <-chan metrics.Cluster, send func([]metrics.Cluster), end func()) {
	var batch []metrics.Cluster
	var due <-chan time.Time // nil: send at once
	var states []string      // of the cards as they were last sent
	for {
		select {
		case c, ok := <-source:
			if !ok {
				if len(batch) > 0 {
					send(batch)
				}
				end()
				return
			}
			batch = append(batch[max(0, len(batch)-maxHistory):], c)
			if now := statesOf(&c); !slices.Equal(now, states) {
				states, due = now, nil
			}
		case <-due:
			due = nil
		case <-ctx.Done():
			return
		}
		if due == nil && len(batch) > 0 {
			send(batch)
			batch = nil
			due = time.After(redrawEvery)
		}
	}
}

func statesOf(c *metrics.Cluster) (states []string) {
	for i := range c.Cards {
		states = append(states, c.Cards[i].State)
	}
	return states
}

// model is the state of the program: a snapshot, and how it is looked at.
type model struct {
	opts          Options
	view          View
	now           *metrics.Cluster // nil: none came yet
	ended         bool
	width, height int
	asked         place // the stripe asked for; no volume: what is read last
}

// place is a block of a volume, by the offset of its first byte.
type place struct {
	volume string
	offset int64
}

func newModel(opts Options) *model {
	// 80x24 is the size of a terminal that tells none.
	return &model{opts: opts, width: 80, height: 24, view: View{
		Keys: opts.Keys, Color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}}
}

func (m *model) Init() tea.Cmd { return nil }

func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case snapshots:
		m.take(msg)
	case over:
		m.ended = true
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyMsg:
		for _, key := range keysOf(msg) {
			if m.key(key) {
				return m, tea.Quit
			}
		}
	}
	return m, nil
}

// keysOf returns the keys of a message: those that are typed fast come in one,
// and one that is typed right after Escape looks as if it were held with Alt.
func keysOf(msg tea.KeyMsg) (keys []string) {
	switch {
	case msg.Paste:
		return nil // a mouse's slip should unplug no card
	case msg.Type != tea.KeyRunes:
		return []string{msg.String()}
	case msg.Alt:
		keys = append(keys, "esc")
	}
	for _, r := range msg.Runes {
		keys = append(keys, string(r))
	}
	return keys
}

// take makes the newest snapshot the current one.
func (m *model) take(batch []metrics.Cluster) {
	for i := range batch {
		if m.now != nil {
			old := *m.now
			old.Events, old.Stripe = nil, nil // no chart needs them
			m.view.History = append(m.view.History, old)
		}
		m.now = &batch[i]
	}
	if extra := len(m.view.History) - maxHistory; extra > 0 {
		m.view.History = append([]metrics.Cluster(nil), m.view.History[extra:]...)
	}
}

func (m *model) View() string {
	if m.now == nil {
		text := "Waiting for the first figures ..."
		if m.ended {
			text = "There is nothing to show."
		}
		c := newCanvas(m.width, m.height)
		c.area().text(1, min(1, m.height-1), plain, text)
		return c.String(false)
	}
	view := m.view
	if m.opts.Player != nil {
		view.Status = m.opts.Player.Status()
	}
	if m.ended {
		view.Status = "end"
	}
	return Render(m.now, view, m.width, m.height)
}

// key answers a key, and reports whether it ends the program.
func (m *model) key(key string) (quit bool) {
	switch {
	case key == "q" || key == "ctrl+c":
		return true
	case m.now == nil:
		return false
	case m.demoKey(key), m.playerKey(key):
		return false
	}
	switch key {
	case "esc", "backspace":
		m.open(CardsPage)
	case "?":
		m.open(HelpPage)
	case "e":
		m.open(EventsPage)
	case "s", "t":
		m.open(StripePage)
		m.follow()
	default:
		m.pageKey(key)
	}
	return false
}

// open turns to a page, or back from it.
func (m *model) open(p Page) {
	if m.view.Page == p {
		p = CardsPage
	}
	m.view.Page, m.view.Scroll = p, 0
}

// demoKey calls a demonstration's own keys, which go before others.
func (m *model) demoKey(key string) bool {
	if m.view.Page != CardsPage && m.view.Page != CardPage || len(m.now.Cards) == 0 {
		return false
	}
	for _, k := range m.opts.Keys {
		if k.Key == key {
			k.Do(m.now.Cards[m.selected()].ID)
			return true
		}
	}
	return false
}

func (m *model) playerKey(key string) bool {
	p := m.opts.Player
	if p == nil {
		return false
	}
	switch key {
	case " ":
		p.Pause()
	case "+", "=":
		p.Faster(2)
	case "-":
		p.Faster(0.5)
	default:
		return false
	}
	return true
}

func (m *model) pageKey(key string) {
	dx, dy := direction(key)
	switch m.view.Page {
	case CardsPage:
		m.step(dx, dy)
		if key == "enter" {
			m.open(CardPage)
		}
	case CardPage:
		m.view.Selected = between(m.selected()+dx+dy, 0, max(0, len(m.now.Cards)-1))
	case StripePage:
		m.stripeKey(key, dx, dy)
	case EventsPage:
		if key == "pgup" || key == "pgdown" {
			dy *= max(1, m.height-4)
		}
		m.view.Scroll = between(m.view.Scroll-dy, 0, max(0, len(m.now.Events)-m.height+3))
	}
}

func direction(key string) (dx, dy int) {
	switch key {
	case "left", "h":
		return -1, 0
	case "right", "l":
		return 1, 0
	case "up", "k", "pgup":
		return 0, -1
	case "down", "j", "pgdown":
		return 0, 1
	}
	return 0, 0
}

func (m *model) selected() int { return between(m.view.Selected, 0, max(0, len(m.now.Cards)-1)) }

// step moves to the card beside, above or below, as they are laid out.
func (m *model) step(dx, dy int) {
	n := len(m.now.Cards)
	across, down := steps(n, m.width, m.height-2)
	to := m.selected() + dx*across + dy*down
	if to >= 0 && to < n {
		m.view.Selected = to
	}
}

// stripeKey chooses another block to look at, or to follow the stream again.
func (m *model) stripeKey(key string, dx, dy int) {
	switch {
	case key == "enter":
		m.follow()
	case key == "tab":
		m.nextVolume()
	case dx != 0 || dy != 0:
		m.otherBlock(int64(dx + manyBlocks*dy))
	}
}

func (m *model) follow() { m.ask(place{}) }

func (m *model) ask(p place) {
	m.asked = p
	if m.opts.Ask != nil {
		m.opts.Ask(p.volume, p.offset)
	}
}

// at returns the block that is looked at, or will be.
func (m *model) at() place {
	if s := m.now.Stripe; m.asked.volume == "" && s != nil {
		return place{s.Volume, s.Offset}
	}
	return m.asked
}

func (m *model) nextVolume() {
	all := m.now.Volumes
	if len(all) == 0 {
		return
	}
	i := slices.IndexFunc(all, func(v metrics.Volume) bool { return v.Name == m.at().volume })
	m.ask(place{volume: all[(i+1)%len(all)].Name})
}

// otherBlock asks for the block so many blocks further on.
func (m *model) otherBlock(blocks int64) {
	at := m.at()
	for i := range m.now.Volumes {
		if v := &m.now.Volumes[i]; v.Name == at.volume {
			size := int64(v.BlockSizeBytes)
			at.offset = min(max(0, at.offset+blocks*size), max(0, v.SizeBytes-size))
			m.ask(at)
			return
		}
	}
}
