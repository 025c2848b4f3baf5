package simulate

import (
	"flag"
	"os"
	"testing"
)

var (
	firstSeed = flag.Uint64("seed", 1, "the first seed")
	seedCount = flag.Int("seeds", 3, "how many seeds")
)

func TestHistories(t *testing.T) {
	for i := range *seedCount {
		if !Play(t, os.Stdout, Plan{First: *firstSeed + uint64(i), Seeds: 1}) {
			t.FailNow()
		}
	}
}
