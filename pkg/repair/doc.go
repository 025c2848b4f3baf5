// Package repair keeps a volume whole in the background: it brings back nodes
// that were away (resync), puts the chunks of nodes that stay away onto spares
// (rebuild), and looks for silent damage (scrub). What is right, and how a
// chunk is mended, stripe decides; this package decides when, how fast, and
// what to tell people.
//
// # Jobs
//
// A Manager runs one job at a time, in this order of urgency:
//
//	resync   a node is out and answers: follow, heal what differs, join
//	rebuild  a node is out for longer than RebuildAfter: heal with spares
//	tidy     all nodes are in again: drop what spares held for them
//	reclaim  every ReclaimEvery: drop the tombstones that hide nothing any more
//	scrub    every ScrubEvery: verify every chunk, heal what is wrong
//
// A job walks the volume in windows of blocks. Before each window it looks
// whether something more urgent has come up, whether it is paused, and how
// fast it may go. It keeps nothing on disk: after a restart the lists of the
// nodes tell again what is left to do.
//
// # Flapping
//
// A node whose resync is interrupted, or which goes out again soon after it
// came in, is left out for a second, then two, four and so on, up to five
// minutes: each coming and going costs the others more than its absence.
package repair
