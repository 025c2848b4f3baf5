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
	if !Play(t, os.Stdout, Plan{First: *firstSeed, Seeds: *seedCount}) {
		t.Fail()
	}
}

func TestCrashMatrix(t *testing.T) {
	if !Play(t, os.Stdout, Plan{Matrix: true, Step: 211}) {
		t.Fail()
	}
}
