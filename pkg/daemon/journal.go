package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
)

// journal logs for systemd: the level before each line, as in <4>, and no time,
// which the journal keeps itself.
type journal struct {
	slog.Handler
	line *journalLine
}

// journalLine puts the level before what the handler writes, a record at once.
type journalLine struct {
	mu    sync.Mutex // guards level; kept while a line is written, so that they do not mix
	level slog.Level
	to    io.Writer
}

func newJournal(w io.Writer, least slog.Level) journal {
	line := &journalLine{to: w}
	options := &slog.HandlerOptions{Level: least, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}}
	return journal{slog.NewTextHandler(line, options), line}
}

// Handle implements slog.Handler.
func (j journal) Handle(ctx context.Context, r slog.Record) error {
	j.line.mu.Lock()
	defer j.line.mu.Unlock()
	j.line.level = r.Level
	return j.Handler.Handle(ctx, r)
}

// Write is called once for each record.
func (l *journalLine) Write(p []byte) (int, error) {
	if _, err := fmt.Fprintf(l.to, "<%d>%s", priority(l.level), p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// priority is that of syslog.
func priority(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	case l >= slog.LevelInfo:
		return 6
	}
	return 7
}

// WithAttrs implements slog.Handler.
func (j journal) WithAttrs(attrs []slog.Attr) slog.Handler {
	return journal{j.Handler.WithAttrs(attrs), j.line}
}

// WithGroup implements slog.Handler.
func (j journal) WithGroup(name string) slog.Handler {
	return journal{j.Handler.WithGroup(name), j.line}
}

// isJournal reports whether w is what systemd says is connected to its journal:
// the variable is inherited by processes whose output goes elsewhere.
func isJournal(w *os.File, stream string) bool {
	info, err := w.Stat()
	if err != nil || stream == "" {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stream == fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}
