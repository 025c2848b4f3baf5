package watch

import (
	"context"
	"sync"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/metrics"
)

const (
	// every is how often a node is asked, and how often there is a picture
	// where nothing happens.
	every = 500 * time.Millisecond

	// patience is how long a node may take to answer: ten times a busy card's
	// pause, and short enough that a card that was unplugged right after it
	// answered is red within 1.5 s.
	patience = 700 * time.Millisecond

	// settle is how long a change waits for others to be shown with it: cards
	// that begin to work together are one picture.
	settle = 100 * time.Millisecond

	// workingFor is how long after its last chunk a node shows as working.
	workingFor = time.Second
)

// Options says what to watch.
type Options struct {
	Name  string // of the cluster
	Nodes []Node

	// Known returns what only a gateway knows, as the Cluster that it would
	// show: of its cards, Sync, Slow and Why count. It is nil where no gateway
	// answers. It is handed the newest answer of every node, in order, and must
	// neither wait nor change later what it returned. It may itself be nil.
	Known func([]Answer) *metrics.Cluster
}

// Node is a chunk server as configured, and the way to it.
type Node struct {
	ID, Addr string
	Asked    Asked
}

// Asked is all that is wanted of a node.
type Asked interface {
	Stat(ctx context.Context) (chunk.Stat, error)
}

// Answer is what a node said last, or why it did not.
type Answer struct {
	Stat chunk.Stat
	Err  error
}

// Run watches until ctx ends, and hands pictures to out: the first when every
// node has answered or failed to. It neither closes out nor leaves anything
// running.
func Run(ctx context.Context, opts Options, out chan<- metrics.Cluster) {
	w := &watcher{opts: opts, answers: make(chan answer), cards: make([]card, len(opts.Nodes))}
	for i, n := range opts.Nodes {
		w.cards[i].Card = metrics.Card{ID: n.ID, Addr: n.Addr}
	}
	var asking sync.WaitGroup
	for i := range opts.Nodes {
		asking.Go(func() { w.ask(ctx, i) })
	}
	w.show(ctx, out)
	asking.Wait()
}

// watcher is one Run. A goroutine asks each node; show has all that they say.
type watcher struct {
	opts    Options
	answers chan answer
	cards   []card
}

type answer struct {
	Answer
	node int
}

// ask asks one node, again and again.
func (w *watcher) ask(ctx context.Context, node int) {
	for {
		a := answer{node: node}
		asking, cancel := context.WithTimeoutCause(ctx, patience, errSilent)
		a.Stat, a.Err = w.opts.Nodes[node].Asked.Stat(asking)
		if a.Err != nil && context.Cause(asking) == errSilent {
			a.Err = errSilent
		}
		cancel()
		select {
		case w.answers <- a:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return
		}
	}
}

// show takes what the nodes say, and hands out pictures.
func (w *watcher) show(ctx context.Context, out chan<- metrics.Cluster) {
	tick := time.NewTicker(settle)
	defer tick.Stop()
	var picture metrics.Cluster
	var ready chan<- metrics.Cluster // out, while there is a picture for it
	var shown time.Time
	changed := false
	for {
		select {
		case a := <-w.answers:
			changed = w.cards[a.node].take(a.Answer) || changed
		case now := <-tick.C:
			if w.complete() && (changed || now.Sub(shown) >= every) {
				picture, ready = w.picture(now), out
				shown, changed = now, false
			}
		case ready <- picture:
			ready = nil
		case <-ctx.Done():
			return
		}
	}
}

// complete reports whether every node was heard, or was not.
func (w *watcher) complete() bool {
	for i := range w.cards {
		if w.cards[i].State == "" {
			return false
		}
	}
	return true
}

func (w *watcher) picture(now time.Time) metrics.Cluster {
	cards := make([]metrics.Card, len(w.cards))
	answers := make([]Answer, len(w.cards))
	for i := range w.cards {
		cards[i], answers[i] = w.cards[i].Card, w.cards[i].answer
	}
	var known *metrics.Cluster
	if w.opts.Known != nil {
		known = w.opts.Known(answers)
	}
	c := assemble(cards, known)
	c.Time, c.Name = now, w.opts.Name
	return c
}
