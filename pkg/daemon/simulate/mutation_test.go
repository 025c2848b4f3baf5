package simulate

import (
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// normalSeeds is within how many seeds the simulator must find each fault.
const normalSeeds = 300

// mutant is a fault put into the code on purpose: a text replaced in a file.
type mutant struct {
	name string // or the test that must find it
	file string // below pkg
	old  string
	new  string
	also *mutant // a second defence that must be down too, or nil
}

var mutants = []mutant{
	{
		"overwrite in place", "chunk/chunktest/state.go",
		"v.set(k, slices.Insert(recs, i, rec))",
		"v.set(k, []record{rec}); _ = i",
		nil,
	},
	{
		"W past a version before the out record is durable", "stripe/superblock.go",
		"	if err := a.storeSuperblock(ctx, next); err != nil {",
		"	a.mu.Lock()\n	a.ledger.setSuperblock(next)\n	a.settleLocked()\n	a.mu.Unlock()\n" +
			"	time.Sleep(time.Second) // so that it matters more often\n" +
			"	if err := a.storeSuperblock(ctx, next); err != nil {",
		nil,
	},
	{
		"W raised before all holders synced", "stripe/ledger.go",
		"l.writes[n].reached(synced, l.writeQuorum)",
		"l.writes[n].reached(acknowledged, l.writeQuorum)",
		nil,
	},
	{
		"a returning node trusted", "stripe/follow.go",
		"return a.differences(n, newest, here), a.follows(n)",
		"_ = a.differences(n, newest, here); return nil, a.follows(n)",
		nil,
	},
	{
		"what only a returning node knows kept", "stripe/heal.go",
		`return "unknown version"`,
		`return ""`,
		nil,
	},
	{
		"a possibly flushed version passed over at recovery", "cluster/recovery.go",
		"	if e.Complete {\n		return true\n	}",
		"	if e.Complete || true {\n		return true\n	}",
		nil,
	},
	{
		"versions mixed in a decode", "stripe/decode.go",
		"	if got.State == chunk.Present {",
		"	if got.State == chunk.Present && d.known {\n		got.Version = d.current.Version",
		nil,
	},
	{
		"a tombstone dropped early", "chunk/chunktest/state.go",
		"			v.set(k, slices.Clone(recs[n-1:]))",
		"			if recs[n-1].tombstone {\n				n++\n			}\n			v.set(k, slices.Clone(recs[n-1:]))",
		nil,
	},
	{
		"a repair that was given up forgotten", "stripe/stray.go",
		"	one.left = true\n	p.strays++\n",
		"",
		nil,
	},
	{
		"no epoch check", "chunk/chunktest/memory.go",
		"	case term.Epoch < v.epoch || term.Nonce != v.nonce:",
		"	case false:",
		nil,
	},
	{
		"in declared on an unsynced copy", "stripe/follow.go",
		"	if err := a.peers[n].syncAll(); err != nil {",
		"	if err := error(nil); err != nil {",
		&mutant{
			"what a restarted card lacks is not asked", "stripe/cutoff.go",
			"				return true, nil\n", "				return false, nil\n", nil,
		},
	},
}

// toldMutants break, for each of the histories that broke other systems, the rule
// that it defends. None is known for the trim while a node is down: what one rule
// lets pass there, the next one finds.
var toldMutants = []mutant{
	{
		"TestToldKilledOneByOneAndReturned", "stripe/decode.go",
		"	case d.have() < d.geo.Data:", "	case d.have() <= d.geo.Data:",
		nil,
	},
	{
		"TestToldCleanStopThenTwoOthersKilled", "stripe/follow.go",
		"return a.differences(n, newest, here), a.follows(n)",
		"_ = a.differences(n, newest, here); return nil, a.follows(n)",
		&mutant{
			"what lacks protection is not noticed", "stripe/follow.go",
			"			if n == cluster.NoHolder || held[at] < version {", "			if held[at] > version {", nil,
		},
	},
	{
		"TestToldCardReplacedUnderASparseVolume", "stripe/heal.go",
		"	if w.Spares {\n		w.drop(ctx)", "	if false {\n		w.drop(ctx)",
		nil,
	},
	{
		"TestToldBitsFlippedInTwoChunksOfEachStripe", "stripe/decode.go",
		"	if got.State == chunk.Present {\n		if",
		"	if got.State == chunk.Present || got.State == chunk.Damaged {\n		if",
		nil,
	},
	{
		"TestToldGatewayRestartedTwentyTimesUnderLoad", "stripe/ledger.go",
		"	if w.isReplied() || !w.reached(acknowledged, l.writeQuorum) {",
		"	if w.isReplied() || !w.reached(queued, l.writeQuorum) {",
		nil,
	},
	{
		"TestToldI5GatewayPausedForAMinute", "chunk/chunktest/memory.go",
		"	case term.Epoch < v.epoch || term.Nonce != v.nonce:",
		"	case false:",
		nil,
	},
	{
		"TestToldLostNodesAndTwoMoreDie", "repair/manager.go",
		"lacking > 0 {", "lacking > 1<<30 {",
		nil,
	},
}

// askForMutants names the variable of the environment that has TestMutants run.
const askForMutants = "ROZOBOX_MUTANTS"

// TestMutants builds the simulator with each fault, and wants it found. The
// sources on disk stay as they are.
func TestMutants(t *testing.T) {
	if os.Getenv(askForMutants) == "" {
		t.Skip("a dozen builds and up to 300 histories each take minutes; set " + askForMutants + "=1")
	}
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) { m.find(t) })
	}
}

