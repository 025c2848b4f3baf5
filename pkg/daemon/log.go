package daemon

import (
	"log/slog"
	"os"
)

// NewLogger logs to w at the level of a configuration file, one event a line:
// as text for people on a terminal, as text with levels for systemd's journal,
// else as JSON.
func NewLogger(w *os.File, level string) (*slog.Logger, error) {
	least, err := parseLevel(level)
	if err != nil {
		return nil, err
	}
	options := &slog.HandlerOptions{Level: least}
	switch {
	case isTerminal(w):
		return slog.New(slog.NewTextHandler(w, options)), nil
	case isJournal(w, os.Getenv("JOURNAL_STREAM")):
		return slog.New(newJournal(w, least)), nil
	}
	return slog.New(slog.NewJSONHandler(w, options)), nil
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
