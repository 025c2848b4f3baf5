package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRelaxTimers: every thread of a process has the slack, those too that Go's
// runtime started before main, and it ends with what it was called for.
func TestRelaxTimers(t *testing.T) {
	if os.Getenv("ROZOBOX_RELAX") != "" {
		RelaxTimers()
		fmt.Println(threadSlacks(t))
		return
	}
	relaxed := exec.Command(os.Args[0], "-test.run=^TestRelaxTimers$", "-test.v") // shows why it skips
	relaxed.Env = append(os.Environ(), "ROZOBOX_RELAX=1")
	out, err := relaxed.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if strings.Contains(string(out), "SKIP") {
		t.Skipf("%s", out)
	}
	want := fmt.Sprintf("map[%d:true]", timerSlack.Nanoseconds())
	if !strings.Contains(string(out), want) {
		t.Errorf("slacks of its threads, in nanoseconds: %s; want %s", out, want)
	}
}

// threadSlacks returns the slacks of this process's threads, as Linux prints them.
func threadSlacks(t *testing.T) map[string]bool {
	slacks := make(map[string]bool)
	threads, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		slack, err := os.ReadFile(filepath.Join("/proc", filepath.Base(thread), "timerslack_ns"))
		if errors.Is(err, fs.ErrPermission) {
			t.Skip("root alone sees the slack of other threads")
		}
		if err != nil {
			t.Fatal(err)
		}
		slacks[strings.TrimSpace(string(slack))] = true
	}
	return slacks
}
