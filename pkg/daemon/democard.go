package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunkrpc"
	"rozobox/pkg/metrics/host"
)

// Action is what a lesson does to a card of the demo.
type Action string

// The actions.
const (
	Unplug Action = "unplug" // its network cable: neither end is told
	Freeze Action = "freeze" // it keeps its connections, and answers nothing
	Slow   Action = "slow"   // each answer takes slowDelay longer
	Wipe   Action = "wipe"   // it is unplugged and emptied: another card
	Plug   Action = "plug"   // undoes all these, but what was wiped is gone
)

// Actions returns them all.
func Actions() []Action { return []Action{Unplug, Freeze, Slow, Wipe, Plug} }

// past says of each action what was done to the card.
var past = map[Action]string{
	Unplug: "unplugged by hand", Freeze: "frozen by hand", Slow: "slowed down by hand",
	Wipe: "unplugged and wiped by hand", Plug: "plugged in by hand",
}

// slowDelay is far beyond what a card that is only busy takes, and short of what
// makes it unavailable.
const slowDelay = 400 * time.Millisecond

// demoCard is a chunk server of the demo and its card.
type demoCard struct {
	config  *ChunkserverConfig
	machine *host.Sampler
	logger  *slog.Logger
	server  *chunkserver
	lesson  lesson

	mu  sync.Mutex         // guards end
	end context.CancelFunc // ends the server that runs; nil before there is one
}

// open opens the card's chunk server.
func (c *demoCard) open() (err error) {
	c.server, err = openChunkserver(c.config, c.machine, &c.lesson, c.logger)
	return err
}

// run serves until ctx ends, and goes on with an empty card when it was wiped.
func (c *demoCard) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, c.lesson.hand.let)() // or the server waits for what is held
	for {
		serving, end := context.WithCancel(ctx)
		c.setEnd(end)
		err := c.server.run(serving)
		end()
		if err != nil || ctx.Err() != nil {
			return err
		}
		if err := os.RemoveAll(c.config.Data); err != nil {
			return fmt.Errorf("wipe card %s: %w", c.config.ID, err)
		}
		if err := c.open(); err != nil {
			return fmt.Errorf("begin again on the wiped card %s: %w", c.config.ID, err)
		}
	}
}

func (c *demoCard) setEnd(end context.CancelFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = end
}

// act does something to the card, and returns at once.
func (c *demoCard) act(a Action) {
	switch a {
	case Unplug:
		c.lesson.cable.Pull()
	case Freeze:
		c.lesson.hand.hold()
	case Slow:
		c.lesson.hand.delay(slowDelay)
	case Wipe:
		c.lesson.cable.Pull()
		c.lesson.hand.let()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.end()
	case Plug:
		c.lesson.hand.let()
		c.lesson.cable.Plug()
	}
}

// mayWipe reports whether the card's folder is the demo's own.
func (c *demoCard) mayWipe(dir string) bool {
	own := filepath.Join(dir, c.config.ID)
	return filepath.Dir(c.config.Data) == own
}

// lesson is what a chunk server can be put through. Nil is nothing.
type lesson struct {
	cable chunkrpc.Cable
	hand  hand
}

func (l *lesson) over(s chunk.Store) chunk.Store {
	if l == nil {
		return s
	}
	return inHand{s, &l.hand}
}

func (l *lesson) end() *chunkrpc.Cable {
	if l == nil {
		return nil
	}
	return &l.cable
}

// hand holds a card's store back.
type hand struct {
	mu   sync.Mutex    // guards all below
	held chan struct{} // closed when it lets go; nil while it does not hold
	late time.Duration // of each request
}

// hold freezes the store until let.
func (h *hand) hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held == nil {
		h.held = make(chan struct{})
	}
}

func (h *hand) delay(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.late = d
}

// let undoes hold and delay.
func (h *hand) let() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held != nil {
		close(h.held)
	}
	h.held, h.late = nil, 0
}

// wait keeps a request for as long as the store is held, and for the delay.
func (h *hand) wait(ctx context.Context) error {
	h.mu.Lock()
	held, late := h.held, h.late
	h.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
		}
	}
	if late > 0 {
		pause(ctx, late)
	}
	return context.Cause(ctx)
}

// inHand is a store that a hand may hold back.
type inHand struct {
	chunk.Store
	hand *hand
}

// Hello implements chunk.Office.
func (s inHand) Hello(ctx context.Context) (h chunk.Hello, err error) {
	if err := s.hand.wait(ctx); err != nil {
		return h, err
	}
	return s.Store.Hello(ctx)
}

// Grant implements chunk.Office.
func (s inHand) Grant(
	ctx context.Context, v chunk.VolumeID, epoch uint32, nonce uint64,
) (g chunk.Granted, err error) {
	if err := s.hand.wait(ctx); err != nil {
		return g, err
	}
	return s.Store.Grant(ctx, v, epoch, nonce)
}

// Beat implements chunk.Office.
func (s inHand) Beat(ctx context.Context, term chunk.Term) (p chunk.Pulse, err error) {
	if err := s.hand.wait(ctx); err != nil {
		return p, err
	}
	return s.Store.Beat(ctx, term)
}

// Superblock implements chunk.Office.
func (s inHand) Superblock(ctx context.Context, v chunk.VolumeID) (sb chunk.Superblock, err error) {
	if err := s.hand.wait(ctx); err != nil {
		return sb, err
	}
	return s.Store.Superblock(ctx, v)
}

// PutSuperblock implements chunk.Office.
func (s inHand) PutSuperblock(ctx context.Context, term chunk.Term, sb chunk.Superblock) error {
	if err := s.hand.wait(ctx); err != nil {
		return err
	}
	return s.Store.PutSuperblock(ctx, term, sb)
}

// Write implements chunk.Data.
func (s inHand) Write(ctx context.Context, term chunk.Term, ops []chunk.Op) (a chunk.Ack, err error) {
	if err := s.hand.wait(ctx); err != nil {
		return a, err
	}
	return s.Store.Write(ctx, term, ops)
}

// Read implements chunk.Data.
func (s inHand) Read(ctx context.Context, term chunk.Term, gets []chunk.Get) ([]chunk.Chunk, error) {
	if err := s.hand.wait(ctx); err != nil {
		return nil, err
	}
	return s.Store.Read(ctx, term, gets)
}

// Sync implements chunk.Data.
func (s inHand) Sync(ctx context.Context, term chunk.Term) (a chunk.Ack, err error) {
	if err := s.hand.wait(ctx); err != nil {
		return a, err
	}
	return s.Store.Sync(ctx, term)
}

// List implements chunk.Catalog.
func (s inHand) List(
	ctx context.Context, term chunk.Term, req chunk.ListRequest,
) (entries []chunk.Entry, more bool, err error) {
	if err := s.hand.wait(ctx); err != nil {
		return nil, false, err
	}
	return s.Store.List(ctx, term, req)
}

// Stat implements chunk.Catalog.
func (s inHand) Stat(ctx context.Context) (st chunk.Stat, err error) {
	if err := s.hand.wait(ctx); err != nil {
		return st, err
	}
	return s.Store.Stat(ctx)
}
