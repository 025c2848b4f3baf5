package daemon

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// logFile returns a file and what systemd would call it.
func logFile(t *testing.T) (f *os.File, stream string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return f, fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

func TestJournalLines(t *testing.T) {
	f, stream := logFile(t)
	t.Setenv("JOURNAL_STREAM", stream)
	log, err := NewLogger(f, "debug")
	if err != nil {
		t.Fatal(err)
	}
	log.Error("the store is read-only from now on")
	log.With("node", "pi3").Warn("node is out")
	log.WithGroup("g").Info("hello", "level", 5)
	log.Debug("two\nlines")
	text, err := os.ReadFile(f.Name())
	want := "<3>msg=\"the store is read-only from now on\"\n" +
		"<4>msg=\"node is out\" node=pi3\n" +
		"<6>msg=hello g.level=5\n" +
		"<7>msg=\"two\\nlines\"\n"
	if err != nil || string(text) != want {
		t.Errorf("got %v\n%s", err, text)
	}
}

// The variable is inherited; what goes elsewhere stays JSON.
func TestAnotherStreamIsNotTheJournal(t *testing.T) {
	f, stream := logFile(t)
	for _, other := range []string{"", "1:2", stream + "0"} {
		t.Setenv("JOURNAL_STREAM", other)
		log, err := NewLogger(f, "info")
		if err != nil {
			t.Fatal(err)
		}
		log.Info("hello")
	}
	text, err := os.ReadFile(f.Name())
	if err != nil || strings.Count(string(text), `"msg":"hello"`) != 3 {
		t.Errorf("got %v\n%s", err, text)
	}
}

// Lines of goroutines that log at once are whole, and each has its own level.
func TestJournalLinesDoNotMix(t *testing.T) {
	f, stream := logFile(t)
	t.Setenv("JOURNAL_STREAM", stream)
	log, err := NewLogger(f, "info")
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelError} {
		writers.Go(func() {
			for range 200 {
				log.With("a", 1).Log(t.Context(), level, level.String())
			}
		})
	}
	writers.Wait()
	text, err := os.ReadFile(f.Name())
	if err != nil || strings.Count("\n"+string(text), "\n<6>msg=INFO a=1") != 200 ||
		strings.Count("\n"+string(text), "\n<3>msg=ERROR a=1") != 200 {
		t.Errorf("got %v\n%s", err, text)
	}
}
