package tidy

import (
	"slices"
	"strings"
	"testing"
)

// Each rule must find what it is there for, at the right line.
func TestRulesFindViolations(t *testing.T) {
	long := strings.Repeat("\t_ = 0\n", maxFunction)
	for _, c := range []struct {
		rule, path, text string
		want             string // the start of the one violation; "" for none
	}{
		{"imports", "pkg/chunk/a.go", "package chunk\nimport _ \"rozobox/pkg/metrics\"\n", "pkg/chunk/a.go:2: pkg/chunk may not"},
		{"imports", "pkg/stripe/a.go", "package stripe\nimport _ \"rozobox/pkg/metrics\"\n", ""},
		{"imports", "pkg/stripe/a.go", "package stripe\nimport _ \"rozobox/pkg/chunk/chunktest\"\n", "pkg/stripe/a.go:2"},
		{"imports", "pkg/stripe/a_test.go", "package stripe\nimport _ \"rozobox/pkg/chunk/chunktest\"\n", ""},
		{"imports", "pkg/stripe/a_test.go", "package stripe_test\nimport _ \"rozobox/pkg/stripe\"\n", ""},
		{"imports", "pkg/stripe/a_test.go", "package stripe\nimport _ \"rozobox/pkg/daemon\"\n", "pkg/stripe/a_test.go:2"},
		{"imports", "pkg/nbd/attach/a.go", "package attach\nimport (\n_ \"rozobox/pkg/nbd\"\n_ \"rozobox/pkg/chunk\"\n)\n", "pkg/nbd/attach/a.go:4"},
		{"imports", "pkg/daemon/a.go", "package daemon\nimport _ \"rozobox/pkg/monitor\"\n", "pkg/daemon/a.go:2"},
		{"imports", "pkg/daemon/a_test.go", "package daemon\nimport _ \"rozobox/pkg/monitor\"\n", ""},
		{"imports", "pkg/util/a.go", "package util\n", "pkg/util/a.go:1: package pkg/util is not"},
		{"modules", "pkg/daemon/a.go", "package daemon\nimport _ \"github.com/quic-go/quic-go/qlog\"\n", "pkg/daemon/a.go:2: only pkg/chunkrpc"},
		{"modules", "pkg/chunkrpc/a.go", "package chunkrpc\nimport _ \"github.com/quic-go/quic-go/qlog\"\n", ""},
		{"modules", "pkg/chunkrpc/a.go", "package chunkrpc\nimport _ \"github.com/quic-go/quic-go/testutils/simnet\"\n", "pkg/chunkrpc/a.go:2: only pkg/chunkrpc/rpctest"},
		{"modules", "pkg/chunkrpc/rpctest/a.go", "package rpctest\nimport _ \"github.com/quic-go/quic-go\"\n", "pkg/chunkrpc/rpctest/a.go:2: only pkg/chunkrpc"},
		{"modules", "pkg/chunkrpc/a_test.go", "package chunkrpc\nimport _ \"github.com/spf13/cobra\"\n", "pkg/chunkrpc/a_test.go:2"},
		{"modules", "pkg/stripe/a.go", "package stripe\nimport _ \"golang.org/x/sync/errgroup\"\n", ""},
		{"modules", "pkg/stripe/a.go", "package stripe\nimport _ \"github.com/quic-go/quic-gopher\"\n", "pkg/stripe/a.go:2: module of"},
		{"lengths", "a.go", "package a\n\nfunc f() {\n" + long[:len(long)-7] + "}\n", "a.go:3: f has 71 lines"},
		{"lengths", "a.go", "package a\n\nfunc f() {\n" + long[:len(long)-14] + "}\n", ""},
		{"lengths", "a.go", "package a\n" + strings.Repeat("\n", maxFile), "a.go:501: more than 500"},
		{"gofmt", "a.go", "package a\n\nvar  a int\n", "a.go:3: not as gofmt"},
		{"gofmt", "a.go", "package a\n\nvar a int\n", ""},
		{"clocks", "pkg/stripe/a.go", "package stripe\nimport \"time\"\nvar a = time.Now().UnixNano()\n", "pkg/stripe/a.go:3: UnixNano may"},
		{"clocks", "pkg/stripe/a.go", "package stripe\nimport \"time\"\nvar a = time.Now()\n", ""},
		{"clocks", "pkg/daemon/a.go", "package daemon\nimport \"time\"\nvar a = time.Now().Unix()\n", ""},
	} {
		check(t, c.rule+" "+c.path, rules[c.rule](mustParse(t, c.path, c.text)), c.want)
	}
}

