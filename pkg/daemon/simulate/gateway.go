package simulate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/cluster"
	"rozobox/pkg/repair"
	"rozobox/pkg/stripe"
	"rozobox/pkg/volume"
)

// gateway is one start of the gateway process.
type gateway struct {
	name    string
	lines   *lines
	array   *stripe.Array
	manager *repair.Manager
	disk    *volume.Volume
	stop    context.CancelFunc // of the manager
	stopped chan struct{}      // closed when the manager has
	busy    atomic.Int64       // clients that are in a request to it
}

const (
	// openPatience bounds one attempt to open; then it begins anew, as the
	// gateway does.
	openPatience = 10 * time.Second
	openAgain    = 200 * time.Millisecond

	// openAtLast bounds all attempts together: by then all nodes have long been
	// well again.
	openAtLast = 2 * time.Minute

	rebuildAfter = 4 * time.Second
	scrubEvery   = 30 * time.Second
	reclaimEvery = 3 * time.Second
)

// open opens the volume, trying again and again.
func (h *history) open(ctx context.Context) (*gateway, error) {
	ctx, giveUp := context.WithTimeout(ctx, openAtLast)
	defer giveUp()
	h.starts++
	g := &gateway{name: fmt.Sprintf("G%d", h.starts), stopped: make(chan struct{})}
	g.lines = h.connect(h.fates)
	opts := stripe.Options{
		Nodes: g.lines.nodes, Logger: h.logger(g.name),
		Memory: 16 * blockSize, // small, so that writers meet the bound
		Clock:  h.clock(time.Duration(h.starts) * time.Hour),

		Writeback: h.writeback,
	}
	for {
		attempt, cancel := context.WithTimeout(ctx, openPatience)
		a, err := stripe.Open(attempt, opts, h.volume)
		cancel()
		if err == nil {
			g.array = a
			break
		}
		h.note("gateway %s cannot open: %v", g.name, err)
		select {
		case <-time.After(openAgain):
		case <-ctx.Done():
			h.disconnect(g.lines)
			return nil, err
		}
	}
	h.serve(g)
	return g, nil
}

// serve lets clients use a gateway that has opened.
func (h *history) serve(g *gateway) {
	if n := g.array.Incarnation(); n != h.incarnation {
		h.note("incarnation %d: replied writes may be lost", n)
		h.incarnation = n
		h.lossy++
		h.model.lost()
	}
	g.manager = repair.New(g.array, repair.Options{
		RebuildAfter: rebuildAfter, ScrubEvery: scrubEvery, ReclaimEvery: reclaimEvery, Logger: h.logger(g.name),
	})
	g.disk = volume.New(g.array, volume.Options{Size: blocks * blockSize, BlockSize: blockSize})
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	go func() {
		defer close(g.stopped)
		g.manager.Run(ctx)
	}()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.serving = append(h.serving, g)
	h.note("gateway %s serves: %s", g.name, describe(g.array.Status().Superblock))
}

func describe(sb *cluster.Superblock) string {
	text := fmt.Sprintf("epoch %d superblock %d W %s", sb.Epoch, sb.Number, sb.Watermark)
	for _, n := range sb.Nodes {
		if n.State != cluster.In {
			text += fmt.Sprintf(", %s %s since %s", n.ID, n.State, n.Since)
		}
	}
	return text
}

// kill ends a gateway as a crash does, of its process or its machine.
func (h *history) kill(g *gateway) {
	h.retire(g)
	if h.rng.IntN(2) == 0 {
		h.hush(g.lines)
	}
	g.array.Abandon()
	g.stop()
	<-g.stopped
	g.idle()
	g.array.Wait()
	g.disk.Close()
	h.disconnect(g.lines)
	h.note("gateway %s is killed", g.name)
}

// shut ends a gateway as an operator does. Clients stop first.
func (h *history) shut(g *gateway, patience time.Duration) error {
	h.retire(g)
	g.idle()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	g.stop()
	<-g.stopped
	err := g.array.Close(ctx)
	g.disk.Close()
	h.disconnect(g.lines)
	h.note("gateway %s is closed: %v", g.name, err)
	if errors.Is(err, stripe.ErrDeposed) {
		return nil
	}
	return err
}

// retire keeps clients from choosing a gateway.
func (h *history) retire(g *gateway) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, other := range h.serving {
		if other == g {
			h.serving = append(h.serving[:i:i], h.serving[i+1:]...)
			return
		}
	}
}

// idle waits until no client is in a request to the gateway.
func (g *gateway) idle() {
	for g.busy.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
}

// current returns the gateway that opened last, nil when it is down.
func (h *history) current() *gateway {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.serving); n > 0 {
		return h.serving[n-1]
	}
	return nil
}

// choose returns a gateway for a client: nearly always the current one, but
// some clients have not heard of a takeover. deposed tells of those that had
// ended when the request began. The client takes itself off g.busy.
func (h *history) choose(rng *rand.Rand) (g *gateway, deposed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.serving)
	if n == 0 {
		return nil, false
	}
	g = h.serving[n-1]
	if n > 1 && rng.IntN(3) == 0 {
		g, deposed = h.serving[rng.IntN(n-1)], true
	}
	g.busy.Add(1) // before a kill can look
	return g, deposed
}

// latestStray is when the last request that was doubled has arrived again. What
// repair sends may take three times as long: longer than it is waited for.
const latestStray = 3 * time.Second

// drawFate draws what becomes of each request, where the history has strays.
func (h *history) drawFate() chunktest.Fate {
	h.fateMu.Lock()
	defer h.fateMu.Unlock()
	var f chunktest.Fate
	if h.fateRng.IntN(100) < 3 {
		f.Delay = time.Duration(h.fateRng.IntN(50)) * time.Millisecond
	}
	if h.fateRng.IntN(100) < 5 {
		f.Again = time.Duration(h.fateRng.Int64N(int64(latestStray)))
	}
	f.Adrift = h.fateRng.IntN(2) == 0
	return f
}
