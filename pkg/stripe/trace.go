package stripe

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rozobox/pkg/chunk"
)

// watchFor is how long reads are traced after somebody asked for the last one:
// who watches asks again every second or so.
const watchFor = 5 * time.Second

// tracing remembers who gave the block that was read last, and the one that
// somebody asked about last, as long as somebody watches. While nobody does, a
// read pays for one look at until.
type tracing struct {
	until atomic.Pointer[time.Time] // nil: nobody watches
	block atomic.Uint64             // the number, from 1 on, of the one that was asked about; 0: none
	last  atomic.Pointer[trace]
	asked atomic.Pointer[trace] // of that block
}

// watch has reads traced from now on, for watchFor.
func (t *tracing) watch() {
	until := time.Now().Add(watchFor)
	t.until.Store(&until)
}

// about returns the last read of a block, or nil where it is not known.
func (t *tracing) about(block uint64) (newest *trace) {
	for _, known := range []*trace{t.last.Load(), t.asked.Load()} {
		if known != nil && known.block == block && (newest == nil || known.began.After(newest.began)) {
			newest = known
		}
	}
	return newest
}

func (t *tracing) watched() bool {
	until := t.until.Load()
	if until != nil && time.Now().After(*until) {
		t.until.CompareAndSwap(until, nil)
		return false
	}
	return until != nil
}

// trace is one read of one block: of several blocks that a client reads at
// once, the one that was asked about, or else the last.
type trace struct {
	span  *span
	block uint64
	began time.Time

	mu   sync.Mutex // guards all below; a node that is late may answer when the read is over
	asks []*asked
	won  round
}

// round is an attempt at a read.
type round uint8

const (
	byHomes  round = iota // each data chunk from its home
	byHedge               // decoded from others, because a home was late
	byDecode              // decoded from others, because a home could not give it
)

// asked is one chunk that one node was asked for.
type asked struct {
	node  int
	index uint8
	round round
	took  time.Duration // 0: it has not answered
	got   chunk.Chunk
	used  bool // in its round
}

// attempt is what a request knows of the trace that it is for.
type attempt struct {
	*trace
	round round
}

type attemptKey struct{}

// trace begins to trace a read; it returns nil while nobody watches.
func (a *Array) trace(ctx context.Context, spans []*span) (context.Context, *trace) {
	if !a.tracing.watched() {
		return ctx, nil
	}
	chosen := spans[len(spans)-1]
	for _, s := range spans {
		if s.block+1 == a.tracing.block.Load() {
			chosen = s
		}
	}
	t := &trace{span: chosen, block: chosen.block, began: time.Now()}
	return context.WithValue(ctx, attemptKey{}, attempt{t, byHomes}), t
}

// inRound says that what is asked with ctx is another attempt at a read.
func inRound(ctx context.Context, r round) context.Context {
	if at, ok := ctx.Value(attemptKey{}).(attempt); ok {
		return context.WithValue(ctx, attemptKey{}, attempt{at.trace, r})
	}
	return ctx
}

// ask reads chunks from the node for a client.
func (p *peer) ask(ctx context.Context, gets []chunk.Get) ([]chunk.Chunk, error) {
	var list []*asked
	begin := time.Now()
	at, traced := attempt{}, false
	if p.array.tracing.until.Load() != nil {
		if at, traced = ctx.Value(attemptKey{}).(attempt); traced {
			list = at.note(p.n, gets)
		}
	}
	got, err := p.Store.Read(ctx, p.term(), gets)
	if traced && err == nil {
		at.answered(list, got, time.Since(begin))
	}
	return got, err
}

// note enters the chunks of the traced block among gets, nil for all others.
func (at attempt) note(node int, gets []chunk.Get) []*asked {
	list := make([]*asked, len(gets))
	at.mu.Lock()
	defer at.mu.Unlock()
	for i, g := range gets {
		if g.Block == at.block {
			list[i] = &asked{node: node, index: g.Index, round: at.round}
			at.asks = append(at.asks, list[i])
		}
	}
	return list
}

func (at attempt) answered(list []*asked, got []chunk.Chunk, took time.Duration) {
	at.mu.Lock()
	defer at.mu.Unlock()
	for i, q := range list {
		if q != nil {
			q.got, q.took = got[i], took
		}
	}
}

// decoded notes which answers told the block: k chunks, or that it is zeroes.
func (d *decoding) decoded(ctx context.Context, block uint64) {
	at, ok := ctx.Value(attemptKey{}).(attempt)
	if !ok || at.block != block {
		return
	}
	at.mu.Lock()
	defer at.mu.Unlock()
	var have [chunk.MaxWidth]bool
	for _, q := range at.asks {
		if q.round != at.round || q.took == 0 || have[q.index] || q.got.Version != d.current.Version {
			continue
		}
		shards := d.shards[d.current.Version]
		q.used = d.zero() || shards != nil && shards[q.index] != nil
		have[q.index] = q.used
	}
}

// end makes t the last trace. decoded are the spans that a hedge gave, rest
// those that had to be decoded.
func (t *tracing) end(done *trace, decoded map[*span]bool, rest []*span) {
	if done == nil {
		return
	}
	done.mu.Lock()
	defer done.mu.Unlock()
	switch {
	case slices.Contains(rest, done.span):
		done.won = byDecode
	case decoded[done.span]:
		done.won = byHedge
	}
	for _, q := range done.asks {
		q.used = q.round == done.won && q.took > 0 && (q.used || done.won == byHomes)
	}
	done.span = nil // it holds the client's buffer
	t.last.Store(done)
	if done.block+1 == t.block.Load() {
		t.asked.Store(done)
	}
}
