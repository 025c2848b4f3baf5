package stripe

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// card is a store that does one chunk after another, each in cardTime, until it
// is ill.
type card struct {
	chunk.Store
	illness
	turn chan struct{} // a lock
	ill  atomic.Bool
}

// illness is what makes a card slow. The zero value does not.
type illness struct {
	times int           // each chunk takes so many times as long
	late  int           // one operation of so many
	by    time.Duration // takes so much longer
}

const (
	cardTime = 4 * time.Millisecond // 16 KiB at 4 MB/s
	depth    = 48
)

// work takes the time that it takes, unless ctx ends before.
func (c *card) work(ctx context.Context, chunks int) error {
	took := time.Duration(chunks) * cardTime
	if c.ill.Load() {
		took *= time.Duration(max(c.times, 1))
		if c.late > 0 && rand.IntN(c.late) == 0 && !rest(ctx, c.by) {
			return chunk.ErrUnavailable
		}
	}
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if !rest(ctx, took) {
		return chunk.ErrUnavailable
	}
	return nil
}

// rest reports whether d went by before ctx ended. It makes no timer that has
// expired already: where goroutines of one bubble receive from such at the same
// time, the race detector crashes (Go 1.26: they share timers.raceCtx).
func rest(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *card) Write(ctx context.Context, term chunk.Term, ops []chunk.Op) (chunk.Ack, error) {
	if err := c.work(ctx, len(ops)); err != nil {
		return chunk.Ack{}, err
	}
	return c.Store.Write(ctx, term, ops)
}

func (c *card) Read(ctx context.Context, term chunk.Term, gets []chunk.Get) ([]chunk.Chunk, error) {
	if err := c.work(ctx, len(gets)); err != nil {
		return nil, err
	}
	return c.Store.Read(ctx, term, gets)
}

func (c *card) Sync(ctx context.Context, term chunk.Term) (chunk.Ack, error) {
	if err := c.work(ctx, 1); err != nil {
		return chunk.Ack{}, err
	}
	return c.Store.Sync(ctx, term)
}

// TestTenthOfOneNodesOperationsDelayed: by 100 ms. Throughput drops by less than
// a fifth, under the load of a deep queue and where each waits for the one before.
func TestTenthOfOneNodesOperationsDelayed(t *testing.T) {
	tenth := illness{late: 10, by: 100 * time.Millisecond}
	for name, l := range map[string]load{
		"writes": {writeOnce, depth}, "writes, one at a time": {writeOnce, 1},
		"small writes": {overwriteOnce, depth}, "small writes, one at a time": {overwriteOnce, 1}, "reads": {readOnce, depth},
	} {
		t.Run(name, func(t *testing.T) {
			long := 20 * time.Second
			if l.depth == 1 {
				long = time.Minute // of fewer requests, the share that is late varies more
			}
			l.compare(t, long, tenth, cluster.In)
		})
	}
}

// TestTenthOfOneNodesReadsDelayed: a reader that waits for each read is paused
// no longer than the hedge takes, and the delay before it is not learnt from
// those that are late.
func TestTenthOfOneNodesReadsDelayed(t *testing.T) {
	var longest time.Duration
	read := func(a *Array, block uint64) error {
		begin := time.Now()
		defer func() { longest = max(longest, time.Since(begin)) }()
		return readOnce(a, block)
	}
	load{read, 1}.compare(t, 20*time.Second, illness{late: 10, by: 100 * time.Millisecond}, cluster.In)
	if longest > 80*time.Millisecond {
		t.Errorf("longest pause %s", longest)
	}
}

// TestStragglerOnWrites: a node takes twenty times as long for each chunk, or
// does nothing any more, while its heartbeats are fine. It goes out, and writes
// drop by less than a fifth; an eighth is what its card is worth to a deep queue.
func TestStragglerOnWrites(t *testing.T) {
	for name, c := range map[string]struct {
		depth int
		long  time.Duration
		illness
	}{
		"it crawls":                {depth, time.Minute, illness{times: 20}},
		"it crawls, one at a time": {1, 40 * time.Second, illness{times: 20}},
		"it hangs":                 {depth, 2 * time.Minute, illness{late: 1, by: time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			load{writeOnce, c.depth}.compare(t, c.long, c.illness, cluster.Out)
		})
	}
}

// TestAModeratelySlowNodeStaysIn: though it is what writes wait for.
func TestAModeratelySlowNodeStaysIn(t *testing.T) {
	for _, depth := range []int{1, 4, depth} {
		load := load{writeOnce, depth}
		if _, _, state := load.run(t, 10*time.Second, illness{times: 3}); state != cluster.In {
			t.Errorf("%d writes at once: it is %s", depth, state)
		}
	}
}

func writeOnce(a *Array, block uint64) error {
	return a.WriteBlock(context.Background(), block, content(block, 1))
}

// overwriteOnce writes an eighth of a block, which is sent as a swap and patches.
func overwriteOnce(a *Array, block uint64) error {
	return a.Overwrite(context.Background(), block, 0, content(block, 2)[:testBlock/8])
}

func readOnce(a *Array, block uint64) error {
	return a.ReadAt(context.Background(), make([]byte, testBlock), int64(block)*testBlock)
}

// load is something done depth at once, on one block after another.
type load struct {
	do    func(*Array, uint64) error
	depth int
}

