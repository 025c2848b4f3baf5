package stripe

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/cluster"
)

const testBlock = 4096

// rig is a cluster in a synctest bubble: memory stores behind links that take
// a millisecond.
type rig struct {
	*testing.T
	stores []*chunktest.Memory
	links  []*chunktest.Link
	opts   Options
	volume chunk.VolumeID
}

// inRig runs f in a bubble with a cluster of n nodes and one 4+2 volume.
func inRig(t *testing.T, n int, f func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t}
		for i := range n {
			id := chunk.NodeID(fmt.Sprintf("n%d", i))
			store := chunktest.NewMemory(id)
			link := &chunktest.Link{Store: store}
			link.Delay(time.Millisecond)
			r.stores, r.links = append(r.stores, store), append(r.links, link)
			r.opts.Nodes = append(r.opts.Nodes, Node{ID: id, Store: link, Background: link})
		}
		start := time.Now()
		r.opts.Clock = func() time.Duration { return time.Since(start) }
		id, err := Create(t.Context(), r.opts, "v", r.geometry())
		if err != nil {
			t.Fatal(err)
		}
		r.volume = id
		f(r)
	})
}

// open opens the volume, or fails the test.
func (r *rig) open() *Array {
	r.Helper()
	a, err := Open(r.Context(), r.opts, r.volume)
	if err != nil {
		r.Fatal(err)
	}
	return a
}

func (r *rig) close(a *Array) {
	r.Helper()
	if err := a.Close(r.Context()); err != nil {
		r.Error(err)
	}
}

// abandon ends a gateway as kill -9 does: nothing is flushed or marked.
func (r *rig) abandon(a *Array) {
	a.end(ErrClosed)
	a.tasks.Wait()
}

// patience ends after so long.
func (r *rig) patience(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(r.Context(), d)
	r.Cleanup(cancel)
	return ctx
}

// content is what test writes put into a block.
func content(block uint64, generation int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "b%06d g%06d\n", block, generation), testBlock/16)
}

func (r *rig) write(a *Array, block uint64, generation int) {
	r.Helper()
	if err := a.WriteBlock(r.Context(), block, content(block, generation)); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) flush(a *Array) {
	r.Helper()
	if err := a.Flush(r.Context()); err != nil {
		r.Fatal(err)
	}
}

// expect checks that the block reads as one of the generations; 0 is zeroes.
func (r *rig) expect(a *Array, block uint64, generations ...int) int {
	r.Helper()
	got := make([]byte, testBlock)
	if err := a.ReadAt(r.Context(), got, int64(block)*testBlock); err != nil {
		r.Fatal(err)
	}
	for _, g := range generations {
		want := content(block, g)
		if g == 0 {
			want = make([]byte, testBlock)
		}
		if bytes.Equal(got, want) {
			return g
		}
	}
	r.Fatalf("block %d reads %.16q, want generation %v", block, got, generations)
	return -1
}

func (r *rig) geometry() cluster.Geometry {
	return cluster.Geometry{Size: 64 * testBlock, BlockSize: testBlock, Data: 4, Parity: 2, Extent: 1}
}
