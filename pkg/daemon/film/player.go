package film

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"rozobox/pkg/metrics"
	"rozobox/pkg/nbd/attach"
)

const (
	// piece is how much is asked for and checked at once.
	piece = 128 << 10

	// stretch is how much is written at once.
	stretch = 8 * piece

	// limit is how much is read ahead: longer than all that two cards can do to
	// it, and short enough that a class sees it run dry with three.
	limit = 5 * time.Second

	// again is the pause after a read that failed.
	again = 100 * time.Millisecond

	// late is when a read that is not answered is worth a word.
	late = 500 * time.Millisecond
)

// Paused is why a film waits that was stopped.
const Paused = "paused"

// Options says how a film is played. Film, Addr and Volume are required.
type Options struct {
	Film   *Film
	Addr   string // of the NBD server
	Volume string // is overwritten

	// Why says, while the film waits, what keeps the volume; it must return at
	// once. Nil says nothing.
	Why func() string
}

// Player plays one film: Load, then Run.
type Player struct {
	opts   Options
	hashes [][sha256.Size]byte // of the pieces; Load fills them in
	turned chan struct{}       // of 1: Pause was called

	mu      sync.Mutex // guards all below; never kept across I/O
	buffer  buffer
	loaded  int64     // bytes; the film is complete when it is all of them
	next    int       // the piece to read
	asked   time.Time // when it was first asked for; zero: not yet
	err     error     // why asking for it failed last
	paused  bool
	figures metrics.Film // of what was read
}

// New returns a player that stands still.
func New(opts Options) *Player {
	f := opts.Film
	return &Player{
		opts: opts, turned: make(chan struct{}, 1),
		hashes: make([][sha256.Size]byte, (f.Size+piece-1)/piece),
		figures: metrics.Film{
			Name: f.Name, BytesPerSecond: f.BytesPerSecond, BufferLimitSeconds: limit.Seconds(),
		},
	}
}

// Load writes the film into the volume, and makes it durable. What the volume
// does not take it is offered again, unless it has no room.
func (p *Player) Load(ctx context.Context) error {
	client, _, err := attach.Open(ctx, p.opts.Addr, p.opts.Volume)
	if err != nil {
		return err
	}
	defer client.Close()
	defer context.AfterFunc(ctx, client.Break)()
	buf := make([]byte, stretch)
	for off := int64(0); off < p.opts.Film.Size; {
		n := min(stretch, p.opts.Film.Size-off)
		if _, err := io.ReadFull(p.opts.Film, buf[:n]); err != nil {
			return fmt.Errorf("read %s: %w", p.opts.Film.Name, err)
		}
		for at := int64(0); at < n; at += piece {
			p.hashes[(off+at)/piece] = sha256.Sum256(buf[at:min(at+piece, n)])
		}
		write := func() error { return client.Write(buf[:n], off, 0) }
		if err := p.insist(ctx, write); err != nil {
			return err
		}
		off += n
		p.progress(off)
	}
	return p.insist(ctx, client.Flush)
}

// insist does something until it succeeds or cannot.
func (p *Player) insist(ctx context.Context, do func() error) error {
	for {
		err := do()
		if err == nil {
			return nil
		}
		if final := attach.WireError(syscall.ENOSPC); errors.Is(err, attach.ErrBroken) || err == final {
			return fmt.Errorf("write %s into volume %q: %w", p.opts.Film.Name, p.opts.Volume, err)
		}
		sleep(ctx, again)
	}
}

// length returns the bytes of the piece at an offset.
func (p *Player) length(off int64) int64 { return min(piece, p.opts.Film.Size-off) }

func (p *Player) progress(loaded int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loaded = loaded
}

// Run plays the film, from its beginning again and again, until ctx ends.
func (p *Player) Run(ctx context.Context) {
	for ctx.Err() == nil {
		client, _, err := attach.Open(ctx, p.opts.Addr, p.opts.Volume)
		if err == nil {
			err = p.play(ctx, client)
			client.Close()
		}
		p.failed(err)
		sleep(ctx, again)
	}
}

