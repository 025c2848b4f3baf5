// Package film plays a film from a volume as a viewer's player does: at the
// film's own bit rate, over NBD, with a few seconds read ahead.
//
//	Film ── Load ──► volume ── Run ──► buffer ──► the viewer, who takes
//	          │ a hash of each piece     ▲        BytesPerSecond
//	          └──────────── compared ────┘
//
// Load writes the film and remembers a hash of each piece; Run reads the pieces
// back, one after the other and round after round, and compares. What is read
// is not kept: the buffer is a span of time.
//
// # Promises
//
//   - A piece that cannot be read is asked for until it can: the film waits, and
//     Figures says for how long, and why.
//   - The longest pause is that of a whole piece, from when it was first asked
//     for until it was there; one that is not there yet counts too. It counts
//     anew when the film goes on after it was stopped.
//   - Figures may be called at any time, and never waits for the volume.
package film
