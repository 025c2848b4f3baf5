package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// rozobox runs a command line.
func rozobox(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &err)
	return code, out.String(), err.String()
}

func TestEveryHelpStatesTheExitStatus(t *testing.T) {
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		if !strings.Contains(strings.ToLower(cmd.Long), "exit status") {
			t.Errorf("the help of %q does not state the exit status", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRoot())
}

// Whatever is wrong is told in one line that names it.
func TestErrorsAreOneLine(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("bad.toml", []byte("cluster = \"lab\"\nnonsense = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"frobnicate":                             `unknown command "frobnicate"`,
		"demo extra":                             "extra",
		"demo --size 1G":                         `bad size "1G"`,
		"demo --nodes 2":                         "2 nodes",
		"demo --script a":                        "--script needs --headless",
		"demo --play a":                          "--play and --record need a terminal",
		"demo --headless --record a":             "--play and --record need a terminal",
		"demo --headless --script none.txt":      "none.txt",
		"demo --headless --script x --play none": "none",
		"status":                                 "say --config FILE",
		"status --config none.toml":              "none.toml",
		"gateway --config bad.toml":              "bad.toml:2: nonsense: unknown key",
		"chunkserver --config bad.toml":          "bad.toml:2: nonsense: unknown key in the file of a chunk server",
		"chunkserver":                            "chunkserver.toml",
		"init":                                   "--dir",
		"init --dir x --name lab --node pi1":     `"pi1": want ID=HOST:PORT`,
		"init --dir x --name lab --node a=b:1":   "1 nodes",
		"init --dir x --add-node a=b:1":          "gateway.toml",
		"init --dir x --add-node a=b:1 --name l": "add-node name",
		"volume create a":                        `"size"`,
		"volume create a --size 1GiB":            "say --config FILE",
		"volume delete a --config none.toml":     "none.toml",
		"volume frobnicate":                      `unknown command "frobnicate"`,
		"node frobnicate pi1":                    `unknown command "frobnicate"`,
		"node lost":                              "accepts 1 arg",
		"monitor --replay a --record b":          "replay record",
		"monitor extra":                          "extra",
		"node replace pi1 --config none.toml":    "none.toml",
		"repair limit 2x --config none.toml":     `bad rate "2x"`,
		"repair pause now":                       `unknown command "now"`,
		"scrub a b":                              "at most 1 arg",
		"scrub --config none.toml":               "none.toml",
		"explain films":                          "accepts 2 arg",
		"explain films 1G":                       `volume "films": OFFSET: bad size "1G"`,
		"explain films 1MiB --config none.toml":  "none.toml",
	} {
		code, _, stderr := rozobox(t, "", strings.Fields(args)...)
		if code != exitError || !strings.HasPrefix(stderr, "rozobox: ") || !strings.Contains(stderr, want) ||
			strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d, %q; want %q", args, code, stderr, want)
		}
	}
	if left, _ := filepath.Glob("*"); len(left) != 1 {
		t.Errorf("the failed commands left %q", left)
	}
}

func makeCluster(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "lab")
	args := []string{"init", "--dir", dir, "--name", "lab", "--admin", "127.0.0.1:1"}
	for _, id := range []string{"1", "2", "3", "4", "5", "6"} {
		args = append(args, "--node", "pi"+id+"=127.0.0.1:"+id)
	}
	if code, _, stderr := rozobox(t, "", args...); code != 0 {
		t.Fatal(stderr)
	}
	return dir
}

func TestStatusOfDeadClusterIsUnavailable(t *testing.T) {
	config := filepath.Join(makeCluster(t), "gateway", "gateway.toml")
	code, stdout, stderr := rozobox(t, "", "status", "--config", config)
	if code != exitError || !strings.Contains(stdout, "pi6") || !strings.Contains(stderr, "unavailable") {
		t.Errorf("status %d\n%s\n%s", code, stdout, stderr)
	}
	code, stdout, _ = rozobox(t, "", "status", "--json", "--config", config)
	if code != exitError || !strings.Contains(stdout, `"health": "unavailable"`) {
		t.Errorf("status %d\n%s", code, stdout)
	}
}

func TestVolumeDeleteWantsTheNameAgain(t *testing.T) {
	config := filepath.Join(makeCluster(t), "gateway", "gateway.toml")
	for name, c := range map[string]struct {
		stdin string
		args  []string
		want  string
	}{
		"nothing typed":   {"", nil, "nothing is deleted"},
		"another typed":   {"film\n", nil, `confirmed with "film"`},
		"another by flag": {"films\n", []string{"--confirm", "film"}, `confirmed with "film"`},
		"typed":           {"films\n", nil, "ask the gateway at 127.0.0.1:1"},
		"by flag":         {"", []string{"--confirm", "films"}, "ask the gateway at 127.0.0.1:1"},
	} {
		args := append([]string{"volume", "delete", "films", "--config", config}, c.args...)
		code, _, stderr := rozobox(t, c.stdin, args...)
		if code != exitError || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: status %d, %q; want %q", name, code, stderr, c.want)
		}
	}
}

func TestVersion(t *testing.T) {
	if code, stdout, _ := rozobox(t, "", "version"); code != 0 || !strings.HasPrefix(stdout, "rozobox ") {
		t.Errorf("status %d, %q", code, stdout)
	}
}
