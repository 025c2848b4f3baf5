package stripe

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// answer is what one node said of one chunk of a block.
type answer struct {
	chunk.Chunk
	node      int
	index     uint8
	data      []byte
	authority bool // from the chunk's home, which is in
}

// askAll asks the nodes that may hold a chunk of the block for n bytes of it
// at off, not newer than atMost unless that is 0: the homes for their own, the
// spares for those of homes that are not in. It asks k of them, one more for
// each that does not help, and all when they take too long or did not suffice.
// It yields the answers as they come, and leaves late nodes behind when the
// caller stops.
func (a *Array) askAll(
	ctx context.Context, block uint64, off, n int, atMost chunk.Version,
) func(yield func(answer) bool) {
	return func(yield func(answer) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		questions := a.questions(block)
		answers := make(chan []answer, len(questions)) // nobody waits for a reader that left
		waiting := 0
		ask := func(more int) {
			for _, q := range questions[:min(more, len(questions))] {
				a.tasks.Go(func() { answers <- q.ask(ctx, block, off, n, atMost) })
				waiting++
			}
			questions = questions[min(more, len(questions)):]
		}
		ask(a.geo.Data)
		timer := time.NewTimer(firstDelay)
		defer timer.Stop()
		for waiting > 0 {
			select {
			case list := <-answers:
				waiting--
				if !helps(list) {
					ask(1)
				}
				for _, got := range list {
					if !yield(got) {
						return
					}
				}
				if waiting == 0 {
					ask(len(questions))
				}
			case <-timer.C:
				ask(len(questions))
			}
		}
	}
}

// helps reports whether a node has given a chunk.
func helps(list []answer) bool {
	return slices.ContainsFunc(list, func(got answer) bool { return got.State == chunk.Present })
}

// question is what to ask of one node.
type question struct {
	*peer
	indexes   []uint8
	authority bool
}

// questions returns what to ask of whom, those first that promise most: homes
// that are in and not late.
func (a *Array) questions(block uint64) (list []question) {
	a.mu.Lock()
	defer a.mu.Unlock()
	placed := a.place.Place(block)
	var orphans []uint8
	for i, home := range placed[:a.geo.Width()] {
		in := a.sb.Nodes[home].State == cluster.In
		if !in {
			orphans = append(orphans, uint8(i))
		}
		if a.peers[home].up {
			list = append(list, question{a.peers[home], []uint8{uint8(i)}, in})
		}
	}
	for _, spare := range placed[a.geo.Width():] {
		if len(orphans) > 0 && a.peers[spare].up {
			list = append(list, question{a.peers[spare], orphans, false})
		}
	}
	slices.SortStableFunc(list, func(p, q question) int { return cmp.Compare(p.rankLocked(), q.rankLocked()) })
	return list
}

func (q question) rankLocked() int {
	switch {
	case q.authority && q.lates == 0:
		return 0
	case q.lates == 0:
		return 1
	}
	return 2
}

// ask returns what the node holds of the block; nothing when it fails, because
// others may do. It is patient: to ask again for what is on its way from a slow
// node would only make that more.
func (q question) ask(ctx context.Context, block uint64, off, n int, atMost chunk.Version) []answer {
	gets := make([]chunk.Get, len(q.indexes))
	for i, index := range q.indexes {
		gets[i] = chunk.Get{
			Block: block, Index: index, AtMost: atMost, Off: uint32(off), Dst: make([]byte, n),
		}
	}
	ctx, cancel := q.within(ctx, writePatience)
	defer cancel()
	got, err := q.peer.ask(ctx, gets)
	if err != nil {
		return nil
	}
	answers := make([]answer, len(got))
	for i, c := range got {
		answers[i] = answer{c, q.n, q.indexes[i], gets[i].Dst, q.authority}
	}
	return answers
}

// decoding gathers answers until one version can be decoded.
type decoding struct {
	geo     cluster.Geometry
	current chunk.Chunk // what an authority says; meaningful if known
	known   bool
	sought  bool // current was known before anybody was asked
	shards  map[chunk.Version][][]byte
}

func newDecoding(geo cluster.Geometry) *decoding {
	return &decoding{geo: geo, shards: map[chunk.Version][][]byte{}}
}

// add takes an answer and reports whether the block can be told.
func (d *decoding) add(got answer) bool {
	if got.authority && !d.sought && d.tellsMore(got.Chunk) {
		d.current, d.known = got.Chunk, true
	}
	if got.State == chunk.Present {
		if d.shards[got.Version] == nil {
			d.shards[got.Version] = make([][]byte, d.geo.Width())
		}
		d.shards[got.Version][got.index] = got.data
	}
	return d.known && (d.zero() || d.have() >= d.geo.Data)
}

// seek has version v decoded, which is known to be right.
func (d *decoding) seek(v chunk.Version) {
	d.current = chunk.Chunk{Version: v, State: chunk.Present}
	d.known, d.sought = true, true
}

// tellsMore reports whether an authority knows better what is current. A damaged
// record does not tell whether it was a tombstone.
func (d *decoding) tellsMore(got chunk.Chunk) bool {
	return !d.known || got.Version > d.current.Version ||
		got.Version == d.current.Version && d.current.State == chunk.Damaged
}

func (d *decoding) zero() bool {
	return d.current.State == chunk.Absent || d.current.State == chunk.Tombstone
}

func (d *decoding) have() (n int) {
	for _, s := range d.shards[d.current.Version] {
		if s != nil {
			n++
		}
	}
	return n
}

// into writes the span, whose chunks were asked for from off on.
func (d *decoding) into(a *Array, s *span, off int) error {
	switch {
	case !d.known:
		return fmt.Errorf("read block %d: no home of it that is in answers: %w", s.block, ErrTooFewNodes)
	case d.zero():
		s.show(d.current)
		return nil
	case d.have() < d.geo.Data:
		return fmt.Errorf("read block %d version %s: %d of %d chunks: %w",
			s.block, d.current.Version, d.have(), d.geo.Data, ErrUnreadable)
	}
	if err := a.fill(s, d.shards[d.current.Version], off); err != nil {
		return err
	}
	s.show(d.current)
	return nil
}

// fill writes the parts of a span from k shards of one version, which are of
// the range of their chunks that begins at off.
func (a *Array) fill(s *span, shards [][]byte, off int) error {
	for i := range s.parts {
		p := &s.parts[i]
		if err := a.restore(shards, int(p.index)); err != nil {
			return fmt.Errorf("read block %d: %w", s.block, err)
		}
		copy(p.dst, shards[p.index][p.off-off:])
	}
	return nil
}

// restore computes shards[index] where it is missing.
func (a *Array) restore(shards [][]byte, index int) error {
	if shards[index] != nil {
		return nil
	}
	var have []int
	for i, s := range shards {
		if s != nil {
			have = append(have, i)
		}
	}
	have = have[:a.geo.Data]
	shards[index] = make([]byte, len(shards[have[0]]))
	return a.code.Reconstruct(shards, have, []int{index})
}
