package simulate

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/chunk"
)

// ending is what else happens at the cut.
type ending struct {
	name   string
	killed bool // the gateway dies with the nodes, another one opens
	forget bool // the nodes that die lose what they had not synced
	power  bool // and so do all others
}

var endings = [...]ending{
	{name: "gateway goes on"},
	{name: "and nodes forget", forget: true},
	{name: "gateway killed", killed: true},
	{name: "and nodes forget", killed: true, forget: true},
	{name: "power out", killed: true, forget: true, power: true},
}

// crash is one case of the crash matrix: after so many messages that change
// something these nodes die, and the gateway does or not.
type crash struct {
	block int // that the history is about: its chunks arrive in an order of their own
	cut   int64
	dead  []int
	ending
}

func (c crash) String() string {
	return fmt.Sprintf("block %d, cut %d, dead %v, %+v", c.block, c.cut, c.dead, c.ending)
}

const matrixNodes = 8

// script is the history of the matrix: two writes to one block, a flush, a
// partial overwrite, a trim, a flush.
var script = [...]func(c *client, ctx context.Context, g *gateway, first int) error{
	writeWhole, writeWhole, flushAll,
	func(c *client, ctx context.Context, g *gateway, first int) error {
		return c.write(ctx, g, first+2, 3, false)
	},
	func(c *client, ctx context.Context, g *gateway, first int) error {
		return c.trim(ctx, g, first, perBlock, false)
	},
	flushAll,
}

func writeWhole(c *client, ctx context.Context, g *gateway, first int) error {
	return c.write(ctx, g, first, perBlock, false)
}

func flushAll(c *client, ctx context.Context, g *gateway, _ int) error { return c.flush(ctx, g) }

// Matrix plays every step-th case of the crash matrix, prints it as a table,
// and returns what failed.
func Matrix(t *testing.T, w io.Writer, step int) []*Report {
	cuts := int64(0)
	for block := range blocks {
		r, messages := play(t, crash{block: block, cut: math.MaxInt64})
		if len(r.Failures) > 0 {
			return []*Report{r}
		}
		cuts = max(cuts, messages)
	}
	var failed []*Report
	var cases, failures tally
	number := 0
	for cut := range cuts + 1 {
		for _, dead := range deadSets() {
			for e, ending := range endings {
				if number++; number%step != 0 {
					continue
				}
				cases[len(dead)][e]++
				if r, _ := play(t, crash{number % blocks, cut, dead, ending}); len(r.Failures) > 0 {
					failures[len(dead)][e]++
					failed = append(failed, r)
				}
			}
		}
	}
	table(w, cuts, cases, failures)
	return failed
}

// deadSets returns every set of at most m nodes.
func deadSets() [][]int {
	sets := [][]int{nil}
	for i := range matrixNodes {
		sets = append(sets, []int{i})
		for j := range i {
			sets = append(sets, []int{j, i})
		}
	}
	return sets
}

// tally counts cases by the number of nodes that are dead.
type tally [parity + 1][len(endings)]int

func table(w io.Writer, cuts int64, cases, failures tally) {
	fmt.Fprintf(w, "crash matrix: %d nodes, %d+%d, %d cut points; cases (failures)\n", matrixNodes, data, parity, cuts+1)
	fmt.Fprintf(w, "%-12s", "nodes dead")
	for _, e := range endings {
		fmt.Fprintf(w, "%20s", e.name)
	}
	for dead := range cases {
		fmt.Fprintf(w, "\n%-12d", dead)
		for e := range endings {
			fmt.Fprintf(w, "%20s", fmt.Sprintf("%d (%d)", cases[dead][e], failures[dead][e]))
		}
	}
	fmt.Fprintln(w)
}

// play plays one case in a bubble, and returns how many messages there were.
func play(t *testing.T, c crash) (report *Report, messages int64) {
	synctest.Test(t, func(t *testing.T) {
		defer repeatable(1)()
		h := newHistory(1, Options{Nodes: matrixNodes})
		h.fates = nil
		h.note("case: %s", c)
		m := &matrix{history: h, crash: c, reached: make(chan struct{})}
		m.run(t.Context())
		messages = m.count.Load()
		report = &Report{Failures: h.failures, Journal: h.lines, Case: c.String()}
	})
	return report, messages
}

// matrix plays one case.
type matrix struct {
	*history
	crash
	counting atomic.Bool
	count    atomic.Int64
	reached  chan struct{} // closed at the cut
}

