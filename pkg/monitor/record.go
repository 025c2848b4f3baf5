package monitor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"rozobox/pkg/metrics"
)

const (
	// maxLine bounds one line of a recording: 100 cards take 100 KiB, and the
	// events of a bad hour as much.
	maxLine = 1 << 20
	// maxGap is the longest pause that a replay keeps: where the recording
	// stopped for longer, nobody wants to wait.
	maxGap = 10 * time.Second
	// maxEvents are kept while a recording is played.
	maxEvents = 1000

	// The bounds of a replay's speed.
	minSpeed, maxSpeed = 1.0 / 16, 256.0
)

// ErrRecording means that a file is no recording, or was damaged.
var ErrRecording = errors.New("not a recording of rozobox")

// Recorder writes snapshots as JSON, one a line and one write a line, so that
// a power cut costs no more than the last one. An event stands only in the
// first line that has it.
type Recorder struct {
	w    io.Writer
	last metrics.Event // that was written
}

// NewRecorder returns a recorder that appends to w.
func NewRecorder(w io.Writer) *Recorder { return &Recorder{w: w} }

// Record writes one snapshot.
func (r *Recorder) Record(c *metrics.Cluster) error {
	line := *c
	if i := lastIndex(c.Events, r.last); i >= 0 {
		line.Events = c.Events[i+1:]
	}
	text, err := json.Marshal(&line)
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if len(text) >= maxLine {
		return fmt.Errorf("record: a snapshot of %d bytes, more than %d", len(text), maxLine)
	}
	if _, err := r.w.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if n := len(c.Events); n > 0 {
		r.last = c.Events[n-1]
	}
	return nil
}

func lastIndex(events []metrics.Event, e metrics.Event) int {
	for i, other := range slices.Backward(events) {
		if other.Time.Equal(e.Time) && other.Text == e.Text && other.Node == e.Node && other.Volume == e.Volume {
			return i
		}
	}
	return -1
}

// Player plays a recording. Its methods may be called while it plays.
type Player struct {
	name  string
	lines *bufio.Reader
	line  int

	mu     sync.Mutex // guards what follows
	speed  float64
	paused bool
	turned chan struct{} // closed, and made anew, when speed or paused changes
}

// NewPlayer returns a player of r, which errors call name.
func NewPlayer(name string, r io.Reader, speed float64) *Player {
	return &Player{
		name: name, lines: bufio.NewReaderSize(r, maxLine),
		speed: between(speed, minSpeed, maxSpeed), turned: make(chan struct{}),
	}
}

// Pause stops the clock, or lets it go on.
func (p *Player) Pause() { p.turn(func() { p.paused = !p.paused }) }

// Faster multiplies the speed.
func (p *Player) Faster(factor float64) {
	p.turn(func() { p.speed = between(p.speed*factor, minSpeed, maxSpeed) })
}

func (p *Player) turn(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.turned)
	p.turned = make(chan struct{})
}

// Status says in a word or two how it plays.
func (p *Player) Status() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused {
		return "replay: paused"
	}
	return fmt.Sprintf("replay x%g", p.speed)
}

// Run sends the snapshots as far apart in time as they were taken, divided by
// the speed, and returns when there are no more or ctx ends. A last line that
// was cut off is left out: the recorder lost its power. Anything else that is
// no snapshot is ErrRecording.
func (p *Player) Run(ctx context.Context, to chan<- metrics.Cluster) error {
	var events []metrics.Event
	var before time.Time
	for {
		c, err := p.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !before.IsZero() {
			p.wait(ctx, between(c.Time.Sub(before).Seconds(), 0, maxGap.Seconds()))
		}
		before = c.Time
		events = append(events, c.Events...)
		events = slices.Clone(events[max(0, len(events)-maxEvents):]) // a reader may still have the old ones
		c.Events = events
		select {
		case to <- *c:
		case <-ctx.Done():
			return nil
		}
	}
}

// next reads one snapshot; io.EOF after the last one.
func (p *Player) next() (*metrics.Cluster, error) {
	text, err := p.lines.ReadSlice('\n')
	p.line++
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("%s:%d: %w: a line of more than %d bytes", p.name, p.line, ErrRecording, maxLine)
	case err != nil && !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s:%d: %w", p.name, p.line, err)
	}
	cut := err != nil
	if len(bytes.TrimSpace(text)) == 0 {
		if cut {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("%s:%d: %w: an empty line", p.name, p.line, ErrRecording)
	}
	c := new(metrics.Cluster)
	err = json.Unmarshal(text, c)
	if err == nil && c.Time.IsZero() {
		err = errors.New("it has no time")
	}
	if err != nil {
		if cut && p.line > 1 {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("%s:%d: %w: %w", p.name, p.line, ErrRecording, err)
	}
	return c, nil
}

// wait lets so many seconds of the recording pass, at a speed that may change
// meanwhile.
func (p *Player) wait(ctx context.Context, seconds float64) {
	for seconds > 0 && ctx.Err() == nil {
		p.mu.Lock()
		speed, turned := p.speed, p.turned
		if p.paused {
			speed = 0
		}
		p.mu.Unlock()
		began := time.Now()
		var over <-chan time.Time
		if speed > 0 {
			over = time.After(time.Duration(seconds / speed * float64(time.Second)))
		}
		select {
		case <-over:
			return
		case <-turned:
			seconds -= time.Since(began).Seconds() * speed
		case <-ctx.Done():
		}
	}
}
