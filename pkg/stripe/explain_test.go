package stripe

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"rozobox/pkg/metrics"
)

// explain returns the picture of a block, and its chunks in one line each.
func (r *rig) explain(a *Array, block uint64, verify bool) (*metrics.Stripe, []string) {
	r.Helper()
	s, err := a.Explain(r.Context(), block, verify)
	if err != nil {
		r.Fatal(err)
	}
	var lines []string
	for _, c := range s.Chunks {
		line := fmt.Sprintf("%d %s %s", c.Index, c.Node, c.State)
		if c.Spare {
			line += " spare"
		}
		if c.Why != "" {
			line += ": " + c.Why
		}
		lines = append(lines, line)
	}
	return s, lines
}

// homes returns the nodes of a block's chunks, then its spares.
func (a *Array) homes(block uint64) (nodes []int) {
	for _, n := range a.place.Place(block) {
		nodes = append(nodes, int(n))
	}
	return nodes
}

func (r *rig) wantLines(got []string, want ...string) {
	r.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		r.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// all returns a line for each home, which are all in that state.
func (a *Array) all(block uint64, state string) (lines []string) {
	for i, n := range a.homes(block)[:a.geo.Width()] {
		lines = append(lines, fmt.Sprintf("%d n%d %s", i, n, state))
	}
	return lines
}

func TestExplainHealthyTrimmedAndNeverWritten(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.write(a, 5, 1)
		s, lines := r.explain(a, 5, true)
		r.wantLines(lines, a.all(5, "present")...)
		if s.Version != "3.1" || s.Zeroes || s.Volume != "v" || s.Block != 5 || s.Offset != 5*testBlock ||
			s.Data != 4 || s.Parity != 2 || s.Chunks[3].Parity || !s.Chunks[4].Parity || s.Chunks[5].Version != "3.1" {
			t.Errorf("healthy: %+v", s)
		}
		s, lines = r.explain(a, 6, true)
		r.wantLines(lines, a.all(6, "absent")...)
		if s.Version != "" || !s.Zeroes {
			t.Errorf("never written: %+v", s)
		}
		if err := a.Discard(r.Context(), 5); err != nil {
			t.Fatal(err)
		}
		r.flush(a)
		s, lines = r.explain(a, 5, true)
		r.wantLines(lines, a.all(5, "tombstone")...)
		if s.Version != "3.2" || !s.Zeroes {
			t.Errorf("trimmed: %+v", s)
		}
		if _, err := a.Explain(r.Context(), 64, false); err == nil || !strings.Contains(err.Error(), "block 64 of 64") {
			t.Errorf("beyond the end: %v", err)
		}
		r.close(a)
	})
}

// TestExplainSpare: a spare stands in for a home that is out, until the home is
// in again and has it.
func TestExplainSpare(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		nodes := a.homes(5)
		out, spare := nodes[1], nodes[6]
		r.write(a, 5, 1)
		r.flush(a)
		r.links[out].Cut()
		time.Sleep(2 * a.opts.NodeTimeout)
		r.write(a, 5, 2)
		_, lines := r.explain(a, 5, true)
		want := a.all(5, "present")
		away := fmt.Sprintf("1 n%d unavailable: is out since version 3.1; does not answer: ", out)
		if !strings.HasPrefix(lines[1], away) {
			t.Errorf("got %s, want %s", lines[1], away)
		}
		stands := fmt.Sprintf("1 n%d present spare: in place of n%d, which is out since version 3.1", spare, out)
		r.wantLines(append(lines[:1:1], lines[2:]...), append([]string{want[0], stands}, want[2:]...)...)

		r.links[out].Heal()
		time.Sleep(time.Second)
		_, lines = r.explain(a, 5, true)
		r.wantLines(lines[1:3], fmt.Sprintf("1 n%d present: is out since version 3.1; the chunk is stale", out), stands)
		r.flush(a)
		r.resync(a, out)
		_, lines = r.explain(a, 5, true)
		r.wantLines(lines[1:3], want[1], fmt.Sprintf("1 n%d present spare: left over, n%d is in again", spare, out))
		r.close(a)
	})
}

// TestExplainDamage: nobody has met it yet, so it shows only to those who look.
func TestExplainDamage(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.write(a, 5, 1)
		r.flush(a)
		bad := a.homes(5)[4]
		r.stores[bad].Damage(r.volume, 5, 4)
		s, lines := r.explain(a, 5, true)
		want := a.all(5, "present")
		want[4] = fmt.Sprintf("4 n%d damaged: the checksum is wrong", bad)
		r.wantLines(lines, want...)
		if s.Version != "3.1" {
			t.Errorf("version %s", s.Version)
		}
		r.close(a)
	})
}