// compare wants a load to be done nearly as often where one node is slow so for
// so long as before that, and the node to be in that state in the end.
func (l load) compare(t *testing.T, long time.Duration, slow illness, after cluster.State) {
	t.Helper()
	well, ill, state := l.run(t, long, slow)
	t.Logf("%d in %s, with the slow node %d", well, long, ill)
	if ill < well*8/10 {
		t.Errorf("throughput drops to %d %%", 100*ill/well)
	}
	if state != after {
		t.Errorf("the node is %s in the end, want %s", state, after)
	}
}

// run puts a load on eight nodes. It returns how often it would be done in so long
// while all are well, how often it is done once one is slow so, and that node's
// state in the end; all of one volume, as it depends on where the blocks are.
func (l load) run(t *testing.T, long time.Duration, slow illness) (well, ill int, state cluster.State) {
	t.Helper()
	const sample = 10 * time.Second
	inRig(t, 8, func(r *rig) {
		cards := make([]*card, len(r.links))
		for i := range cards {
			cards[i] = &card{Store: r.links[i], turn: make(chan struct{}, 1), illness: slow}
			r.opts.Nodes[i].Store = cards[i]
		}
		r.volume = r.large()
		a := r.open()
		for b := range uint64(manyBlocks) {
			r.write(a, b, 1)
		}
		r.flush(a)
		well = l.put(r, a, sample) * int(long/sample)
		cards[3].ill.Store(true)
		ill = l.put(r, a, long)
		state = a.superblock().Nodes[3].State
		cards[3].ill.Store(false)
		r.close(a)
	})
	return well, ill, state
}

// manyBlocks are enough for all nodes to have about as many of them.
const manyBlocks = 512

func (r *rig) large() chunk.VolumeID {
	geo := r.geometry()
	geo.Size = manyBlocks * testBlock
	id, err := Create(r.Context(), r.opts, "large", geo)
	if err != nil {
		r.Fatal(err)
	}
	return id
}

func (l load) put(r *rig, a *Array, long time.Duration) int {
	next := make(chan uint64, manyBlocks) // blocks that nobody is at
	for b := range uint64(manyBlocks) {
		next <- b
	}
	var group sync.WaitGroup
	var count atomic.Int64
	end := time.Now().Add(long)
	for range l.depth {
		group.Go(func() {
			for time.Now().Before(end) {
				b := <-next
				if err := l.do(a, b); err != nil {
					r.Error(err)
					return
				}
				next <- b
				count.Add(1)
			}
		})
	}
	group.Wait()
	return int(count.Load())
}

// TestAQueueOfReadsIsNoSilence: so many are under way that each takes longer than
// NodeTimeout, while all nodes give what they can. They are not given up and asked
// for again: only hedges add to what is asked for.
func TestAQueueOfReadsIsNoSilence(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		var reads, chunks atomic.Int64
		for i := range r.opts.Nodes {
			ill := &card{Store: r.links[i], turn: make(chan struct{}, 1), illness: illness{times: 10}}
			ill.ill.Store(true)
			r.opts.Nodes[i].Store = counted{ill, &reads, &chunks}
		}
		a := r.open()
		for b := range uint64(64) {
			r.write(a, b, 1)
		}
		r.flush(a)
		chunks.Store(0)
		const count = 256 // of 4 chunks, 40 ms each, on 8 nodes: 5 s
		var group sync.WaitGroup
		for i := range uint64(count) {
			group.Go(func() {
				if err := readOnce(a, i%64); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if n := chunks.Load(); n > 2*4*count {
			t.Errorf("%d chunks were asked for, %d are needed", n, 4*count)
		}
		r.close(a)
	})
}

// counted counts what is asked of a store.
type counted struct {
	chunk.Store
	reads, chunks *atomic.Int64
}

func (c counted) Read(ctx context.Context, term chunk.Term, gets []chunk.Get) ([]chunk.Chunk, error) {
	c.reads.Add(1)
	c.chunks.Add(int64(len(gets)))
	return c.Store.Read(ctx, term, gets)
}

// TestReadWithTwoNodesGone: it takes no more than k chunks of a block, and one
// request to each node, so that a reader has all of the network that is left.
func TestReadWithTwoNodesGone(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		var reads, chunks atomic.Int64
		for i := range r.opts.Nodes {
			r.opts.Nodes[i].Store = counted{r.links[i], &reads, &chunks}
		}
		a := r.open()
		want := []byte{}
		for b := range uint64(64) {
			r.write(a, b, 1)
			want = append(want, content(b, 1)...)
		}
		r.flush(a)
		r.links[2].Cut()
		r.links[5].Cut()
		time.Sleep(2 * a.opts.NodeTimeout)
		for _, c := range []struct{ off, end int }{{0, 64 * testBlock}, {100, 64*testBlock - 3000}} {
			reads.Store(0)
			chunks.Store(0)
			got := make([]byte, c.end-c.off)
			if err := a.ReadAt(r.Context(), got, int64(c.off)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want[c.off:c.end]) {
				t.Errorf("bytes %d to %d are wrong", c.off, c.end)
			}
			if reads.Load() > 6 || chunks.Load() > 4*64 {
				t.Errorf("%d requests for %d chunks, want 6 for 256", reads.Load(), chunks.Load())
			}
		}
		r.close(a)
	})
}
