// Package simulate plays histories of faults against a whole volume, in the
// time of a synctest bubble, and checks everything that clients see.
//
//	clients ── volume ── stripe, repair ──┬── way ── Memory (n0)
//	   │         (the real gateway)       ├── way ── Memory (n1)
//	 model                                └── ...
//
// # Two forms
//
// A way is one of two (fabric.go). In memory it is a Link, which can be cut,
// frozen, slow, and so on: a history takes a fifth of a second, and what takes
// effect when is known to the microsecond. Over a network (wired.go) it is the
// real client of pkg/chunkrpc, packets, and the real server in a process that
// can die, by QUIC or by TLS. There faults befall the packets, connections are
// noticed to be gone late or never, addresses are taken over, and answers of
// the dead arrive. Histories, model and checks are the same. The crash matrix
// needs to know when a message arrives: it is played in memory only.
//
// Bubbles can be begun by tests alone. Main makes one of the process, so that
// long runs need no go command.
//
// # A history
//
// A seed decides how many nodes there are, how many may ail at once, and what
// goes wrong when (mishaps.go; those that aim at one weak moment, aimed.go):
// nodes crash and forget what they had not synced, links are cut, fail one way,
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
// # Timers
//
// In a bubble nobody may set a timer, or wait at the channel of one, that has
// expired already: it is run in place, and with the race detector, two that do so
// at once, or one while other timers fire, now and then crash the runtime (Go 1.26:
// all share the race context timers.raceCtx). So no wait is zero, and what may work
// for longer than it rests takes time.After between, not a ticker.
//
// # Bounds
//
// Nothing is destroyed that a volume cannot do without: damaged chunks, wiped
// cards and nodes that are away never exceed m for a stripe together. An image
// of a card is put back only when the superblock can tell that it is old.
// Repair's requests are delayed, beyond being given up too, but never doubled: a
// stream delivers once. Over a network it is the packets that are doubled, and
// nothing of that may show.
package simulate
