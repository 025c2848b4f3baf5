package daemon

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"rozobox/pkg/metrics"
)

// Bounds of the events that are kept.
const (
	// maxEvents is what happens in an eventful day.
	maxEvents = 256

	// maxEventText bounds one event, in bytes: two lines of a terminal.
	maxEventText = 300

	// shownEvents is how many go into each picture: more than a page shows,
	// and few enough to be sent twice a second.
	shownEvents = 50

	// eventsFor is how long an event is shown in pictures.
	eventsFor = time.Hour

	// repeatedFor is how long an event is not kept again when the like of it
	// was the last about its node and volume: a hundred chunks that a scrub
	// mends, or requests that fail, must not push out why.
	repeatedFor = 5 * time.Second
)

// events keeps what happened last, as the log tells it.
type events struct {
	mu   sync.Mutex // guards list
	list []kept     // the newest last
}

// kept is an event, and by what it is known again.
type kept struct {
	metrics.Event
	message string
}

func (e *events) add(k kept) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.repeatsLocked(k) {
		return
	}
	if len(e.list) == maxEvents {
		e.list = append(e.list[:0], e.list[1:]...)
	}
	e.list = append(e.list, k)
}

func (e *events) repeatsLocked(k kept) bool {
	for _, old := range slices.Backward(e.list) {
		if old.Node == k.Node && old.Volume == k.Volume {
			return old.message == k.message && k.Time.Sub(old.Time) < repeatedFor
		}
	}
	return false
}

// since returns at most n events that are not older, the newest last.
func (e *events) since(oldest time.Time, n int) []metrics.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]metrics.Event, 0, min(n, len(e.list)))
	for _, k := range e.list[max(0, len(e.list)-n):] {
		if !k.Time.Before(oldest) {
			list = append(list, k.Event)
		}
	}
	return list
}

// keeping is a log handler that keeps events, whatever the log's own level.
type keeping struct {
	slog.Handler
	events       *events
	node, volume string // of the logger
	details      string // likewise, of its other attributes
}

// keepEvents returns a logger that tells events too what it logs from info up.
func keepEvents(logger *slog.Logger, e *events) *slog.Logger {
	return slog.New(keeping{Handler: logger.Handler(), events: e})
}

// Enabled implements slog.Handler.
func (k keeping) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || k.Handler.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (k keeping) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		k.events.add(k.event(r))
	}
	if !k.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return k.Handler.Handle(ctx, r)
}

func (k keeping) event(r slog.Record) kept {
	r.Attrs(func(a slog.Attr) bool {
		k.take(a)
		return true
	})
	return kept{message: r.Message, Event: metrics.Event{
		Time: r.Time, Level: levelName(r.Level), Node: k.node, Volume: k.volume,
		Text: printable(r.Message+k.details, maxEventText),
	}}
}

// take enters an attribute of the logger or of the record.
func (k *keeping) take(a slog.Attr) {
	switch a.Key {
	case "node":
		k.node = a.Value.String()
	case "volume", "export":
		k.volume = a.Value.String()
	case "error", "reason", "why":
		if err := a.Value.Any(); err != nil && err != io.EOF { // that there is none goes without saying
			k.details += ": " + a.Value.String()
		}
	case "addr": // the node's name says enough
	default:
		if v := a.Value.Resolve(); v.Kind() == slog.KindBool {
			if v.Bool() {
				k.details += ", " + strings.ReplaceAll(a.Key, "_", " ")
			}
			return
		}
		k.details += ", " + strings.ReplaceAll(a.Key, "_", " ") + " " + readable(a)
	}
}

// readable says a value to people.
func readable(a slog.Attr) string {
	v := a.Value.Resolve()
	switch {
	case v.Kind() == slog.KindDuration:
		return v.Duration().Round(time.Millisecond).String()
	case v.Kind() == slog.KindInt64 && a.Key == "bytes":
		return about(uint64(max(0, v.Int64())))
	}
	return v.String()
}

func levelName(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "error"
	case l >= slog.LevelWarn:
		return "warn"
	}
	return "info"
}

// printable bounds a text, and leaves out what could command a terminal: it may
// have come from another machine.
func printable(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || 0x7f <= r && r < 0xa0 || r == '\ufffd':
			return -1
		}
		return r
	}, text)
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit-len("…")], "") + "…"
	}
	return text
}

// WithAttrs implements slog.Handler.
func (k keeping) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		k.take(a)
	}
	k.Handler = k.Handler.WithAttrs(attrs)
	return k
}

// WithGroup implements slog.Handler.
func (k keeping) WithGroup(name string) slog.Handler {
	k.Handler = k.Handler.WithGroup(name)
	return k
}

func (a *admin) showEvents(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, a.gateway.events.since(time.Time{}, maxEvents))
}
