package simulate

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// normalSeeds is within how many seeds the simulator must find each fault.
const normalSeeds = 300

// mutant is a fault put into the code on purpose: texts replaced in files, where
// FAULT stands for whether this fault is wanted.
type mutant struct {
	name  string
	only  string // the mishap that finds it soonest; empty: any
	seed  uint64 // that most likely finds it then; the others come after it
	edits []edit // more than one where a second defence must be down too
}

type edit struct {
	file string // below pkg
	old  string
	new  string
}

var mutants = []mutant{
	{"overwrite in place", "", 7, []edit{{
		"chunk/chunktest/state.go",
		"	v.set(k, slices.Insert(recs, i, rec))",
		"	if FAULT {\n		recs, i = nil, 0\n	}\n	v.set(k, slices.Insert(recs, i, rec))",
	}}},
	{"W past a version before the out record is durable", "crash", 13, []edit{{
		"stripe/superblock.go",
		"	if err := a.storeSuperblock(ctx, next); err != nil {",
		"	if FAULT {\n		a.mu.Lock()\n		a.ledger.setSuperblock(next)\n		a.settleLocked()\n		a.mu.Unlock()\n" +
			"		time.Sleep(time.Second) // so that it matters more often\n	}\n" +
			"	if err := a.storeSuperblock(ctx, next); err != nil {",
	}}},
	{"W raised before all holders synced", "", 35, []edit{{
		"stripe/ledger.go",
		"l.writes[n].reached(synced, l.writeQuorum)",
		"(l.writes[n].reached(synced, l.writeQuorum) || FAULT && l.writes[n].reached(acknowledged, l.writeQuorum))",
	}}},
	{"a returning node trusted", "", 1, []edit{{
		"stripe/follow.go",
		"	return a.differences(n, newest, here), a.follows(n)",
		"	if FAULT {\n		return nil, a.follows(n)\n	}\n	return a.differences(n, newest, here), a.follows(n)",
	}}},
	{"what only a returning node knows kept", "lonely version", 4, []edit{{
		"stripe/heal.go",
		`		return "unknown version"`,
		"		if FAULT {\n			return \"\"\n		}\n		return \"unknown version\"",
	}}},
	{"a possibly flushed version passed over at recovery", "thin version", 1, []edit{{
		"cluster/recovery.go",
		"	if e.Complete {\n		return true\n	}",
		"	if e.Complete || FAULT {\n		return true\n	}",
	}}},
	{"versions mixed in a decode", "", 1, []edit{{
		"stripe/decode.go",
		"	if got.State == chunk.Present {\n",
		"	if got.State == chunk.Present {\n		if d.known && FAULT {\n			got.Version = d.current.Version\n		}\n",
	}}},
	{"a tombstone dropped early", "", 1, []edit{{
		"chunk/chunktest/state.go",
		"			v.set(k, slices.Clone(recs[n-1:]))",
		"			if recs[n-1].tombstone && FAULT {\n				n++\n			}\n			v.set(k, slices.Clone(recs[n-1:]))",
	}}},
	{"a repair that was given up forgotten", "late repair", 1, []edit{{
		"stripe/stray.go",
		"	one.left = true\n	p.strays++\n",
		"	if !FAULT {\n		one.left = true\n		p.strays++\n	}\n",
	}}},
	{"no epoch check", "gateway replaced", 1, []edit{{
		"chunk/chunktest/memory.go",
		"term.Epoch < v.epoch || term.Nonce != v.nonce",
		"!FAULT && (term.Epoch < v.epoch || term.Nonce != v.nonce)",
	}}},
	{"in declared on an unsynced copy", "newcomer", 1, []edit{{
		"stripe/follow.go",
		"	if err := a.peers[n].syncAll(); err != nil {",
		"	syncAll := a.peers[n].syncAll\n	if FAULT {\n		syncAll = func() error { return nil }\n	}\n" +
			"	if err := syncAll(); err != nil {",
	}, {
		// A restarted card is asked whether it lacks anything.
		"stripe/cutoff.go",
		"				return true, nil\n",
		"				return !FAULT, nil\n",
	}}},
}

