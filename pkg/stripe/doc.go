// Package stripe does I/O of whole stripes: it gives each write of a block a
// version, sends its k+m chunks to their holders, knows what is durable, and
// reads a block from any k chunks. It opens a volume after whatever happened
// to the gateway before.
//
// # Files
//
//	volumes.go     find, create and delete volumes
//	open.go        obtain a term of office: superblocks, grants, who is in
//	recover.go     decide what the last term left open
//	array.go       the open volume: lease, W, end
//	write.go       WriteBlock, Discard, Flush
//	patch.go       Update: a few bytes of a block, which are read first
//	swap.go        Overwrite: the same, where nobody needs to see them first
//	ledger.go      the account of versions above W; no effects
//	peer.go        one node: heartbeat, send, sync
//	batch.go       what is sent to a node together
//	standin.go     spares that stand in for a holder that is late
//	prompt.go      a write that is about to be flushed: send and sync at once
//	read.go        ReadAt from homes and memory
//	decode.go      ReadAt from any k chunks
//	trace.go       who gave the last read, while somebody watches
//	explain.go     where a block's chunks stand
//	superblock.go  updates of the superblock
//	heal.go        bring blocks to what their nodes should hold
//	ward.go        what that asks of the nodes
//	straggler.go   a node that answers, and yet holds up the writes
//	stray.go       changes of repair that nobody waits for any more
//	follow.go      how a node that was out comes back
//	members.go     giving nodes up
//	reclaim.go     dropping tombstones
//	map.go         which blocks hold data
//
// # One write
//
//	WriteBlock ── encode ── admit ──┬─> queue of holder 0 ── Write ──┐
//	                 memory, room,  ├─> ...                          ├─> reply
//	                 a version      └─> queue of holder 5 ── Write ──┘
//
//	Flush ── Sync of every holder with chunks not synced ── W passes ── reply
//
// The sender of a node takes what is queued as one batch, so writes that come
// together travel together. A batch costs as much as several of its chunks, so where
// many writes wait it waits for more of them: up to 8 chunks, and 2 ms. Of 32 small
// writes at once, a batch has 6 or 7 chunks instead of 4 (each is one pwrite of its node).
//
// From admit on the version is never abandoned: whatever happens to its client, it
// is sent again, the same content, until it is settled or the term ends.
//
// A holder may be late: then the write is replied to as soon as a spare has its
// chunk too (standin.go), since one card that pauses now and then would else hold
// up all that wait for each write. Flushes wait for the holder: W says that all
// have it. With one write at a time, and a tenth of one node's requests 100 ms late,
// TestTenthOfOneNodesOperationsDelayed does 87 of 100 writes, and 38 without this.
//
// # Patches
//
// A write of up to three quarters of a block is sent as a patch of the version
// before, its base: by exclusive or, the difference of each data chunk that it
// touches and of the parity chunks, in the same range of all; the other chunks are
// told that they stay as they are. So all chunks of a block keep one version (I3).
// Of a block of 32 KiB, 4 KiB written cost 4 KiB brought and 12 KiB sent, instead of
// 32 and 48:
//
//	data     |    | dd |    |    |     the nodes make whole chunks of it, and
//	parity   | pp |                    keep the base until W has passed
//	         | qq |
//
// The old bytes, without which there is no difference, come in the answer of the data
// chunk's home to the new ones (swap.go): six requests in two rounds, where reading
// first made seven. Random writes of 4 KiB took 5 to 18 % less CPU for that (TLS,
// nine processes on 2 cores, in turns); by QUIC a little less.
//
// Writes of so much of each block of 32 KiB, as patches and as whole blocks, took CPU
// in this ratio (QUIC, the same machine, means of two turns; fio with --blockalign=32k):
// 16 KiB 0.68, 20 KiB 0.89, 24 KiB 1.00, 28 KiB 0.93. Over the network a patch is
// always less: for 24 KiB, as much brought and 40 KiB sent, instead of 32 and 48.
//
// Nodes have the base for certain only where a home is in. All else gets whole
// chunks, computed when they are sent: spares, nodes that follow, and a home that
// restarted and refuses the patch. While a home of the block is out, or any node
// follows, nothing is written as a patch.
//
// The gateway keeps the differences alone. The newest content of a block is then
// that of its lineage: patches upon a version that is whole in memory, or upon
// one that the nodes have settled, which they are asked for by its number. W may
// pass a patch while that is asked; then it is asked anew (Array.moved).
//
// # What is kept in memory
//
// Options.Memory bounds the content of versions above W. Reads of their blocks
// are served from it, or upon a settled version that it changes, so a node is
// only ever asked for settled versions. When half of it is used, the array
// syncs by itself; it also does so every Options.SyncEvery.
//
// # Writers that flush
//
// A database flushes after each write, or each few. Where the last flush had n
// versions to settle, the n-th version since is taken for the last before the
// next one, and its nodes are asked to sync in the request that brings it
// (chunk.OpSync): the flush then finds it settled. One that does not come has
// cost a sync. Measured with scripts/bench.sh --only sync-write, before and
// after in turns: 400 and 500 writes with their flushes a second.
//
// # How many chunks are enough
//
// No version is replied to, or passed by W, with fewer than
// cluster.Superblock.WriteQuorum chunks of distinct index, also when fewer nodes
// than that are in: then writes and flushes wait. With less, W would free older
// versions that stand on more nodes, and the next death would lose both.
//
// But a node can come in only when what it is healed of is settled. So that
// these two do not wait for each other, the nodes that follow get a chunk of
// each new version too, those that would be theirs if they were in, and for the
// number a chunk on such a node is as good as any: it lasts, though it says
// nothing about what is current. With k nodes in, the least there can be, and
// one that follows there are k+1. Recovery, during which nobody comes in, has
// all nodes follow that are out and have granted: a quorum, so enough.
//
// # When recovery must wait
//
// Where a block may have flushed content on nodes that are away, Open fails and
// names the block and the nodes, the gateway tries again, and the whole volume
// waits, not the block alone. W is one number and may not pass what is not
// decided, so until then no flush could succeed, nodes could not come in, and
// what is written could only pile up in memory: other blocks could be read, and
// a file system whose flushes fail stops writing for good. Waiting, which a
// client's device outlasts, is the lesser harm. It takes a third node away, or
// power lost on nodes that are away since.
//
// After an unclean end Open gives members that are late one NodeTimeout, while the
// last term's lease runs out (opening.awaitLate). The design counts the lease from the
// last grant; from the one that made the quorum is enough, since with fewer than a
// quorum left nobody serves. Cards that are switched on with the gateway are so heard
// before blocks are decided. It matters where others lost the end of their logs: a
// home that has lost what it synced a moment ago, when no W had told of it, cannot be
// told from one that never had it.
//
// # Locks
//
// Array.mu guards the ledger and all state of the array and its peers. It is
// never held across I/O. Array.super spans the I/O of a superblock update and
// is therefore a channel. The order is super, then mu.
//
// # Invariants
//
//   - I1: W passes a version only when each chunk of it is synced on its holder
//     by the instance that acknowledged it, and they are enough (ledger.settle).
//   - I3: a version's chunks are never changed after admit; decoding never mixes
//     versions (decoding.shards is by version); a patch changes exactly its base; a
//     swap, what only the instance that it names has for certain (ledger.chooseSwap).
//   - I4: only a home that is in says what is current (answer.authority).
//   - I5: every request carries epoch and nonce; a refusal ends the array.
//     Nothing is served without the lease (Array.enter).
//   - I6: nothing is built upon a node that may still carry out what repair has
//     given up (stray.go).
//   - I7: a write returns when all holders have it, or others in the stead of
//     those that are late: k+m nodes in any case (write.stands).
package stripe
