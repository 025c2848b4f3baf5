package simulate

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// Histories that broke other systems, played over the whole volume and checked
// by the model; each ends as every history does: all nodes in, scrubbed, read,
// and nothing left over.

// told is such a history while it is played.
type told struct {
	*history
	*testing.T
	client *client
}

// tell plays a history of n nodes.
func tell(t *testing.T, n int, play func(*told)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(1, Options{Nodes: n})
		h.fates = nil
		s := &told{h, t, &client{h, rand.New(rand.NewPCG(1, 1))}}
		s.must(s.create(t.Context()))
		s.start()
		play(s)
		s.finish(t.Context())
		for _, what := range h.failures {
			t.Error(what)
		}
	})
}

func (s *told) must(err error) {
	s.Helper()
	if err != nil {
		s.history.fail("%v", err)
	}
}

func (s *told) start() *gateway {
	g, err := s.open(s.Context())
	s.must(err)
	return g
}

// write writes whole blocks from first on, below end, and flushes.
func (s *told) write(first, end int) {
	s.Helper()
	g := s.current()
	s.must(s.client.write(s.Context(), g, first*perBlock, (end-first)*perBlock, false))
	s.must(s.client.flush(s.Context(), g))
}

func (s *told) trim(first, end int) {
	s.Helper()
	g := s.current()
	s.must(s.client.trim(s.Context(), g, first*perBlock, (end-first)*perBlock, false))
	s.must(s.client.flush(s.Context(), g))
}

// read reads all, by blocks and by sectors: a block is asked of several nodes,
// a sector of one, which must not be mistaken.
func (s *told) read() {
	s.Helper()
	s.must(s.readAll(s.Context(), s.current()))
	for i := range sectors {
		s.must(s.readSectors(s.Context(), s.current(), i, 1))
	}
}

// crash takes a node's power, and all that it has not synced.
func (s *told) crash(i int) { s.stop(i, func(int) int { return 0 }) }

func (s *told) back(i int) { s.afflict(i, harm{}) }

// whole waits until all nodes are in, nothing lacks protection and repair rests.
func (s *told) whole() { s.must(s.heal(s.Context(), s.current())) }

// used adds up what the cards hold.
func (s *told) used() (bytes uint64) {
	for _, n := range s.nodes {
		stat, err := n.store.Stat(s.Context())
		s.must(err)
		bytes += stat.UsedBytes
	}
	return bytes
}

// TestToldKilledOneByOneAndReturned: six nodes up, kill one, write, kill a
// second, read all, return one by one.
func TestToldKilledOneByOneAndReturned(t *testing.T) {
	tell(t, 6, func(s *told) {
		s.write(0, blocks)
		s.crash(2)
		time.Sleep(2 * time.Second)
		s.write(5, 20)
		s.crash(4)
		s.read()
		time.Sleep(2 * time.Second)
		s.read()
		s.back(2)
		time.Sleep(time.Second)
		s.read()
		s.back(4)
		s.whole()
		s.read()
	})
}

// TestToldCleanStopThenTwoOthersKilled: a clean stop of a node, 16 blocks
// written, the node back, two others killed: those blocks are read.
func TestToldCleanStopThenTwoOthersKilled(t *testing.T) {
	tell(t, 6, func(s *told) {
		s.write(0, blocks)
		s.afflict(1, harm{cut: true})
		s.nodes[1].store.Restart()
		time.Sleep(time.Second)
		s.write(0, 16)
		s.back(1)
		s.whole()
		s.crash(3)
		s.crash(5)
		s.read()
		s.back(3)
		s.back(5)
	})
}

// TestToldI6TrimWhileANodeIsDown: it returns with what was trimmed.
func TestToldI6TrimWhileANodeIsDown(t *testing.T) {
	tell(t, 8, func(s *told) {
		s.write(0, blocks)
		time.Sleep(time.Second)
		s.write(0, blocks) // its sync makes durable that W has passed the first
		time.Sleep(time.Second)
		s.write(0, 1) // and this one the second: all that the node has is older than its absence
		s.crash(3)
		time.Sleep(time.Second)
		s.trim(4, 28)
		for range 2 { // the others free what was trimmed when they have synced a later W
			s.write(0, 1)
			time.Sleep(time.Second)
		}
		time.Sleep(2 * reclaimEvery)
		s.back(3)
		s.whole()
		s.read()
		time.Sleep(2 * reclaimEvery)
		s.crash(0)
		s.crash(6)
		s.read()
		s.back(0)
		s.back(6)
	})
}

