package simulate

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/chunk"
)

// fate of the gateway at the cut.
type ending int

const (
	goesOn   ending = iota // only the nodes die
	killed                 // the gateway dies with them, another one opens
	powerOut               // and all nodes lose what they had not synced
	endings
)

func (e ending) String() string {
	return [...]string{"gateway goes on", "gateway killed", "power out"}[e]
}

// crash is one case of the crash matrix: after so many messages that change
// something these nodes die, and the gateway does or not.
type crash struct {
	cut  int64
	dead []int
	ending
}

func (c crash) String() string { return fmt.Sprintf("cut %d, dead %v, %s", c.cut, c.dead, c.ending) }

const (
	matrixNodes = 8
	matrixBlock = 3
)

// script is the history of the matrix: two writes to one block, a flush, a
// partial overwrite, a trim.
var script = [...]func(*client, context.Context, *gateway) error{
	func(c *client, ctx context.Context, g *gateway) error { return c.writeBlock(ctx, g, 0, perBlock) },
	func(c *client, ctx context.Context, g *gateway) error { return c.writeBlock(ctx, g, 0, perBlock) },
	func(c *client, ctx context.Context, g *gateway) error { return c.flush(ctx, g) },
	func(c *client, ctx context.Context, g *gateway) error { return c.writeBlock(ctx, g, 2, 3) },
	func(c *client, ctx context.Context, g *gateway) error {
		return c.trim(ctx, g, matrixBlock*perBlock, perBlock, false)
	},
}

func (c *client) writeBlock(ctx context.Context, g *gateway, first, n int) error {
	return c.write(ctx, g, matrixBlock*perBlock+first, n, false)
}

// Matrix plays every step-th case of the crash matrix, prints it as a table,
// and returns what failed.
func Matrix(t *testing.T, w io.Writer, step int) []*Report {
	cuts := int64(0)
	if r := play(t, crash{cut: math.MaxInt64}, &cuts); len(r.Failures) > 0 {
		return []*Report{r}
	}
	var failed []*Report
	var cases, failures [parity + 1][endings]int
	number := 0
	for cut := range cuts + 1 {
		for _, dead := range deadSets() {
			for e := range endings {
				if number++; number%step != 0 {
					continue
				}
				cases[len(dead)][e]++
				if r := play(t, crash{cut, dead, e}, nil); len(r.Failures) > 0 {
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

func table(w io.Writer, cuts int64, cases, failures [parity + 1][endings]int) {
	fmt.Fprintf(w, "crash matrix: %d nodes, %d+%d, %d cut points; cases (failures)\n", matrixNodes, data, parity, cuts+1)
	fmt.Fprintf(w, "%-12s", "nodes dead")
	for e := range endings {
		fmt.Fprintf(w, "%20s", e)
	}
	for dead := range cases {
		fmt.Fprintf(w, "\n%-12d", dead)
		for e := range endings {
			fmt.Fprintf(w, "%20s", fmt.Sprintf("%d (%d)", cases[dead][e], failures[dead][e]))
		}
	}
	fmt.Fprintln(w)
}

// play plays one case in a bubble; messages, where not nil, receives how many
// messages there were.
func play(t *testing.T, c crash, messages *int64) *Report {
	var report *Report
	synctest.Test(t, func(t *testing.T) {
		defer repeatable(1)()
		h := newHistory(1, Options{Nodes: matrixNodes})
		h.fates = nil
		h.note("case: %s", c)
		m := &matrix{history: h, crash: c, reached: make(chan struct{})}
		m.run(t.Context())
		if messages != nil {
			*messages = m.count.Load()
		}
		report = &Report{Failures: h.failures, Journal: h.lines, Case: c.String()}
	})
	return report
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
	m.between = func(_ int, store chunk.Store) chunk.Store { return &gate{store, m} }
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
	if m.ending == goesOn {
		<-done
	} else {
		g = m.succeed(ctx, g)
		<-done
	}
	m.counting.Store(false)
	m.check(ctx, g)
}

// act plays the script until the gateway dies.
func (m *matrix) act(ctx context.Context, g *gateway) {
	c := &client{m.history, rand.New(rand.NewPCG(1, 1))}
	for i, step := range script {
		if err := step(c, ctx, g); err != nil {
			if g.array.Err() == nil && m.ending == goesOn {
				m.fail("step %d: %v", i, err)
			}
			return
		}
	}
}

// succeed lets the gateway die and opens the next.
func (m *matrix) succeed(ctx context.Context, g *gateway) *gateway {
	m.kill(g)
	if m.ending == powerOut {
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

// gate counts the messages to one node that change something, and lets none
// through after the cut where the gateway is to die.
type gate struct {
	chunk.Store
	m *matrix
}

func (g *gate) pass() error {
	m := g.m
	if !m.counting.Load() {
		return nil
	}
	n := m.count.Add(1)
	if n == m.crash.cut+1 {
		for _, i := range m.dead {
			m.afflict(i, harm{cut: true})
		}
		close(m.reached)
	}
	if n > m.crash.cut && m.ending != goesOn {
		return chunk.ErrUnavailable
	}
	return nil
}

// Write implements chunk.Data.
func (g *gate) Write(ctx context.Context, term chunk.Term, ops []chunk.Op) (chunk.Ack, error) {
	if err := g.pass(); err != nil {
		return chunk.Ack{}, err
	}
	return g.Store.Write(ctx, term, ops)
}

// Sync implements chunk.Data.
func (g *gate) Sync(ctx context.Context, term chunk.Term) (chunk.Ack, error) {
	if err := g.pass(); err != nil {
		return chunk.Ack{}, err
	}
	return g.Store.Sync(ctx, term)
}

// PutSuperblock implements chunk.Office.
func (g *gate) PutSuperblock(ctx context.Context, term chunk.Term, sb chunk.Superblock) error {
	if err := g.pass(); err != nil {
		return err
	}
	return g.Store.PutSuperblock(ctx, term, sb)
}
