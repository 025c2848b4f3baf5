package film

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"rozobox/pkg/metrics"
	"rozobox/pkg/nbd"
)

// tape is a volume in memory, whose reads may be tampered with.
type tape struct {
	mu     sync.Mutex // guards all below
	data   []byte
	tamper func(p []byte, off int64) error // nil: nothing
}

func (v *tape) Size() int64 { return int64(len(v.data)) }

func (v *tape) ReadAt(_ context.Context, p []byte, off int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	copy(p, v.data[off:])
	if v.tamper != nil {
		return v.tamper(p, off)
	}
	return nil
}

func (v *tape) WriteAt(_ context.Context, p []byte, off int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	copy(v.data[off:], p)
	return nil
}

func (v *tape) Flush(context.Context) error { return nil }

// Names implements nbd.Exports.
func (v *tape) Names() []string { return []string{"film"} }

// Export implements nbd.Exports.
func (v *tape) Export(string) (nbd.Device, bool) { return v, true }

// show plays a film of some pieces and a bit from a tape, until seen.
func show(t *testing.T, tamper func([]byte, int64) error, seen func(*Player, *metrics.Film) bool) *tape {
	t.Helper()
	const size = 5*piece + 1000
	v := &tape{data: make([]byte, size), tamper: tamper}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := nbd.NewServer(nbd.Options{Exports: v})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	running.Go(func() {
		if err := server.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	content := bytes.NewReader(bytes.Repeat([]byte("frame"), size/5))
	p := New(Options{
		Film: &Film{"test", size, 20 * piece, content}, Addr: l.Addr().String(), Volume: "film",
		Why: func() string { return "pi3 is away" },
	})
	if f := p.Figures(); f.Why != "0% of it is written" {
		t.Errorf("before it is written: %q", f.Why)
	}
	if err := p.Load(ctx); err != nil {
		t.Fatal(err)
	}
	running.Go(func() { p.Run(ctx) })
	for !seen(p, p.Figures()) && ctx.Err() == nil {
		sleep(ctx, again/10)
	}
	return v
}

func TestAFilmPlaysRoundAfterRound(t *testing.T) {
	v := show(t, nil, func(_ *Player, f *metrics.Film) bool { return f.Round >= 3 && f.BufferSeconds > 0 })
	v.mu.Lock()
	defer v.mu.Unlock()
	if !bytes.Equal(v.data[:10], []byte("frameframe")) {
		t.Error("the film was not written")
	}
}

func TestWrongBytesAreCounted(t *testing.T) {
	wrong := func(p []byte, off int64) error {
		if off == 2*piece {
			p[7] ^= 1
		}
		return nil
	}
	show(t, wrong, func(_ *Player, f *metrics.Film) bool {
		if f.WrongBytes%piece != 0 || f.WrongBytes > f.CheckedBytes {
			t.Errorf("%d bytes wrong of %d", f.WrongBytes, f.CheckedBytes)
		}
		return f.WrongBytes > 0
	})
}

// What cannot be read is waited for, and the pause is that of all attempts.
func TestAFilmWaitsAndSaysWhy(t *testing.T) {
	attempts := 0
	refuse := func(p []byte, off int64) error {
		if off == 0 && attempts < 8 {
			attempts++
			return errors.New("too few nodes")
		}
		return nil
	}
	waited := false
	show(t, refuse, func(_ *Player, f *metrics.Film) bool {
		waited = waited || strings.HasPrefix(f.Why, "no answer for ") && strings.HasSuffix(f.Why, " s: pi3 is away")
		return f.CheckedBytes > 0
	})
	if !waited {
		t.Error("it did not say why")
	}
}

func TestAFilmIsStopped(t *testing.T) {
	fresh := New(Options{Film: Generated()})
	if fresh.Pause(); fresh.full() <= 0 {
		t.Error("a film that is stopped has room for more")
	}
	stopped, round := false, 0
	show(t, nil, func(p *Player, f *metrics.Film) bool {
		if f.Round > 0 && !stopped {
			round = f.Round
			p.Pause()
			stopped = true
			before := p.Figures()
			sleep(t.Context(), again)
			if now := p.Figures(); now.Why != Paused || now.BufferSeconds < before.BufferSeconds {
				t.Errorf("stopped: %+v, then %+v", before, now)
			}
			p.Pause()
			if now := p.Figures(); now.LongestPauseSeconds > before.LongestPauseSeconds+0.05 {
				t.Errorf("the pauses did not count anew: %+v", now)
			}
		}
		return stopped && f.Round > round
	})
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.mp4")
	text := box("moov", mvhd(0, 1, 1)) + strings.Repeat("x", 1e5)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, file, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if f.Name != "a.mp4" || f.Size != int64(len(text)) || f.BytesPerSecond != float64(len(text)) {
		t.Errorf("%+v", f)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{empty, dir, filepath.Join(dir, "none")} {
		if _, _, err := Open(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
