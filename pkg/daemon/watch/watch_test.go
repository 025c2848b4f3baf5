package watch

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/metrics"
)

// rig is three nodes in memory, links to them, and somebody who watches. It
// lives in a bubble: time is fake.
type rig struct {
	t        *testing.T
	nodes    []*chunktest.Memory
	links    []*chunktest.Link
	pictures chan metrics.Cluster
}

// inBubble runs a test over a rig; known may be nil.
func inBubble(t *testing.T, known func([]Answer) *metrics.Cluster, f func(*rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, pictures: make(chan metrics.Cluster)}
		opts := Options{Name: "lab", Known: known}
		for _, id := range []string{"pi1", "pi2", "pi3"} {
			node := chunktest.NewMemory(chunk.NodeID(id))
			link := &chunktest.Link{Store: node}
			r.nodes, r.links = append(r.nodes, node), append(r.links, link)
			opts.Nodes = append(opts.Nodes, Node{ID: id, Addr: id + ":7400", Asked: link})
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan bool)
		go func() {
			Run(ctx, opts, r.pictures)
			close(ended)
		}()
		f(r)
		cancel()
		<-ended
	})
}

// until returns the first picture of which ok is true, and how long that took.
func (r *rig) until(what string, ok func(metrics.Cluster) bool) (metrics.Cluster, time.Duration) {
	r.t.Helper()
	begin := time.Now()
	for time.Since(begin) < 10*time.Second {
		if p := <-r.pictures; ok(p) {
			return p, time.Since(begin)
		}
	}
	r.t.Fatalf("%s: not within 10 s", what)
	panic("unreachable")
}

func (r *rig) next() metrics.Cluster { return <-r.pictures }

// work writes n chunks of 4 KiB to a node.
func (r *rig) work(node, n int) {
	r.t.Helper()
	term := chunk.Term{Volume: chunk.VolumeID{1}, Epoch: 1, Nonce: 1}
	if _, err := r.nodes[node].Grant(r.t.Context(), term.Volume, 1, 1); err != nil {
		r.t.Fatal(err)
	}
	for i := range n {
		op := chunk.Op{
			Kind: chunk.OpPut, Block: uint64(i), Data: make([]byte, 4096),
			Version: chunk.MakeVersion(1, uint64(time.Now().UnixNano())&0xffffffff+uint64(i)),
		}
		if ack, err := r.nodes[node].Write(r.t.Context(), term, []chunk.Op{op}); err != nil || ack.Errs != nil {
			r.t.Fatal(err, ack.Errs)
		}
	}
}

func states(p metrics.Cluster) (states []string) {
	for _, c := range p.Cards {
		states = append(states, c.State)
	}
	return states
}

func is(want ...string) func(metrics.Cluster) bool {
	return func(p metrics.Cluster) bool { return slices.Equal(states(p), want) }
}

func TestASilentNodeIsUnavailableSoonAndDelaysNothing(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		p := r.next()
		if !is("idle", "idle", "idle")(p) || p.Name != "lab" || p.Cards[1].Addr != "pi2:7400" {
			t.Fatalf("first picture: %+v", p)
		}
		r.links[1].Freeze()
		p, took := r.until("silent", is("idle", "unavailable", "idle"))
		if took > 1300*time.Millisecond || !strings.Contains(p.Cards[1].Why, "no answer within 700ms") {
			t.Errorf("after %v: %q", took, p.Cards[1].Why)
		}
		r.work(0, 1)
		if _, took = r.until("working", is("working", "unavailable", "idle")); took > 600*time.Millisecond {
			t.Errorf("that pi1 works was seen after %v", took)
		}
		r.links[1].Heal()
		r.until("back", func(p metrics.Cluster) bool { return p.Cards[1].State == metrics.Idle })
	})
}

func TestACutNodeIsUnavailableAtItsNextTurn(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.next()
		r.links[2].Cut()
		if _, took := r.until("cut", is("idle", "idle", "unavailable")); took > 600*time.Millisecond {
			t.Errorf("seen after %v", took)
		}
	})
}

// A card that has never answered does not keep the others from being shown.
func TestTheFirstPictureWaitsForTheSlowestOnly(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.links[0].Freeze()
		r.links[1].Cut()
		if p := r.next(); !is("unavailable", "unavailable", "idle")(p) {
			// pi1 froze after its first answer was under way, or before it.
			r.until("frozen", is("unavailable", "unavailable", "idle"))
		}
	})
}

func TestRatesAreOfTheTimeBetweenAnswers(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.next()
		r.work(0, 10)
		p, _ := r.until("written", func(p metrics.Cluster) bool { return p.Cards[0].WritesPerSecond > 0 })
		if c := p.Cards[0]; c.WritesPerSecond != 20 || c.WriteBytesPerSecond != 20*4096 || c.ReadsPerSecond != 0 {
			t.Errorf("10 chunks in 0.5 s are %+v", c)
		}
		p, took := r.until("idle again", is("idle", "idle", "idle"))
		if p.Cards[0].WritesPerSecond != 0 || took > 1500*time.Millisecond {
			t.Errorf("after %v: %+v", took, p.Cards[0])
		}
	})
}

// Its counters begin anew: that is no negative rate, and no huge one.
func TestARestartIsNoRate(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.next()
		r.work(0, 10)
		r.until("written", func(p metrics.Cluster) bool { return p.Cards[0].WritesPerSecond > 0 })
		r.nodes[0].Restart()
		for range 8 {
			if c := r.next().Cards[0]; c.WritesPerSecond < 0 || c.WritesPerSecond > 20 {
				t.Errorf("%v chunks/s", c.WritesPerSecond)
			}
		}
	})
}

func TestASlowReaderGetsTheNewest(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.next()
		r.links[0].Cut()
		time.Sleep(10 * time.Second)
		now := time.Now()
		if p := r.next(); !is("unavailable", "idle", "idle")(p) || now.Sub(p.Time) > every {
			t.Errorf("got %v of %v ago", states(p), now.Sub(p.Time))
		}
	})
}