func mustParse(t *testing.T, path, text string) *source {
	t.Helper()
	s, err := parse(path, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// check wants exactly one violation that starts with want, or none.
func check(t *testing.T, what string, found []string, want string) {
	t.Helper()
	if want == "" && len(found) == 0 {
		return
	}
	if len(found) != 1 || want == "" || !strings.HasPrefix(found[0], want) {
		t.Errorf("%s: found %q, want %q", what, found, want)
	}
}

func TestSleepsAreFound(t *testing.T) {
	const header = "package a\nimport (\n\"time\"\n\"testing/synctest\"\n)\n"
	const rig = "func rig(f func()) { synctest.Test(nil, f) }\n"
	const nap = "func nap() { time.Sleep(1) }\n"
	for name, c := range map[string]struct{ text, want string }{
		"alone":              {"package a\nimport c \"time\"\nfunc TestA() { c.Sleep(1) }\n", "a_test.go:3: TestA"},
		"bubble":             {header + "func TestA() { synctest.Test(nil, func() { time.Sleep(1) }) }\n", ""},
		"bubble by rig":      {header + rig + nap + "func TestA() { rig(func() { nap() }) }\n", ""},
		"no bubble":          {header + rig + nap + "func TestA() { nap() }\n", "a_test.go:7: nap"},
		"both":               {header + rig + nap + "func TestA() { nap() }\nfunc TestB() { rig(nap) }\n", "a_test.go:7: nap"},
		"both, other order":  {header + rig + nap + "func TestA() { rig(nap) }\nfunc TestB() { nap() }\n", "a_test.go:7: nap"},
		"unreached":          {"package a\nimport \"time\"\n" + nap, "a_test.go:3: nap"},
		"unreached, bubbles": {header + rig + nap, ""},
	} {
		check(t, name, checkSleeps([]*source{mustParse(t, "a_test.go", c.text)}), c.want)
	}
	check(t, "not a test", checkSleeps([]*source{mustParse(t, "a.go", "package a\nimport \"time\"\n"+nap)}), "")
}

func TestPackageCommentsAreMissed(t *testing.T) {
	bare := mustParse(t, "pkg/a/a.go", "\npackage a\n")
	check(t, "bare", checkPackageComments([]*source{bare}), "pkg/a/a.go:2: package pkg/a has no comment")
	doc := mustParse(t, "pkg/a/doc.go", "// Package a is.\npackage a\n")
	check(t, "with doc.go", checkPackageComments([]*source{bare, doc}), "")
	other := mustParse(t, "pkg/b/doc.go", "// Package b is.\npackage b\n")
	check(t, "with another's doc.go", checkPackageComments([]*source{bare, other}), "pkg/a/a.go:2")
}

func TestTopLevelIsChecked(t *testing.T) {
	names := []string{".git", "cmd", "go.mod", "rozobox", "a.test", "docs"}
	found := checkTopLevel(names, "/rozobox\n*.test\n")
	if !slices.Equal(found, []string{"docs:1: does not belong at the top level"}) {
		t.Errorf("found %q", found)
	}
}

func TestWordsAreFound(t *testing.T) {
	for text, bad := range map[string]bool{
		"a\n// TO" + "DO: later": true,
		"a\nFIX" + "ME":          true,
		"a\ncd /home" + "/me/x":  true,
		"a\ncd /ro" + "ot/x":     true,
		"a\ncd /wo" + "rk/x":     true,
		"a\nthe work/rest ratio": false,
		"a\n/home":               false,
		"a\nTODOS":               false,
	} {
		want := ""
		if bad {
			want = "x:2: "
		}
		check(t, text, checkWords("x", []byte(text)), want)
	}
}
