package film

import "time"

// buffer is the film that was read and not yet seen.
type buffer struct {
	ahead   time.Duration // at the time at
	at      time.Time
	stalled time.Duration // seen nothing, in all
	playing bool          // the viewer watches
}

// advance lets the viewer watch until now.
func (b *buffer) advance(now time.Time) {
	passed := now.Sub(b.at)
	b.at = now
	if !b.playing {
		return
	}
	b.stalled += max(0, passed-b.ahead)
	b.ahead = max(0, b.ahead-passed)
}

// add puts a piece in.
func (b *buffer) add(now time.Time, d time.Duration) {
	b.advance(now)
	b.ahead += d
}

// turn stops the viewer, or lets him go on.
func (b *buffer) turn(now time.Time, playing bool) {
	b.advance(now)
	b.playing = playing
}