// play plays until ctx or the connection ends.
func (p *Player) play(ctx context.Context, client *attach.Client) error {
	defer context.AfterFunc(ctx, client.Break)()
	buf := make([]byte, piece)
	for p.room(ctx) {
		off := p.ask()
		data := buf[:p.length(off)]
		err := client.Read(data, off)
		switch {
		case errors.Is(err, attach.ErrBroken):
			return err
		case err != nil:
			p.failed(err)
			sleep(ctx, again)
		default:
			p.arrived(data)
		}
	}
	return nil
}

// room waits until the buffer has room for a piece; not when ctx ends.
func (p *Player) room(ctx context.Context) bool {
	for ctx.Err() == nil {
		wait := p.full()
		if wait <= 0 {
			return true
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-p.turned:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return false
}

// full returns how long it will take until there is room for a piece.
func (p *Player) full() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.buffer.advance(time.Now())
	if p.paused {
		return limit // or until Pause lets it go on
	}
	// A piece that would fill more than the buffer goes into an empty one.
	return min(p.buffer.ahead, p.buffer.ahead+p.lasts(piece)-limit)
}

// lasts returns how long the viewer watches so many bytes.
func (p *Player) lasts(bytes int) time.Duration {
	return time.Duration(float64(bytes) / p.opts.Film.BytesPerSecond * float64(time.Second))
}

// ask returns where the next piece is, and notes that it was asked for.
func (p *Player) ask() (off int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == 0 && p.asked.IsZero() {
		p.figures.Round++
	}
	if p.asked.IsZero() {
		p.asked = time.Now()
	}
	return int64(p.next) * piece
}

func (p *Player) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// arrived checks a piece and puts it into the buffer.
func (p *Player) arrived(data []byte) {
	right := sha256.Sum256(data) == p.hashes[p.next]
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.figures.LongestPauseSeconds = max(p.figures.LongestPauseSeconds, now.Sub(p.asked).Seconds())
	p.figures.CheckedBytes += uint64(len(data))
	if !right {
		p.figures.WrongBytes += uint64(len(data))
	}
	p.buffer.add(now, p.lasts(len(data)))
	p.buffer.playing = !p.paused
	p.next, p.asked, p.err = (p.next+1)%len(p.hashes), time.Time{}, nil
}

// Pause stops the film, or lets it go on; then pauses and stalls count anew.
func (p *Player) Pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = !p.paused
	p.buffer.turn(time.Now(), !p.paused && p.figures.Round > 0)
	if !p.paused {
		p.figures.LongestPauseSeconds, p.buffer.stalled = 0, 0
	}
	select {
	case p.turned <- struct{}{}:
	default:
	}
}

// Figures says how it goes.
func (p *Player) Figures() *metrics.Film {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.buffer.advance(now)
	f := p.figures
	f.BufferSeconds, f.StalledSeconds = p.buffer.ahead.Seconds(), p.buffer.stalled.Seconds()
	f.Position = float64(p.next) / float64(len(p.hashes))
	switch waited := now.Sub(p.asked); {
	case p.loaded < p.opts.Film.Size:
		f.Position = 0
		f.Why = fmt.Sprintf("%d%% of it is written", 100*p.loaded/p.opts.Film.Size)
	case p.paused:
		f.Why = Paused
	case !p.asked.IsZero():
		f.LongestPauseSeconds = max(f.LongestPauseSeconds, waited.Seconds())
		if waited >= late && p.buffer.ahead == 0 {
			f.Why = p.whyLocked(waited)
		}
	}
	return &f
}

func (p *Player) whyLocked(waited time.Duration) string {
	why := fmt.Sprintf("no answer for %.1f s", waited.Seconds())
	if p.opts.Why != nil {
		if reason := p.opts.Why(); reason != "" {
			return why + ": " + reason
		}
	}
	if p.err != nil {
		return why + ": " + p.err.Error()
	}
	return why
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