// TestToldCardReplacedUnderASparseVolume: used space does not grow.
func TestToldCardReplacedUnderASparseVolume(t *testing.T) {
	tell(t, 8, func(s *told) {
		s.write(0, 16) // node 4 is the home of one of them, all but certainly
		s.trim(2, 5)
		s.crash(4)
		s.nodes[4].store.Wipe()
		time.Sleep(3 * rebuildAfter) // and its chunks are rebuilt
		s.back(4)
		s.whole()
		time.Sleep(2 * scrubEvery)
		if used, want := s.used(), uint64(13*(data+parity)*blockSize/data); used != want {
			t.Errorf("the cards hold %d bytes, want %d: 13 blocks", used, want)
		}
	})
}

// TestToldBitsFlippedInTwoChunksOfEachStripe: all reads right, all repaired.
func TestToldBitsFlippedInTwoChunksOfEachStripe(t *testing.T) {
	tell(t, 8, func(s *told) {
		s.write(0, blocks)
		flip := func() (flipped int) {
			for _, n := range s.nodes {
				for _, e := range n.store.Held(s.volume) {
					if i := int(e.Index); i == int(e.Block)%6 || i == int(e.Block+1)%6 {
						n.store.Damage(s.volume, e.Block, e.Index)
						flipped++
					}
				}
			}
			return flipped
		}
		flip()
		s.read()
		s.must(s.scrubTwice(s.Context(), s.current()))
		if n := worst(s.damaged()); n != 0 {
			t.Errorf("a stripe has %d damaged chunks left", n)
		}
		if flip() != 2*blocks {
			t.Error("not every stripe has all its chunks")
		}
		s.read()
	})
}

// TestToldGatewayRestartedTwentyTimesUnderLoad: no request that a living
// gateway takes fails, and nothing that was replied to is lost.
func TestToldGatewayRestartedTwentyTimesUnderLoad(t *testing.T) {
	tell(t, 8, func(s *told) {
		for i := range clientCount {
			c := &client{s.history, rand.New(rand.NewPCG(2, uint64(i)))}
			s.tasks.Go(c.run)
		}
		for i := range 20 {
			time.Sleep(time.Second)
			if g := s.current(); i%4 == 3 {
				s.must(s.shut(g, time.Minute))
			} else {
				s.kill(g)
			}
			s.start()
		}
		close(s.stopClients)
		s.tasks.Wait()
		if s.tally["write"] < 200 {
			t.Errorf("only %d writes were done: %v", s.tally["write"], s.tally)
		}
		if n := s.current().array.Incarnation(); n != 0 {
			t.Errorf("incarnation %d: devices were not reconnected", n)
		}
	})
}

// TestToldI5GatewayPausedForAMinute: another one has taken over when it goes on.
// Not a byte of it is accepted, neither of what it had queued nor of what comes.
func TestToldI5GatewayPausedForAMinute(t *testing.T) {
	tell(t, 8, func(s *told) {
		s.write(0, blocks)
		first := s.current()
		s.pause(first.lines, true)
		queued := make(chan error, 1)
		go func() { queued <- s.client.write(s.Context(), first, 0, 4*perBlock, true) }()
		s.start()
		s.write(0, 16)
		s.trim(3, 5)
		time.Sleep(time.Minute)
		before := s.used()
		s.pause(first.lines, false)
		if err := <-queued; err == nil {
			t.Error("what was queued was replied to")
		}
		if err := s.client.write(s.Context(), first, 8*perBlock, perBlock, true); err == nil {
			t.Error("a write after the pause was replied to")
		}
		if err := first.array.Err(); err == nil {
			t.Error("the gateway has not noticed")
		}
		time.Sleep(5 * time.Second)
		if after := s.used(); after > before {
			t.Errorf("the cards held %d bytes, now %d", before, after)
		}
		s.read()
		s.kill(first)
	})
}

// TestToldLostNodesAndTwoMoreDie: two nodes die for good and are rebuilt onto
// the six others, then two more may die.
func TestToldLostNodesAndTwoMoreDie(t *testing.T) {
	tell(t, 8, func(s *told) {
		s.write(0, blocks)
		g := s.current()
		for _, i := range []int{1, 5} {
			s.crash(i)
			s.nodes[i].store.Wipe()
		}
		for _, i := range []int{1, 5} {
			s.must(insist(func() error { return g.manager.Lose(s.Context(), i) }))
		}
		if n := g.array.Status().Superblock.Members(); n != 6 {
			t.Errorf("%d members are left", n)
		}
		s.crash(0)
		s.crash(7)
		s.read()
		s.write(0, 8)
		s.back(0)
		s.back(7)
		until("the six are in", func() bool { return g.array.Status().Superblock.CountIn() == 6 })
		for _, i := range []int{1, 5} {
			s.returnReplaced(s.Context(), i)
		}
		s.whole()
	})
}
