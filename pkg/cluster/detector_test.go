package cluster

import (
	"slices"
	"testing"
	"time"
)

func eight() *Superblock {
	sb := &Superblock{Geometry: Geometry{Data: 4, Parity: 2}, Nodes: make([]Member, 8)}
	for i := range sb.Nodes {
		sb.Nodes[i].State = In
	}
	return sb
}

// after runs the detector every 100 ms while all nodes answer but the silent
// ones, which were last heard at 1 s, until now.
func after(now time.Duration, sb *Superblock, silent ...int) []int {
	d := &Detector{Timeout: time.Second}
	var out []int
	for t := time.Second; t <= now; t += 100 * time.Millisecond {
		vitals := make([]Vital, len(sb.Nodes))
		for i := range vitals {
			vitals[i].Answered = t
			if slices.Contains(silent, i) {
				vitals[i].Answered = time.Second
			}
		}
		out = d.Check(t, sb, vitals)
	}
	return out
}

func TestDetectorDeclaresTheSilentOut(t *testing.T) {
	if out := after(2*time.Second, eight(), 3, 5); len(out) != 0 {
		t.Errorf("after 1.0 s of silence: %v", out)
	}
	if out := after(2100*time.Millisecond, eight(), 3, 5); !slices.Equal(out, []int{3, 5}) {
		t.Errorf("after 1.1 s of silence: %v", out)
	}
}

// TestTrapAllCardsBlinkTogether: when fewer than a quorum answers, nobody is
// declared out, however long it lasts.
func TestTrapAllCardsBlinkTogether(t *testing.T) {
	if out := after(time.Minute, eight(), 0, 1, 2); len(out) != 0 {
		t.Errorf("3 of 8 silent: %v", out)
	}
	if out := after(time.Minute, eight(), 0, 1, 2, 3, 4, 5, 6, 7); len(out) != 0 {
		t.Errorf("all silent: %v", out)
	}
}

// TestTrapCardsReturnOneAfterTheOther: when enough are back to answer, the last
// of them are not out yet, unless they do not come.
func TestTrapCardsReturnOneAfterTheOther(t *testing.T) {
	sb, d := eight(), &Detector{Timeout: time.Second}
	vitals := make([]Vital, 8)
	back := func(now time.Duration, n int) bool { return n < 7 && now >= time.Duration(20+n)*100*time.Millisecond }
	for now := time.Second; now <= 5*time.Second; now += 25 * time.Millisecond {
		for n := range vitals {
			vitals[n].Closed = !back(now, n)
			if !vitals[n].Closed {
				vitals[n].Answered = now
			}
		}
		out := d.Check(now, sb, vitals)
		if len(out) > 0 && (now < 3400*time.Millisecond || !slices.Equal(out, []int{7})) {
			t.Fatalf("at %s: %v", now, out)
		}
		if len(out) == 0 && now > 3600*time.Millisecond {
			t.Fatal("the one that does not return stays in")
		}
	}
}

// TestTrapGatewayStopped: a gateway that was stopped
// for 10 s does not blame the nodes; it hears them first.
func TestTrapGatewayStopped(t *testing.T) {
	sb, d := eight(), &Detector{Timeout: time.Second}
	vitals := make([]Vital, 8)
	for i := range vitals {
		vitals[i].Answered = time.Second
	}
	d.Check(time.Second, sb, vitals)
	if out := d.Check(11*time.Second, sb, vitals[:8]); len(out) != 0 {
		t.Errorf("right after the stop: %v", out)
	}
	for i := range vitals[1:] {
		vitals[i+1].Answered = 12 * time.Second
	}
	for _, now := range []time.Duration{11400, 11800} {
		if out := d.Check(now*time.Millisecond, sb, vitals); len(out) != 0 {
			t.Errorf("within the grace: %v", out)
		}
	}
	if out := d.Check(12*time.Second+1, sb, vitals); !slices.Equal(out, []int{0}) {
		t.Errorf("after the grace: %v", out)
	}
}

func TestDetectorKeepsEnoughIn(t *testing.T) {
	sb := eight()
	sb.Nodes[0].State, sb.Nodes[1].State, sb.Nodes[2].State = Out, Out, Out
	if out := after(time.Minute, sb, 3, 4); !slices.Equal(out, []int{3}) {
		t.Errorf("declared out %v, but only one of five may go", out)
	}
}

func TestDetectorClosedConnectionIsNoticedAtOnce(t *testing.T) {
	sb, d := eight(), &Detector{Timeout: time.Second}
	vitals := make([]Vital, 8)
	for i := range vitals {
		vitals[i].Answered = time.Second
	}
	vitals[4].Closed = true
	if out := d.Check(time.Second, sb, vitals); !slices.Equal(out, []int{4}) {
		t.Errorf("declared out %v, want node 4", out)
	}
}
