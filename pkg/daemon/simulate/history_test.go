package simulate

import (
	"flag"
	"math"
	"os"
	"testing"

	"rozobox/pkg/chunkrpc"
)

var (
	firstSeed = flag.Uint64("seed", 1, "the first seed")
	over      = flag.String("over", "", "the transport")
	only      = flag.String("only", "", "the one mishap that happens")
	seedCount = flag.Int("seeds", 3, "how many seeds")
)

func TestHistories(t *testing.T) {
	for i := range *seedCount {
		if !Play(t, os.Stdout, Plan{First: *firstSeed + uint64(i), Seeds: 1, Over: chunkrpc.Transport(*over), Only: *only}) {
			t.FailNow()
		}
	}
}

// TestMatrixCutsAfterEachMessageAndSync: those to each node count by themselves.
func TestMatrixCutsAfterEachMessageAndSync(t *testing.T) {
	const writes, flushes = 4, 2 // of the script
	r, messages := play(t, crash{cut: math.MaxInt64})
	if want := int64((writes + flushes) * (data + parity)); len(r.Failures) > 0 || messages < want {
		t.Errorf("%d messages, want %d; failures %q", messages, want, r.Failures)
	}
}

// TestModelRefusesWhatADiskMayNotDo: a model that allows everything would find
// nothing.
func TestModelRefusesWhatADiskMayNotDo(t *testing.T) {
	m := newModel(sectorSize)
	write := func(err error) []byte {
		c, stamp := m.begin(0, 1, false)
		buf := make([]byte, sectorSize)
		stampSectors(0, stamp, buf)
		m.end(c, err)
		return buf
	}
	read := func(what string, data []byte, allowed bool) {
		t.Helper()
		if err := m.read(m.start(), 0, data); (err == nil) != allowed {
			t.Errorf("%s: %v", what, err)
		}
	}
	zeroes := make([]byte, sectorSize)
	first := write(nil)
	read("zeroes after a write", zeroes, false)
	failed := write(os.ErrClosed)
	read("the write before one that failed", first, true)
	read("a write that failed and did not show", failed, false)
	m.flushed(m.start())
	second := write(nil)
	read("overwritten", first, false)
	m.lost()
	read("flushed, after power loss", first, true)
	read("lost, and seen to be lost", second, false)
	read("older than flushed", zeroes, false)
	read("torn", append(second[:256:256], first[256:]...), false)
}
