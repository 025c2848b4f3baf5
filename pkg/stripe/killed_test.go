package stripe

import (
	"context"
	"sync"
	"testing"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/cluster"
)

// mortal is a node that can be killed as a process is. What it was asked before
// that is not answered, and nobody says so, until something more is sent to it:
// then its host answers that nobody is there. A heartbeat is on its way nearly
// all of its time, and sent again.
type mortal struct {
	chunk.Store
	mu   sync.Mutex // guards dead, told
	dead bool
	told chan struct{} // closed when the host has said so
}

func (m *mortal) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
}

func (m *mortal) isDead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

// reaches reports whether the node lives, and has its host tell where not.
func (m *mortal) reaches() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.dead {
		return true
	}
	select {
	case <-m.told:
	default:
		close(m.told)
	}
	return false
}

// ask does a request that takes so long, or finds out that the node is dead.
func (m *mortal) ask(ctx context.Context, took time.Duration) error {
	if !m.reaches() {
		return chunk.ErrUnavailable
	}
	if rest(ctx, took); !m.isDead() {
		return nil
	}
	select {
	case <-m.told:
	case <-ctx.Done():
	}
	return chunk.ErrUnavailable
}

func (m *mortal) Beat(ctx context.Context, term chunk.Term) (chunk.Pulse, error) {
	if !m.reaches() {
		return chunk.Pulse{}, chunk.ErrUnavailable
	}
	if rest(ctx, time.Millisecond); m.isDead() {
		rest(ctx, sentAgain)
		m.reaches()
		return chunk.Pulse{}, chunk.ErrUnavailable
	}
	return m.Store.Beat(ctx, term)
}

func (m *mortal) Write(ctx context.Context, term chunk.Term, ops []chunk.Op) (chunk.Ack, error) {
	if err := m.ask(ctx, time.Millisecond); err != nil {
		return chunk.Ack{}, err
	}
	return m.Store.Write(ctx, term, ops)
}

func (m *mortal) Read(ctx context.Context, term chunk.Term, gets []chunk.Get) ([]chunk.Chunk, error) {
	if err := m.ask(ctx, time.Millisecond); err != nil {
		return nil, err
	}
	return m.Store.Read(ctx, term, gets)
}

const (
	sentAgain = 30 * time.Millisecond // after so long
	cardSync  = 15 * time.Millisecond // what a card takes to make something durable
)

func (m *mortal) Sync(ctx context.Context, term chunk.Term) (chunk.Ack, error) {
	if err := m.ask(ctx, cardSync); err != nil {
		return chunk.Ack{}, err
	}
	return m.Store.Sync(ctx, term)
}

func (m *mortal) PutSuperblock(ctx context.Context, term chunk.Term, sb chunk.Superblock) error {
	if err := m.ask(ctx, cardSync); err != nil {
		return err
	}
	return m.Store.PutSuperblock(ctx, term, sb)
}

// TestKilledNodesCostLessThanATenthOfASecond: at whatever moment between two
// heartbeats one or two nodes are killed. The machine's own pauses come on top.
func TestKilledNodesCostLessThanATenthOfASecond(t *testing.T) {
	for _, count := range []int{1, 2} {
		for after := time.Duration(0); after < beatEvery; after += 9 * time.Millisecond {
			if longest := pauseOfKilled(t, count, after); longest > 85*time.Millisecond {
				t.Errorf("%d killed at %s: a pause of %s", count, after, longest)
			}
		}
	}
}

// pauseOfKilled returns the longest write or read while so many nodes are killed.
func pauseOfKilled(t *testing.T, count int, after time.Duration) (longest time.Duration) {
	inRig(t, 8, func(r *rig) {
		nodes := make([]*mortal, 8)
		for i := range nodes {
			nodes[i] = &mortal{Store: r.stores[i], told: make(chan struct{})}
			r.opts.Nodes[i].Store = nodes[i]
		}
		a := r.open()
		for b := range uint64(64) {
			r.write(a, b, 1)
		}
		r.flush(a)
		var clients sync.WaitGroup
		pauses := make([]time.Duration, 2)
		until := time.Now().Add(400 * time.Millisecond)
		client := func(n int, do func(block uint64)) {
			clients.Go(func() {
				for b := uint64(0); time.Now().Before(until); b = (b + 1) % 64 {
					begin := time.Now()
					do(b)
					pauses[n] = max(pauses[n], time.Since(begin))
				}
			})
		}
		client(0, func(b uint64) { r.write(a, b, 1) })
		client(1, func(b uint64) { r.expect(a, b, 1) })
		time.Sleep(100*time.Millisecond + after)
		for i := range count {
			nodes[3*i].kill()
		}
		clients.Wait()
		longest = max(pauses[0], pauses[1])
		r.close(a)
	})
	return longest
}

// A node that falls silent is not taken for one that has returned, when it goes
// out while the heartbeat that failed is still waited for.
func TestASilentNodeThatGoesOutIsNotUp(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for n := range 2 {
			time.Sleep(37 * time.Millisecond)
			r.links[n].Freeze()
			for a.superblock().Nodes[n].State == cluster.In {
				time.Sleep(time.Millisecond)
			}
			if a.Status().Up[n] {
				t.Errorf("node %d is out and up", n)
			}
		}
		r.close(a)
	})
}
