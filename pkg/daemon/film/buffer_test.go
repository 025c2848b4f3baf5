package film

import (
	"testing"
	"time"
)

func TestTheViewerTakesWhatIsThere(t *testing.T) {
	noon := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	at := func(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }
	b := buffer{at: noon}
	check := func(when string, ahead, stalled time.Duration) {
		t.Helper()
		if b.ahead != ahead || b.stalled != stalled {
			t.Errorf("%s: %v ahead, stalled %v; want %v, %v", when, b.ahead, b.stalled, ahead, stalled)
		}
	}
	b.add(at(10), 2*time.Second)
	check("before the film begins", 2*time.Second, 0)
	b.turn(at(20), true)
	b.advance(at(21.5))
	check("while it plays", time.Second/2, 0)
	b.advance(at(23))
	check("when it has run dry", 0, time.Second)
	b.add(at(24), 3*time.Second)
	check("when it goes on", 3*time.Second, 2*time.Second)
	b.turn(at(25), false)
	b.advance(at(99))
	check("when it is stopped", 2*time.Second, 2*time.Second)
}
