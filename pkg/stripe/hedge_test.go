package stripe

import (
	"sync/atomic"
	"testing"
	"time"
)

// TestFrozenNodeDoesNotDelayReadsWithoutBudget: when slow nodes have used up the
// budget of hedges, frozen ones still do not keep a reader for node_timeout.
func TestFrozenNodeDoesNotDelayReadsWithoutBudget(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for b := range uint64(60) {
			r.write(a, b, 1)
		}
		r.flush(a)
		r.links[1].Freeze()
		r.links[4].Freeze()
		longest := time.Duration(0)
		for b := range uint64(60) {
			a.mu.Lock()
			a.hedges = 0
			a.mu.Unlock()
			start := time.Now()
			r.expect(a, b, 1)
			longest = max(longest, time.Since(start))
		}
		if longest > 100*time.Millisecond {
			t.Errorf("longest pause %s", longest)
		}
		r.close(a)
	})
}

// TestANodeThatStaysSlowIsNotWaitedFor: what its reads took while those of all
// did is no reason to wait for it once the others are quick again.
func TestANodeThatStaysSlowIsNotWaitedFor(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		cards := make([]*card, len(r.links))
		for i := range cards {
			slow := illness{late: 1, by: 200 * time.Millisecond}
			cards[i] = &card{Store: r.links[i], turn: make(chan struct{}, 1), illness: slow}
			r.opts.Nodes[i].Store = cards[i]
		}
		a := r.open()
		for b := range uint64(60) {
			r.write(a, b, 1)
		}
		r.flush(a)
		longest := func() (d time.Duration) {
			for i := range uint64(600) {
				begin := time.Now()
				r.expect(a, i%60, 1)
				d = max(d, time.Since(begin))
			}
			return d
		}
		for _, c := range cards {
			c.ill.Store(true)
		}
		longest()
		for _, c := range cards[1:] {
			c.ill.Store(false)
		}
		longest() // until they know
		if d := longest(); d > 100*time.Millisecond {
			t.Errorf("longest pause %s", d)
		}
		r.close(a)
	})
}

// TestASlowNodeThatIsNeededIsWaitedFor: with two nodes gone, a third that is slow
// has what nobody else has. It is asked once, not again and again for what is on
// its way, even where it takes longer than NodeTimeout.
func TestASlowNodeThatIsNeededIsWaitedFor(t *testing.T) {
	for by, most := range map[time.Duration]int64{200 * time.Millisecond: 1, 2 * time.Second: 2} {
		t.Run(by.String(), func(t *testing.T) {
			inRig(t, 6, func(r *rig) {
				slow := &card{Store: r.links[0], turn: make(chan struct{}, 1), illness: illness{late: 1, by: by}}
				var reads, chunks atomic.Int64
				r.opts.Nodes[0].Store = counted{slow, &reads, &chunks}
				a := r.open()
				for b := range uint64(20) {
					r.write(a, b, 1)
				}
				r.flush(a)
				r.links[2].Cut()
				r.links[5].Cut()
				time.Sleep(2 * a.opts.NodeTimeout)
				slow.ill.Store(true)
				for b := range uint64(20) {
					a.mu.Lock()
					a.hedges = 0
					a.mu.Unlock()
					chunks.Store(0)
					if err := a.ReadAt(r.patience(8*time.Second), make([]byte, testBlock), int64(b)*testBlock); err != nil {
						r.Fatal(err)
					}
					if n := chunks.Load(); n > most {
						r.Errorf("block %d: the slow node was asked %d times", b, n)
					}
				}
				slow.ill.Store(false)
				r.close(a)
			})
		})
	}
}

// TestLateReadsDoNotMoveTheDelay: where a tenth of a node's reads are late, they
// still are late; where all take longer, that becomes usual.
func TestLateReadsDoNotMoveTheDelay(t *testing.T) {
	var l latency
	for i := range 1000 {
		l.observe(2*time.Millisecond + time.Duration(i%3)*time.Millisecond)
		if i%10 == 0 {
			l.observe(100 * time.Millisecond)
		}
		if late := l.late(); i > 10 && late > 20*time.Millisecond {
			t.Fatalf("after %d reads one is late after %s", i, late)
		}
	}
	for range 3000 {
		l.observe(10 * time.Millisecond) // now it hardly deviates
	}
	for range 20 {
		l.observe(100 * time.Millisecond)
	}
	if late := l.late(); late < 100*time.Millisecond {
		t.Errorf("after twenty of 100 ms, one is late after %s", late)
	}
}
