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
	cut, parted, deaf, frozen bool // parted: there is no connection, but the node lives
	slow                      time.Duration
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

	// between, where set, stands between the links to a node and its store.
	between func(node int, store chunk.Store) chunk.Store

	calm atomic.Bool // no request is late any more

	mu  sync.Mutex // guards all, all.paused, and harm of nodes
	all []*lines
}

// lines are the links of one gateway to all nodes.
type lines struct {
	links  [][2]*chunktest.Link // to each node, for clients and for the background
	nodes  []stripe.Node        // the same, as stripe wants them
	paused bool                 // the gateway is: nothing passes
}

func newShelf(j *journal, n int) *shelf {
	s := &shelf{journal: j}
	for i := range n {
		id := chunk.NodeID(fmt.Sprintf("n%d", i))
		s.nodes = append(s.nodes, &node{id: id, store: chunktest.NewMemory(id)})
	}
	return s
}

// connect makes the links of one gateway. fates may be nil. Nothing is doubled
// in the background: what clients wrote is sent again until it is acknowledged,
// and so may come twice; what repair does is sent once, but may be under way for
// longer than anybody waits.
func (s *shelf) connect(fates func() chunktest.Fate) *lines {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &lines{}
	for i, n := range s.nodes {
		var store chunk.Store = n.store
		if s.between != nil {
			store = s.between(i, store)
		}
		front := &chunktest.Link{Store: store, Fates: fates}
		back := &chunktest.Link{Store: store, Fates: func() (f chunktest.Fate) {
			if fates != nil {
				f = fates()
				f.Late, f.Again = 3*f.Again, 0
			}
			if s.calm.Load() {
				f.Late = 0
			}
			if late := n.late.Load(); late > 0 {
				f.Late, f.Adrift = time.Duration(late), true
			}
			return f
		}}
		l.links = append(l.links, [2]*chunktest.Link{front, back})
		l.nodes = append(l.nodes, stripe.Node{ID: n.id, Store: front, Background: back})
		l.apply(i, n.harm)
	}
	s.all = append(s.all, l)
	return l
}

// disconnect closes the links of a gateway that has ended.
func (s *shelf) disconnect(l *lines) {
	s.mu.Lock()
	s.all = slices.DeleteFunc(s.all, func(other *lines) bool { return other == l })
	s.mu.Unlock()
	for _, pair := range l.links {
		pair[0].Close()
		pair[1].Close()
	}
}

// pause stops a gateway's world, or lets it go on.
func (s *shelf) pause(l *lines, paused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.paused = paused
	for i := range l.links {
		h := s.nodes[i].harm
		h.frozen = h.frozen || paused
		l.apply(i, h)
	}
}

func (l *lines) apply(n int, h harm) {
	for _, link := range l.links[n] {
		h.apply(link, n)
	}
}

// apply makes a link feel what ails its node. Each link takes a time of its
// own, so that messages that are sent together do not arrive together.
func (h harm) apply(l *chunktest.Link, n int) {
	l.Delay(time.Millisecond + time.Duration(n)*10*time.Microsecond + h.slow)
	if !h.cut && !h.parted && !h.frozen && !h.deaf {
		l.Heal()
	}
	if h.cut {
		l.Cut()
	}
	if h.parted {
		l.Part()
	}
	if h.frozen {
		l.Freeze()
	}
	if h.deaf {
		l.LoseReplies()
	}
}

// afflict changes what ails a node.
func (s *shelf) afflict(i int, h harm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[i].harm = h
	for _, l := range s.all {
		if h.cut || h.parted || !l.paused {
			l.apply(i, h)
		}
	}
}

// stop cuts a node off and takes its power; start it again with afflict.
func (s *shelf) stop(i int, lose func(unsynced int) (keep int)) {
	s.afflict(i, harm{cut: true})
	n := s.nodes[i]
	unsynced := len(n.store.Unsynced())
	keep := lose(unsynced)
	n.store.Crash(keep)
	s.note("%s loses power and %d of %d unsynced changes", n.id, unsynced-keep, unsynced)
}

// create makes the volume, over nodes that are all well.
func (s *shelf) create(ctx context.Context) error {
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
