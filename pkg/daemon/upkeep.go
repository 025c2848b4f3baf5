package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"rozobox/pkg/repair"
)

// RepairStatus is what a volume's repair does now.
type RepairStatus struct {
	// Kind is "resync" (a node that returned gets what it missed), "rebuild"
	// (chunks of nodes that stay away go to spares), "tidy" (spares drop what
	// homes have again), "reclaim" (records of trims go), "scrub" (every chunk
	// is verified), or empty.
	Kind string `json:"kind"`
	// Node is the one that is resynced, or was out for so long that the rebuild
	// began; that is of all nodes that are out.
	Node string `json:"node"`
	// TotalBlocks is an estimate until the whole volume has been looked at.
	TotalBlocks int `json:"total_blocks"`
	DoneBlocks  int `json:"done_blocks"`
	// Bytes were written, at RateBytesPerSecond on average.
	Bytes              int64   `json:"bytes"`
	RateBytesPerSecond float64 `json:"rate_bytes_per_second"`
	// RemainingSeconds is 0 while it is not known.
	RemainingSeconds float64 `json:"remaining_seconds"`
	Paused           bool    `json:"paused"`
	// LimitBytesPerSecond is 0 for no limit.
	LimitBytesPerSecond int64 `json:"limit_bytes_per_second"`
}

// ScrubStatus is the scrub under way, or else the last one since the volume
// was opened.
type ScrubStatus struct {
	Asked   bool       `json:"asked"`   // one will begin when nothing is more urgent
	Started *time.Time `json:"started"` // null: none yet
	Ended   *time.Time `json:"ended"`   // null: it is under way, or was interrupted
	Blocks  int        `json:"blocks"`  // looked at, once it has ended
	Mended  int        `json:"mended"`  // chunks
	Failed  int        `json:"failed"`  // blocks that could not be mended
}

// ScrubReport is a ScrubStatus with all that was found, up to 1000 of each. It
// answers GET and POST /v1/volumes/NAME/scrub.
type ScrubReport struct {
	ScrubStatus
	Findings []Finding `json:"findings"`
	Failures []string  `json:"failures"` // blocks, and why
}

// Finding is a chunk that a scrub has mended.
type Finding struct {
	Node  string `json:"node"`
	Block uint64 `json:"block"`
	Index uint8  `json:"index"`
	Cause string `json:"cause"`
}

func repairStatus(s repair.Status) RepairStatus {
	r := RepairStatus{
		Kind: s.Job.Kind, Node: string(s.Job.Node), Paused: s.Paused, Bytes: s.Job.Bytes,
		TotalBlocks: s.Job.TotalBlocks, DoneBlocks: s.Job.DoneBlocks,
		RemainingSeconds: s.Job.Remaining().Seconds(),
	}
	if took := time.Since(s.Job.Started); r.Kind != "" && took > 0 {
		r.RateBytesPerSecond = float64(r.Bytes) / took.Seconds()
	}
	return r
}

func scrubStatus(s repair.Status) ScrubStatus {
	return ScrubStatus{
		Asked: s.ScrubAsked, Started: unlessZero(s.Scrub.Started), Ended: unlessZero(s.Scrub.Ended),
		Blocks: s.Scrub.Blocks, Mended: s.Scrub.Mended, Failed: len(s.Scrub.Failed),
	}
}

func unlessZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func scrubReport(s repair.Status) *ScrubReport {
	r := &ScrubReport{ScrubStatus: scrubStatus(s), Findings: []Finding{}, Failures: []string{}}
	r.Failures = append(r.Failures, s.Scrub.Failed...)
	for _, w := range s.Scrub.Findings {
		r.Findings = append(r.Findings, Finding{string(w.Node), w.Block, w.Index, w.Cause})
	}
	return r
}

// scrub asks for a scrub of a volume and returns what is known of the one
// before: the new one is the next that has another beginning.
func (g *Gateway) scrub(name string, begin bool) (*ScrubReport, error) {
	s := g.find(name)
	if s == nil {
		return nil, fmt.Errorf("scrub volume %q: %w", name, errNoVolume)
	}
	manager, err := s.repairs()
	if err != nil {
		return nil, fmt.Errorf("scrub: %w", err)
	}
	before := scrubReport(manager.Status())
	if begin {
		manager.Scrub()
	}
	return before, nil
}

// minLimit is the lowest limit of repair: slower, a single block would take
// longer than a client's patience, and pausing is what is meant.
const minLimit = 64 << 10

// Pace is how all volumes are repaired. As the body of POST /v1/repair, what is
// null stays as it is.
type Pace struct {
	Paused              *bool  `json:"paused"`
	LimitBytesPerSecond *int64 `json:"limit_bytes_per_second"` // of each volume; 0: none
}