// TestToldMutants plays each of the told histories on a program that is broken
// for it.
func TestToldMutants(t *testing.T) {
	if os.Getenv(askForMutants) == "" {
		t.Skip("a build for each history takes a minute; set " + askForMutants + "=1")
	}
	for _, m := range toldMutants {
		t.Run(m.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), m.build(t), "-test.run=^"+m.name+"$", "-test.timeout=5m")
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatal("not found")
			}
			_, why, _ := strings.Cut(string(out), "told_test.go:")
			t.Logf("found: told_test.go:%.300s", strings.TrimSpace(why))
		})
	}
}

func (m mutant) find(t *testing.T) {
	program := m.build(t)
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestHistories$", "-seeds="+strconv.Itoa(normalSeeds), "-test.timeout=5m")
	out, err := cmd.CombinedOutput()
	histories := strings.Count(string(out), "histories, ")
	if err == nil {
		t.Fatalf("not found within %d histories", histories)
	}
	_, why, _ := strings.Cut(string(out), "FAILED:\n")
	why, _, _ = strings.Cut(why, "\n")
	t.Logf("found after %d histories: %.200s", histories, strings.TrimSpace(why))
}

// build compiles this package's test with the fault laid over the source.
func (m mutant) build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for each := &m; each != nil; each = each.also {
		original := each.original(t)
		text := each.source(t, cmp.Or(replace[original], original))
		replace[original] = filepath.Join(dir, filepath.Base(original))
		write(t, replace[original], []byte(strings.Replace(text, each.old, each.new, 1)))
	}
	overlay, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "mutant")
	plan, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	write(t, overlay, plan)
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay="+overlay, "-o", program, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// original returns the file that the fault is in.
func (m *mutant) original(t *testing.T) string {
	t.Helper()
	name, err := filepath.Abs(filepath.Join("../..", filepath.FromSlash(m.file)))
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// source returns the text of that file, or of a copy that has other faults.
func (m *mutant) source(t *testing.T, name string) string {
	t.Helper()
	all, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(all), m.old) != 1 {
		t.Fatalf("%s has not exactly once: %s", m.file, m.old)
	}
	return string(all)
}

func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
