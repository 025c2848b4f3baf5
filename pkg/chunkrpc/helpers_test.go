package chunkrpc

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines keeps what was logged, and tells when a line has come.
type lines struct {
	t testing.TB

	mu   sync.Mutex // guards text and more
	text string
	more chan struct{} // closed at the next line
}

func newLines(t testing.TB) *lines { return &lines{t: t, more: make(chan struct{})} }

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text += string(p)
	close(l.more)
	l.more = make(chan struct{})
	return l.t.Output().Write(p)
}

// wait returns when a line with the words has been logged.
func (l *lines) wait(t *testing.T, words string) {
	t.Helper()
	timeout := time.After(5 * time.Second)
	for {
		l.mu.Lock()
		text, more := l.text, l.more
		l.mu.Unlock()
		if strings.Contains(text, words) {
			return
		}
		select {
		case <-more:
		case <-timeout:
			t.Errorf("nothing was logged with %q", words)
			return
		}
	}
}
