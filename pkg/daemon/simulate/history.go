package simulate

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/chunkrpc"
	"rozobox/pkg/cluster"
)

// Options are the manner of a history. The zero value of each is a default.
type Options struct {
	// Over is the transport between gateway and nodes; empty: none, they meet in
	// memory.
	Over chunkrpc.Transport

	// Nodes is how many there are; 0: drawn by the seed, mostly 8.
	Nodes int

	// Only names the one mishap that happens; empty: all do.
	Only string

	// Faults is for how long faults happen, in the bubble's time. Default 20 s.
	Faults time.Duration
}

const (
	defaultFaults = 20 * time.Second
	clientCount   = 3
)

// Report is what became of a history.
type Report struct {
	Seed     uint64
	Case     string // of the crash matrix
	Failures []string
	Journal  []string
	Requests map[string]int // by kind and outcome
	Faults   map[string]int // by kind
	Lossy    int            // openings that may have lost replied writes
}

// history is one run of the simulator.
type history struct {
	*shelf
	model *model
	rng   *rand.Rand // of the schedule: one goroutine uses it
	limit int        // how many nodes may be ailing at once

	mishaps   []mishap // what may happen
	writeback bool     // gateways reply before their nodes do

	found time.Duration // how long it takes to find that a node is well again

	fates   func() chunktest.Fate
	fateMu  sync.Mutex // guards fateRng
	fateRng *rand.Rand

	starts      int // of gateways
	incarnation uint32
	lossy       int
	stopClients chan struct{}
	paused      atomic.Bool    // a gateway is
	tasks       sync.WaitGroup // clients and the watchman
	cures       sync.WaitGroup // of mishaps that pass

	mu      sync.Mutex // guards all below
	serving []*gateway // in order of opening
	short   time.Time  // when too few nodes were last well
	full    time.Time  // when a card was last full
	tally   map[string]int
	faults  map[string]int
}

// Run plays the history of a seed in a bubble of its own. t serves to begin
// the bubble; what went wrong is in the report alone.
func Run(t *testing.T, seed uint64, opts Options) *Report {
	var report *Report
	synctest.Test(t, func(t *testing.T) {
		defer repeatable(seed)()
		h := newHistory(seed, opts)
		h.play(t.Context(), opts)
		h.fabric.close()
		report = &Report{
			Seed: seed, Failures: h.failures, Journal: h.lines,
			Requests: h.tally, Faults: h.faults, Lossy: h.lossy,
		}
	})
	return report
}

func newHistory(seed uint64, opts Options) *history {
	rng := rand.New(rand.NewPCG(seed, 1))
	n := opts.Nodes
	if n == 0 {
		n = []int{8, 8, 8, 8, 6, 7, 9, 8}[rng.IntN(8)]
	}
	h := &history{
		shelf: newShelf(&journal{start: time.Now()}, n),
		model: newModel(blocks * blockSize), rng: rng,
		limit:       []int{1, 2, 2, 2, 3, n}[rng.IntN(6)],
		writeback:   seed%5 == 4,
		fateRng:     rand.New(rand.NewPCG(seed, 2)),
		mishaps:     mishaps(opts.Only),
		stopClients: make(chan struct{}),
		found:       foundInMemory,
		tally:       map[string]int{}, faults: map[string]int{},
	}
	if rng.IntN(2) == 0 {
		h.fates = h.drawFate
	}
	if opts.Over != "" {
		h.fabric, h.found = newWired(h.shelf, opts.Over, h.fates), foundOverNetwork
	}
	h.note("seed %d: %d nodes over %s, up to %d ailing at once, strays %v, writeback %v",
		seed, n, cmp.Or(opts.Over, "memory"), h.limit, h.fates != nil, h.writeback)
	return h
}

// play runs the whole history.
func (h *history) play(ctx context.Context, opts Options) {
	if opts.Faults == 0 {
		opts.Faults = defaultFaults
	}
	if err := h.create(ctx); err != nil {
		h.fail("create: %v", err)
		return
	}
	if _, err := h.open(ctx); err != nil {
		h.fail("open: %v", err)
		return
	}
	h.tasks.Go(h.watch)
	for i := range clientCount {
		c := &client{h, rand.New(rand.NewPCG(h.rng.Uint64(), uint64(i)))}
		h.tasks.Go(c.run)
	}
	for end := time.Now().Add(opts.Faults); time.Now().Before(end) && !h.failed(); {
		time.Sleep(time.Duration(h.rng.IntN(1500)) * time.Millisecond)
		h.mishap(ctx)
	}
	h.note("no more faults")
	h.calm.Store(true)
	h.cures.Wait()
	close(h.stopClients)
	h.tasks.Wait()
	h.finish(ctx)
}

// watch looks out for moments at which clients may see errors.
func (h *history) watch() {
	for {
		select {
		case <-h.stopClients:
			return
		case <-time.After(20 * time.Millisecond):
		}
		if h.paused.Load() || h.unwell()+worst(h.damaged()) > parity {
			h.mu.Lock()
			h.short = time.Now()
			h.mu.Unlock()
		}
	}
}

// unwell counts the nodes that ail, or are not in.
func (h *history) unwell() (n int) {
	var states []cluster.Member
	if g := h.current(); g != nil {
		states = g.array.Status().Superblock.Nodes
	}
	h.shelf.mu.Lock()
	defer h.shelf.mu.Unlock()
	for i, node := range h.nodes {
		if node.harm != (harm{}) || i < len(states) && states[i].State != cluster.In {
			n++
		}
	}
	return n
}

// How long it may take to find that a node is well again. Over a network an
// attempt to connect may have to end first, and a lost packet be sent again.
const (
	foundInMemory    = 2 * time.Second
	foundOverNetwork = 8 * time.Second
)

// wasShort reports whether too few nodes were well at any time since began, or
// shortly before: a node that is well must be found so first.
func (h *history) wasShort(began time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.short.After(began.Add(-h.found))
}

// wasFull is the same for room on the cards, of which a node that ails may tell
// late.
func (h *history) wasFull(began time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.full.After(began.Add(-longestAilment - h.found))
}

func (h *history) count(what string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		what += " failed"
	}
	h.tally[what]++
}

// String returns the report for people.
func (r *Report) String() string {
	return fmt.Sprintf("seed %d: requests %v, faults %v, lossy openings %d, failures %d",
		r.Seed, r.Requests, r.Faults, r.Lossy, len(r.Failures))
}
