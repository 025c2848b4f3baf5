// Package simulate plays histories of faults against a whole volume, in the
// time of a synctest bubble, and checks everything that clients see.
//
//	clients ── volume ── stripe, repair ──┬── Link ── Memory (n0)
//	   │         (the real gateway)       ├── Link ── Memory (n1)
//	 model                                └── ...
//
// # A history
//
// A seed decides how many nodes there are, how many may ail at once, and what
// goes wrong when (mishaps.go; those that aim at one weak moment, aimed.go):
// nodes crash and forget what they had not synced, links are cut, lose replies,
// freeze or crawl, requests arrive late or twice, cards are damaged, full,
// replaced, or hold an old image, gateways are killed, closed, replaced while
// they go on, or lose power together with all nodes. Meanwhile clients write,
// read, zero, trim and flush the few blocks of a small volume.
//
// At the end everything is healed: all nodes must come in by themselves, a
// second scrub must find nothing, every sector must read as the model says, and
// the cards must hold each chunk exactly once, on its home.
//
// # The model
//
// Each sector is a register (model.go). A read may return a value unless a
// newer one was certainly there before the read began, or a read has shown that
// it was overwritten. A replied write is certain while the gateway lives, and
// after its death unless the volume's incarnation has changed; then only what
// was flushed is. Errors are allowed only while more than m nodes ail.
//
// # What is not replayed
//
// The order of goroutines is not a function of the seed: a seed that failed may
// pass. Its journal tells the history in full; play the seed several times.
//
// # Bounds
//
// Nothing is destroyed that a volume cannot do without: damaged chunks, wiped
// cards and nodes that are away never exceed m for a stripe together. An image
// of a card is put back only when the superblock can tell that it is old.
// Repair's requests are delayed, beyond being given up too, but never doubled: a
// stream delivers once.
package simulate