const (
	// askForHunt names the variable of the environment that has TestMutants look
	// for each fault as anybody would: among all mishaps, from the first seed on.
	// That takes a quarter of an hour.
	askForHunt = "ROZOBOX_HUNT"

	// askForFault has the simulator that was built with all faults use one.
	askForFault = "ROZOBOX_FAULT"
)

// TestMutants builds the simulator with all faults, and wants each found. The
// sources on disk stay as they are.
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the simulator anew")
	}
	program := buildMutants(t)
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			if os.Getenv(askForHunt) != "" {
				m.only, m.seed = "", 1
			}
			m.find(t, program)
		})
	}
	for _, m := range toldMutants {
		t.Run(m.name, func(t *testing.T) { m.tell(t, program) })
	}
	t.Run("none", func(t *testing.T) {
		if out, err := (&mutant{name: "none", seed: 1}).play(t, program, 1).CombinedOutput(); err != nil {
			t.Errorf("it fails without a fault:\n%s", out)
		}
	})
}

func (m *mutant) play(t *testing.T, program string, seeds int) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestHistories$", "-test.timeout=10m",
		fmt.Sprintf("-seed=%d", m.seed), fmt.Sprintf("-seeds=%d", seeds), "-only="+m.only)
	cmd.Env = append(os.Environ(), askForFault+"="+m.name)
	return cmd
}

// tell plays the history that defends the rule which the fault breaks.
func (m *mutant) tell(t *testing.T, program string) {
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^"+m.name+"$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), askForFault+"="+m.name)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("not found")
	}
	_, why, _ := strings.Cut(string(out), "told_test.go:")
	t.Logf("found: told_test.go:%.300s", strings.TrimSpace(why))
}

func (m *mutant) find(t *testing.T, program string) {
	out, err := m.play(t, program, normalSeeds).CombinedOutput()
	histories := strings.Count(string(out), "histories, ")
	if err == nil {
		t.Fatalf("not found within %d histories", histories)
	}
	_, why, _ := strings.Cut(string(out), "FAILED:\n")
	why, _, _ = strings.Cut(why, "\n")
	t.Logf("found after %d histories: %.200s", histories, strings.TrimSpace(why))
}

// buildMutants compiles this package's test with all faults laid over the
// sources, for one to be chosen when it runs.
func buildMutants(t *testing.T) (program string) {
	t.Helper()
	dir := t.TempDir()
	texts := map[string]string{}
	for _, m := range slices.Concat(mutants, toldMutants) {
		wanted := fmt.Sprintf("(fault.Getenv(%q) == %q)", askForFault, m.name)
		for _, e := range m.edits {
			e.apply(t, texts, wanted)
		}
	}
	replace := map[string]string{}
	for name, text := range texts {
		replace[name] = filepath.Join(dir, strconv.Itoa(len(replace))+".go")
		write(t, replace[name], []byte(text))
	}
	overlay, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "mutants")
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

// apply makes the edit in one of texts, which is read at need. The file gets an
// import of its own for asking whether the fault is wanted.
func (e edit) apply(t *testing.T, texts map[string]string, wanted string) {
	t.Helper()
	name, err := filepath.Abs(filepath.Join("../..", filepath.FromSlash(e.file)))
	if err != nil {
		t.Fatal(err)
	}
	text := texts[name]
	if text == "" {
		text = source(t, name)
	}
	if strings.Count(text, e.old) != 1 {
		t.Fatalf("%s has not exactly once: %s", e.file, e.old)
	}
	texts[name] = strings.Replace(text, e.old, strings.ReplaceAll(e.new, "FAULT", wanted), 1)
}

// source reads a Go file, and adds what tells which fault is wanted.
func source(t *testing.T, name string) string {
	t.Helper()
	all, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	clause, rest, found := strings.Cut(string(all), "\n")
	if !found || !strings.HasPrefix(clause, "package ") {
		t.Fatalf("%s does not begin with its package clause", name)
	}
	return clause + "; import fault \"os\"\n" + rest
}

func write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
