package stripe

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rozobox/pkg/chunk"
)

// card is a store that does one chunk after another, each in cardTime, and of
// which a share of the operations takes slowTime longer.
type card struct {
	chunk.Store
	turn chan struct{} // a lock
	slow func() bool
}

const (
	cardTime = 2 * time.Millisecond // 16 KiB at 8 MB/s
	slowTime = 100 * time.Millisecond
	depth    = 48
)

func (c *card) work(chunks int) {
	if c.slow() {
		time.Sleep(slowTime)
	}
	c.turn <- struct{}{}
	time.Sleep(time.Duration(chunks) * cardTime)
	<-c.turn
}

func (c *card) Write(ctx context.Context, term chunk.Term, ops []chunk.Op) (chunk.Ack, error) {
	c.work(len(ops))
	return c.Store.Write(ctx, term, ops)
}

func (c *card) Read(ctx context.Context, term chunk.Term, gets []chunk.Get) ([]chunk.Chunk, error) {
	c.work(len(gets))
	return c.Store.Read(ctx, term, gets)
}

func (c *card) Sync(ctx context.Context, term chunk.Term) (chunk.Ack, error) {
	c.work(1)
	return c.Store.Sync(ctx, term)
}

// TestTenthOfOneNodesOperationsDelayed: by 100 ms, under the load of a deep
// queue. Throughput drops by less than a fifth.
func TestTenthOfOneNodesOperationsDelayed(t *testing.T) {
	never := func() bool { return false }
	tenth := func() bool { return rand.IntN(10) == 0 }
	write := func(a *Array, block uint64) error {
		return a.WriteBlock(context.Background(), block, content(block, 1))
	}
	read := func(a *Array, block uint64) error {
		return a.ReadAt(context.Background(), make([]byte, testBlock), int64(block)*testBlock)
	}
	for name, load := range map[string]func(*Array, uint64) error{"writes": write, "reads": read} {
		t.Run(name, func(t *testing.T) {
			well, ill := throughput(t, load, never), throughput(t, load, tenth)
			t.Logf("%d in 2 s, with the slow node %d", well, ill)
			if ill < well*8/10 {
				t.Errorf("throughput drops to %d %%", 100*ill/well)
			}
		})
	}
}

// throughput returns how many times a load was done in two seconds, depth
// at once and on one block after another, with one node that is slow so.
func throughput(t *testing.T, load func(*Array, uint64) error, slow func() bool) (done int) {
	inRig(t, 8, func(r *rig) {
		for i := range r.opts.Nodes {
			c := &card{r.links[i], make(chan struct{}, 1), func() bool { return false }}
			if i == 3 {
				c.slow = slow
			}
			r.opts.Nodes[i].Store = c
		}
		a := r.open()
		for b := range uint64(64) {
			r.write(a, b, 1)
		}
		r.flush(a)
		next := make(chan uint64, 64) // blocks that nobody is at
		for b := range uint64(64) {
			next <- b
		}
		var group sync.WaitGroup
		var count atomic.Int64
		end := time.Now().Add(2 * time.Second)
		for range depth {
			group.Go(func() {
				for time.Now().Before(end) {
					b := <-next
					if err := load(a, b); err != nil {
						r.Error(err)
						return
					}
					next <- b
					count.Add(1)
				}
			})
		}
		group.Wait()
		done = int(count.Load())
		r.close(a)
	})
	return done
}
