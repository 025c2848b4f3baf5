package simulate

import (
	"flag"
	"strings"
	"testing"
)

var (
	firstSeed = flag.Uint64("seed", 1, "the first seed")
	seedCount = flag.Int("seeds", 3, "how many seeds")
)

func TestHistories(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+uint64(*seedCount); seed++ {
		r := Run(t, seed, Options{})
		t.Log(r)
		if len(r.Failures) > 0 {
			t.Fatalf("%s\n%s", strings.Join(r.Journal, "\n"), strings.Join(r.Failures, "\n"))
		}
	}
}
