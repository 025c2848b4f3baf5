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
//	tidy     all nodes are in again: drop what spares held for them, and what
//	         they were sent of writes that were late
//	reclaim  every ReclaimEvery: drop the tombstones that hide nothing any more
//	scrub    every ScrubEvery: verify every chunk, heal what is wrong
//
// A job walks the volume in windows of blocks. Before each window it looks
// whether something more urgent has come up, whether it is paused, and how
// fast it may go. It keeps nothing on disk: after a restart the lists of the
// nodes tell again what is left to do.
//
// Blocks are mended in batches (stripe.HealAll): what is asked of a node for a
// batch is one request, so that the time of a request does not matter. Measured
// by scripts/bench-failures.sh, all 8 nodes and the gateway on the same 2 cores,
// 512 MiB in blocks of 32 KiB, MB/s written to the node or onto spares, before
// and since there are batches:
//
//	resync of half the volume     5.7   51.9
//	resync of a blank card        5.5   36.1
//	rebuild of a node on spares   5.9   22.8
//
// A block that is mended keeps its writers waiting, so a batch is small: 256 KiB
// for one node.
//
// # Flapping
//
// A node whose resync is interrupted, or which goes out again soon after it
// came in, is left out for a second, then two, four and so on, up to ten
// seconds. One that went out for being slow begins with half a minute, and that
// doubles up to five, since clients wait for it some two seconds each time until
// that is noticed.
package repair