func (m *matrix) run(ctx context.Context) {
	if err := m.create(ctx); err != nil {
		m.fail("create: %v", err)
		return
	}
	m.between = func(i int, store chunk.Store) chunk.Store {
		return &gate{Store: store, m: m, dies: slices.Contains(m.dead, i)}
	}
	g, err := m.open(ctx)
	if err != nil {
		m.fail("open: %v", err)
		return
	}
	m.between = nil
	time.Sleep(time.Second) // what opening leaves behind
	m.counting.Store(true)
	g.busy.Add(1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer g.busy.Add(-1)
		m.act(ctx, g)
	}()
	select {
	case <-done:
	case <-m.reached:
	}
	if m.killed {
		g = m.succeed(ctx, g)
	}
	<-done
	m.counting.Store(false)
	m.check(ctx, g)
}

// act plays the script until the gateway dies.
func (m *matrix) act(ctx context.Context, g *gateway) {
	c := &client{m.history, rand.New(rand.NewPCG(1, 1))}
	for i, step := range script {
		if err := step(c, ctx, g, m.block*perBlock); err != nil {
			if g.array.Err() == nil && !m.killed {
				m.fail("step %d: %v", i, err)
			}
			return
		}
	}
}

// succeed lets the gateway die and opens the next.
func (m *matrix) succeed(ctx context.Context, g *gateway) *gateway {
	m.kill(g)
	if m.ending.power {
		for i, n := range m.nodes {
			was := n.harm
			m.stop(i, func(int) int { return 0 })
			m.afflict(i, was)
		}
	}
	next, err := m.open(ctx)
	if err != nil {
		m.fail("open: %v", err)
	}
	return next
}

// check reads with the nodes still dead, and ends as every history does.
func (m *matrix) check(ctx context.Context, g *gateway) {
	if g != nil {
		if err := m.readAll(ctx, g); err != nil {
			m.fail("read: %v", err)
		}
	}
	for i := range m.nodes {
		m.afflict(i, harm{})
	}
	m.finish(ctx)
}

// gate is in front of a node. It counts the messages that change something
// there, and lets none through after the cut where the gateway or the node dies.
type gate struct {
	chunk.Store
	m    *matrix
	dies bool
	told atomic.Uint64 // the highest W so far
}

func (g *gate) pass() error {
	m := g.m
	if !m.counting.Load() {
		return nil
	}
	n := m.count.Add(1)
	if n == m.crash.cut+1 {
		for _, i := range m.dead {
			if m.forget {
				m.stop(i, func(int) int { return 0 })
			}
			m.afflict(i, harm{cut: true})
		}
		close(m.reached)
	}
	if n > m.crash.cut && (m.killed || g.dies) {
		return chunk.ErrUnavailable
	}
	return nil
}

// hear is pass for a message that changes something only where its W is news.
func (g *gate) hear(term chunk.Term) error {
	w := uint64(term.Watermark)
	if told := g.told.Load(); told >= w || !g.told.CompareAndSwap(told, w) {
		return nil
	}
	return g.pass()
}

// change is pass for a message that changes something anyway.
func (g *gate) change(term chunk.Term) error {
	g.told.Store(max(g.told.Load(), uint64(term.Watermark)))
	return g.pass()
}

// Beat implements chunk.Office.
func (g *gate) Beat(ctx context.Context, term chunk.Term) (chunk.Pulse, error) {
	if err := g.hear(term); err != nil {
		return chunk.Pulse{}, err
	}
	return g.Store.Beat(ctx, term)
}

// Read implements chunk.Data.
func (g *gate) Read(ctx context.Context, term chunk.Term, gets []chunk.Get) ([]chunk.Chunk, error) {
	if err := g.hear(term); err != nil {
		return nil, err
	}
	return g.Store.Read(ctx, term, gets)
}

// Write implements chunk.Data. An OpSync is a message of its own, as power may
// fail before it.
func (g *gate) Write(ctx context.Context, term chunk.Term, ops []chunk.Op) (chunk.Ack, error) {
	if err := g.change(term); err != nil {
		return chunk.Ack{}, err
	}
	ops, sync := chunk.SplitSync(ops)
	ack, err := g.Store.Write(ctx, term, ops)
	if err != nil || !sync {
		return ack, err
	}
	if _, err := g.Sync(ctx, term); err != nil {
		return chunk.Ack{}, err
	}
	if ack.Errs != nil {
		ack.Errs = append(ack.Errs, nil)
	}
	return ack, nil
}

// Sync implements chunk.Data.
func (g *gate) Sync(ctx context.Context, term chunk.Term) (chunk.Ack, error) {
	if err := g.change(term); err != nil {
		return chunk.Ack{}, err
	}
	return g.Store.Sync(ctx, term)
}

// PutSuperblock implements chunk.Office.
func (g *gate) PutSuperblock(ctx context.Context, term chunk.Term, sb chunk.Superblock) error {
	if err := g.change(term); err != nil {
		return err
	}
	return g.Store.PutSuperblock(ctx, term, sb)
}
