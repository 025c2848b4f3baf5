package simulate

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/cluster"
	"rozobox/pkg/stripe"
)

const (
	blockSize = 4096
	blocks    = 32 // few, so that requests meet
	data      = 4
	parity    = 2
	perBlock  = blockSize / sectorSize
	sectors   = blocks * perBlock
)

func geometry() cluster.Geometry {
	return cluster.Geometry{
		Size: blocks * blockSize, BlockSize: blockSize, Data: data, Parity: parity, Extent: 1,
	}
}

// journal is what a human reads when a history has failed. Its times are those
// of the bubble.
type journal struct {
	start time.Time

	mu       sync.Mutex // guards all below
	lines    []string
	failures []string
}

// journalLines bounds what is kept: the end of a history is what matters.
const journalLines = 3000

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	line := fmt.Sprintf("%9.4fs  %s", time.Since(j.start).Seconds(), fmt.Sprintf(format, args...))
	j.lines = append(j.lines, line)
	if len(j.lines) > journalLines {
		j.lines = j.lines[len(j.lines)-journalLines/2:]
	}
}

// fail notes that the history has gone wrong.
func (j *journal) fail(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	j.note("FAILURE %s", what)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.failures = append(j.failures, what)
}

func (j *journal) failed() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.failures) > 0
}

// logger writes what a gateway logs into the journal.
func (j *journal) logger(gateway string) *slog.Logger {
	return slog.New(slog.NewTextHandler(&lineWriter{j, gateway}, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "volume" {
				return slog.Attr{}
			}
			return a
		},
	}))
}

type lineWriter struct {
	*journal
	gateway string
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.note("gateway %s: %s", w.gateway, strings.TrimSpace(string(p)))
	return len(p), nil
}

// harm is what ails a node for a while. It is the same for all gateways.
type harm struct {
	cut    bool // it is dead: its connections are closed
	parted bool // it lives, but nothing passes
	mute   bool // requests do not arrive
	deaf   bool // replies do not
	frozen bool // it does nothing of what has arrived
	slow   time.Duration
}

// node is one machine with its card.
type node struct {
	id    chunk.NodeID
	store *chunktest.Memory
	image *chunktest.Image // an old image of its card, kept for a mishap

	harm harm // guarded by shelf.mu

	// late is how much later what repair changes arrives here.
	late atomic.Int64
}

// shelf is all the nodes, and every link to them.
type shelf struct {
	*journal
	nodes  []*node
	volume chunk.VolumeID

	fabric fabric

	// between, where set, stands between the links to a node and its store, in
	// memory.
	between func(node int, store chunk.Store) chunk.Store

	calm atomic.Bool // no request is late any more

	mu  sync.Mutex // guards all, what is paused and hushed of it, and harm of nodes
	all []*lines
}

// lines are the ways of one gateway to all nodes.
type lines struct {
	ways   []way
	nodes  []stripe.Node // what they lead to, as stripe wants them
	paused bool          // the gateway is: nothing passes
	hushed bool          // it is dead: nothing of it passes any more
}

func newShelf(j *journal, n int) *shelf {
	s := &shelf{journal: j}
	for i := range n {
		id := chunk.NodeID(fmt.Sprintf("n%d", i))
		s.nodes = append(s.nodes, &node{id: id, store: chunktest.NewMemory(id)})
	}
	s.fabric = direct{s}
	return s
}

// connect makes the ways of one gateway. fates may be nil.
func (s *shelf) connect(fates func() chunktest.Fate) *lines {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &lines{}
	for i, n := range s.nodes {
		w := s.fabric.connect(i, fates)
		w.suffer(n.harm)
		front, back := w.node()
		l.ways = append(l.ways, w)
		l.nodes = append(l.nodes, stripe.Node{ID: n.id, Store: front, Background: back})
	}
	s.all = append(s.all, l)
	return l
}

// disconnect closes the ways of a gateway that has ended.
func (s *shelf) disconnect(l *lines) {
	s.mu.Lock()
	s.all = slices.DeleteFunc(s.all, func(other *lines) bool { return other == l })
	s.mu.Unlock()
	for _, w := range l.ways {
		w.close()
	}
}

// pause stops a gateway's world, or lets it go on.
func (s *shelf) pause(l *lines, paused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.paused = paused
	s.applyLocked(l)
}

// hush loses all that a gateway still says.
func (s *shelf) hush(l *lines) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.hushed = true
	s.applyLocked(l)
}

func (s *shelf) applyLocked(l *lines) {
	for i, n := range s.nodes {
		l.apply(i, n.harm)
	}
}

// apply makes the way to a node feel what ails it, and the gateway.
func (l *lines) apply(i int, h harm) {
	h.frozen = h.frozen || l.paused
	h.parted = h.parted || l.hushed
	l.ways[i].suffer(h)
}

// afflict changes what ails a node.
func (s *shelf) afflict(i int, h harm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[i].harm = h
	s.fabric.suffer(i, h)
	for _, l := range s.all {
		l.apply(i, h)
	}
}

// stop takes a node's power, whatever else ails it; start it again with afflict.
func (s *shelf) stop(i int, lose func(unsynced int) (keep int)) {
	n := s.nodes[i]
	s.mu.Lock()
	h := n.harm
	s.mu.Unlock()
	h.cut = true
	s.afflict(i, h)
	unsynced := len(n.store.Unsynced())
	keep := lose(unsynced)
	n.store.Crash(keep)
	s.note("%s loses power and %d of %d unsynced changes", n.id, unsynced-keep, unsynced)
}

// create makes the volume, over nodes that are all well.
func (s *shelf) create(ctx context.Context) error {
	s.calm.Store(true)
	defer s.calm.Store(false)
	l := s.connect(nil)
	defer s.disconnect(l)
	id, err := stripe.Create(ctx, stripe.Options{Nodes: l.nodes, Clock: s.clock(0)}, "simulated", geometry())
	s.volume = id
	return err
}

// clock is a gateway's clock, which began so much earlier.
func (s *shelf) clock(ahead time.Duration) func() time.Duration {
	return func() time.Duration { return ahead + time.Since(s.start) + time.Second }
}

// damaged counts, for each block, the chunks that are damaged somewhere.
func (s *shelf) damaged() map[uint64]int {
	count := map[uint64]int{}
	for _, n := range s.nodes {
		for _, block := range n.store.Damaged(s.volume) {
			count[block]++
		}
	}
	return count
}

// loss returns how many changes survive, drawn evenly.
func loss(rng *rand.Rand) func(int) int {
	return func(unsynced int) int { return rng.IntN(unsynced + 1) }
}