func (p Pace) check() error {
	switch {
	case p.Paused == nil && p.LimitBytesPerSecond == nil:
		return errors.New("pace of repair: neither paused nor limit_bytes_per_second is said")
	case p.LimitBytesPerSecond == nil || *p.LimitBytesPerSecond == 0:
		return nil
	case *p.LimitBytesPerSecond < minLimit:
		return fmt.Errorf("limit of repair: %d bytes a second are fewer than %d: pause it instead",
			*p.LimitBytesPerSecond, minLimit)
	}
	return nil
}

// String says it to people.
func (p Pace) String() string {
	text := "Repair goes on"
	if p.Paused != nil && *p.Paused {
		text = "Repair is paused"
	}
	if p.LimitBytesPerSecond != nil && *p.LimitBytesPerSecond > 0 {
		return text + ", limited to " + rate(float64(*p.LimitBytesPerSecond)) + " for each volume"
	}
	return text + ", without a limit"
}

// pacer keeps what was last said of the pace, for volumes that open later too.
type pacer struct {
	mu     sync.Mutex // guards all below
	paused bool
	limit  int64
}

func (p *pacer) set(pace Pace) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pace.Paused != nil {
		p.paused = *pace.Paused
	}
	if pace.LimitBytesPerSecond != nil {
		p.limit = *pace.LimitBytesPerSecond
	}
}

// apply is done under the lock, so that of two at once the last said stays.
func (p *pacer) apply(m *repair.Manager) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.Limit(p.limit)
	if p.paused {
		m.Pause()
	} else {
		m.Resume()
	}
}

func (p *pacer) current() Pace {
	p.mu.Lock()
	defer p.mu.Unlock()
	paused, limit := p.paused, p.limit
	return Pace{Paused: &paused, LimitBytesPerSecond: &limit}
}

// setPace changes how all volumes are repaired, until this process ends.
func (g *Gateway) setPace(pace Pace) {
	g.pace.set(pace)
	for _, s := range g.list() {
		if m, err := s.repairs(); err == nil {
			g.pace.apply(m)
		}
	}
	g.logger.Info(g.pace.current().String())
}

// tellEvery is how often the log says how far a job has come.
const tellEvery = 10 * time.Second

// tell logs the progress of repair until ctx ends. Beginnings and ends, repair
// logs itself.
func (s *served) tell(ctx context.Context, m *repair.Manager) {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if r := repairStatus(m.Status()); r.Kind != "" && !r.Paused {
			s.quiet.Info(r.title()+" goes on", "blocks", r.DoneBlocks, "of", r.TotalBlocks,
				"bytes_per_second", int64(r.RateBytesPerSecond), "seconds_left", int64(r.RemainingSeconds))
		}
	}
}

func (r RepairStatus) title() string {
	if r.Node == "" {
		return r.Kind
	}
	return r.Kind + " of " + r.Node
}

// String says it to people: "resync of pi3: 4,210 of 5,000 blocks, 12 MB/s, 8 s
// left"; nothing where nothing is to be said.
func (r RepairStatus) String() string {
	if r.Kind == "" {
		if r.Paused {
			return "repair is paused"
		}
		return ""
	}
	parts := []string{fmt.Sprintf("%s: %s of %s blocks", r.title(), grouped(r.DoneBlocks), grouped(r.TotalBlocks))}
	if r.Bytes > 0 {
		parts = append(parts, rate(r.RateBytesPerSecond))
	}
	if r.Paused {
		parts = append(parts, "paused")
	} else if left := int64(r.RemainingSeconds + 0.5); left > 0 {
		parts = append(parts, roughly(left)+" left")
	}
	return strings.Join(parts, ", ")
}

// String says it to people; nothing where there was no scrub.
func (s ScrubStatus) String() string {
	switch {
	case s.Started == nil:
		return ""
	case s.Ended == nil:
		return fmt.Sprintf("scrub since %s: %d chunks mended, %d blocks failed",
			s.Started.Local().Format(time.DateTime), s.Mended, s.Failed)
	}
	return fmt.Sprintf("scrubbed %s: %s blocks, %d chunks mended, %d blocks failed",
		s.Ended.Local().Format(time.DateTime), grouped(s.Blocks), s.Mended, s.Failed)
}

// Print writes what was found, a line each.
func (r *ScrubReport) Print(w io.Writer, volume string) {
	for _, f := range r.Findings {
		fmt.Fprintf(w, "%s: node %s, block %d, chunk %d: %s, mended\n", volume, f.Node, f.Block, f.Index, f.Cause)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(w, "%s: not mended: %s\n", volume, f)
	}
	fmt.Fprintf(w, "%s: %s\n", volume, r.ScrubStatus)
}
