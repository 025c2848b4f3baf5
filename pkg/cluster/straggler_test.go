package cluster

import (
	"math/rand/v2"
	"testing"
	"time"
)

// crew is eight nodes that write for clients, in fake time: every 2 ms each is
// sent a batch, which it ends after its own time.
type crew struct {
	*Straggler
	sb    *Superblock
	works []Work
	took  func(node int) time.Duration
	now   time.Duration
	busy  [8]*Request
	until [8]time.Duration
}

func newCrew(took func(node int) time.Duration) *crew {
	c := &crew{Straggler: &Straggler{For: 2 * time.Second}, sb: eight(), took: took, now: 50 * time.Millisecond}
	for range c.sb.Nodes {
		c.works = append(c.works, Work{Up: true, Awaited: true, Writes: &Pace{}, Syncs: &Pace{}})
	}
	return c
}

// work lets them work for so long, and returns the first to be declared out,
// and when.
func (c *crew) work(long time.Duration) (node int, after time.Duration) {
	for start := c.now; c.now < start+long; c.now += 2 * time.Millisecond {
		for n := range c.works {
			c.step(n)
		}
		if node, _ := c.Check(c.now, c.sb, c.works); node >= 0 {
			return node, c.now - start
		}
	}
	return -1, 0
}

func (c *crew) step(n int) {
	if c.busy[n] != nil && c.now >= c.until[n] {
		c.works[n].Writes.End(c.now, c.busy[n], true)
		c.busy[n] = nil
	}
	if c.busy[n] == nil {
		c.busy[n] = c.works[n].Writes.Begin(c.now, 1, 0)
		c.until[n] = c.now + c.took(n)
	}
}

const usual = 4 * time.Millisecond

// times returns the usual time, but for some nodes so many times that.
func times(factor int, nodes ...int) func(int) time.Duration {
	return func(n int) time.Duration {
		for _, slow := range nodes {
			if n == slow {
				return time.Duration(factor) * usual
			}
		}
		return usual
	}
}

func TestStragglerGoesOut(t *testing.T) {
	for name, took := range map[string]func(int) time.Duration{
		"twenty times slower": times(20, 3),
		"it does nothing":     times(1e6, 3),
	} {
		node, after := newCrew(took).work(10 * time.Second)
		if node != 3 || after < 2*time.Second || after > 3*time.Second {
			t.Errorf("%s: node %d after %s, want 3 within 3 s", name, node, after)
		}
	}
}

func TestNotEachSlowNodeIsAStraggler(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for name, took := range map[string]func(int) time.Duration{
		"three times slower": times(3, 3),
		"all are slow":       times(50, 0, 1, 2, 3, 4, 5, 6, 7),
		"most are slow":      times(50, 0, 1, 2, 3, 4),
		"a tenth is very late": func(n int) time.Duration {
			if n == 3 && rng.IntN(10) == 0 {
				return 100 * time.Millisecond
			}
			return usual
		},
		"it erases for a second, every three": func(n int) time.Duration {
			if n == 3 && rng.IntN(500) == 0 {
				return time.Second
			}
			return usual
		},
	} {
		if node, after := newCrew(took).work(30 * time.Second); node >= 0 {
			t.Errorf("%s: node %d after %s", name, node, after)
		}
	}
}

// TestStragglerHasALongerQueue: who holds all up has all that waits, so a request
// takes longer by the length of the queue, which is nobody's fault.
func TestStragglerHasALongerQueue(t *testing.T) {
	for _, c := range []struct {
		factor, node int
	}{{3, -1}, {20, 3}} {
		crew := newCrew(times(1))
		for now := time.Second; now < 10*time.Second; now += 100 * time.Millisecond {
			for n, w := range crew.works {
				queue, took := 1, usual
				if n == 3 {
					queue, took = 40, time.Duration(40*c.factor)*usual
				}
				w.Writes.End(now, w.Writes.Begin(now-took, 1, queue-1), true)
			}
			if node, _ := crew.Check(now, crew.sb, crew.works); node >= 0 {
				if node != c.node {
					t.Errorf("%d times slower: node %d is out", c.factor, node)
				}
				c.node = -1
				break
			}
		}
		if c.node >= 0 {
			t.Errorf("%d times slower: node %d is not out", c.factor, c.node)
		}
	}
}

// TestStragglerIsNoReasonToGiveUpProtection: as many nodes stay in as a stripe
// has, and nobody goes while too few answer, or have anything to do.
func TestStragglerIsNoReasonToGiveUpProtection(t *testing.T) {
	c := newCrew(times(20, 3))
	c.sb.Nodes[0].State, c.sb.Nodes[1].State = Out, Out
	if node, _ := c.work(10 * time.Second); node >= 0 {
		t.Errorf("with six in, node %d goes out", node)
	}
	c = newCrew(times(20, 3))
	for n := range 3 {
		c.works[n].Up = false
	}
	if node, _ := c.work(10 * time.Second); node >= 0 {
		t.Errorf("while three do not answer, node %d goes out", node)
	}
	c = newCrew(times(20, 3))
	for _, n := range []int{0, 4, 5, 6, 7} {
		c.works[n].Awaited = false
	}
	if node, _ := c.work(10 * time.Second); node >= 0 {
		t.Errorf("compared with two, node %d goes out", node)
	}
}

// TestTrapGatewayStoodStill: what took long then says nothing of a node.
func TestTrapGatewayStoodStill(t *testing.T) {
	c := newCrew(times(20, 3))
	for range 10 {
		if node, _ := c.work(1500 * time.Millisecond); node >= 0 {
			t.Fatalf("node %d is out", node)
		}
		c.now += 10 * time.Second
	}
}

// TestStragglerOnlyByWhatItDoes: a node that was slow once, and has had nothing
// to do since, is not.
func TestStragglerOnlyByWhatItDoes(t *testing.T) {
	c := newCrew(times(20, 3))
	c.work(1500 * time.Millisecond)
	for n, w := range c.works {
		w.Writes.End(c.now, c.busy[n], n == 3)
	}
	for ; c.now < 10*time.Second; c.now += 100 * time.Millisecond {
		if node, _ := c.Check(c.now, c.sb, c.works); node >= 0 {
			t.Fatalf("at %s node %d is out", c.now, node)
		}
	}
}