// readAndExplain has a client read a block, and returns what is told of that:
// the picture, and the indexes of the chunks that were asked for and so on.
func (r *rig) readAndExplain(a *Array, block uint64) (s *metrics.Stripe, asked, used, hedged string) {
	r.Helper()
	a.LastRead()
	r.expect(a, block, 1)
	if last, known := a.LastRead(); !known || last != block {
		r.Errorf("block %d (%v) was read last, want %d", last, known, block)
	}
	s, _ = r.explain(a, block, false)
	for _, c := range s.Chunks {
		for list, is := range map[*string]bool{&asked: c.Asked, &used: c.Used, &hedged: c.Hedged} {
			if is {
				*list += fmt.Sprint(c.Index)
			}
		}
	}
	return s, asked, used, hedged
}

func TestExplainTellsWhoGaveTheLastRead(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.write(a, 5, 1)
		s, asked, _, _ := r.readAndExplain(a, 5)
		if !s.Memory || asked != "" {
			t.Errorf("before it is settled: %+v", s)
		}
		r.flush(a)
		s, asked, used, hedged := r.readAndExplain(a, 5)
		if asked != "0123" || used != "0123" || hedged != "" || s.Chunks[0].Seconds != 0.001 || s.Memory {
			t.Errorf("from its homes: asked %s, used %s, hedged %s, %+v", asked, used, hedged, s)
		}
		if s, _ = r.explain(a, 6, false); !s.Read.IsZero() {
			t.Errorf("another block was read at %v", s.Read)
		}
		r.links[a.homes(5)[2]].Delay(40 * time.Millisecond)
		s, asked, used, hedged = r.readAndExplain(a, 5)
		if asked != "01234" || used != "0134" || hedged != "4" || s.Chunks[2].Seconds != 0 || s.Chunks[4].Seconds == 0 {
			t.Errorf("with a late node: asked %s, used %s, hedged %s, %+v", asked, used, hedged, s)
		}
		r.links[a.homes(5)[2]].Delay(time.Millisecond)
		time.Sleep(time.Second)
		r.stores[a.homes(5)[3]].Damage(r.volume, 5, 3)
		s, asked, used, hedged = r.readAndExplain(a, 5)
		if asked != "01234" || used != "0124" || hedged != "" || a.Status().Degraded != 2 {
			t.Errorf("with a damaged chunk: asked %s, used %s, hedged %s, %+v", asked, used, hedged, s)
		}
		r.close(a)
	})
}

// TestReadsAreTracedWhileSomebodyWatches, and no longer.
func TestReadsAreTracedWhileSomebodyWatches(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for b := range uint64(4) {
			r.write(a, b, 1)
		}
		r.flush(a)
		r.expect(a, 1, 1)
		if block, known := a.LastRead(); known {
			t.Errorf("block %d was traced before anybody watched", block)
		}
		r.expect(a, 2, 1)
		time.Sleep(watchFor + 1)
		r.expect(a, 3, 1)
		if block, _ := a.LastRead(); block != 2 {
			t.Errorf("block %d was read last, want 2: nobody watched when 3 was", block)
		}
		r.close(a)
	})
}

// TestLookingMakesNoCardWork: the view of the live stream must not turn cards
// yellow, which reads of chunks do. Only who asks for it has chunks read.
func TestLookingMakesNoCardWork(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		r.write(a, 5, 1)
		r.flush(a)
		reads := func() (n uint64) {
			for _, s := range r.stores {
				stat, err := s.Stat(r.Context())
				if err != nil {
					t.Fatal(err)
				}
				n += stat.Reads
			}
			return n
		}
		before := reads()
		r.explain(a, 5, false)
		if after := reads(); after != before {
			t.Errorf("looking read %d chunks", after-before)
		}
		r.explain(a, 5, true)
		if after := reads(); after != before+6 {
			t.Errorf("verifying read %d chunks, want 6", after-before)
		}
		r.close(a)
	})
}

// TestHedgeThatLostGaveNothing: both were complete at once, and the homes' data
// went to the client.
func TestHedgeThatLostGaveNothing(t *testing.T) {
	var tracing tracing
	home := &asked{node: 1, index: 0, round: byHomes, took: 2}
	other := &asked{node: 2, index: 4, round: byHedge, took: 1, used: true}
	tracing.end(&trace{asks: []*asked{home, other}}, nil, nil)
	if !home.used || other.used {
		t.Errorf("home used: %v, hedge used: %v", home.used, other.used)
	}
}

// TestReadsOfTheBlockAskedAboutAreKept, also of a read of several blocks, and
// when others are read after it.
func TestReadsOfTheBlockAskedAboutAreKept(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		for b := range uint64(8) {
			r.write(a, b, 1)
		}
		r.flush(a)
		a.Watch(2)
		if err := a.ReadAt(r.Context(), make([]byte, 4*testBlock), 0); err != nil {
			t.Fatal(err)
		}
		r.expect(a, 7, 1)
		if block, known := a.LastRead(); block != 7 || !known {
			t.Errorf("block %d was read last, want 7", block)
		}
		if s, _ := r.explain(a, 2, false); s.Read.IsZero() || !s.Chunks[0].Used {
			t.Errorf("the block that was asked about: %+v", s)
		}
		if s, _ := r.explain(a, 3, false); !s.Read.IsZero() {
			t.Errorf("a block that nobody asked about: %+v", s)
		}
		r.close(a)
	})
}
