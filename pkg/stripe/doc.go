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
//	ledger.go      the account of versions above W; no effects
//	peer.go        one node: heartbeat, send, sync
//	read.go        ReadAt from homes and memory
//	decode.go      ReadAt from any k chunks
//	superblock.go  updates of the superblock
//	heal.go        bring a block to what its nodes should hold
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
// together travel together. From admit on the version is never abandoned:
// whatever happens to its client, it is sent again, the same content, until it
// is settled or the term ends.
//
// # What is kept in memory
//
// Options.Memory bounds the content of versions above W. Reads of their blocks
// are served from it, so a node is only ever asked for settled versions, of
// which its newest is the current one. When half of it is used, the array
// syncs by itself; it also does so every Options.SyncEvery.
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
//     by the instance that acknowledged it (ledger.settle).
//   - I3: a version's chunks are never changed after admit; decoding never mixes
//     versions (decoding.shards is by version).
//   - I4: only a home that is in says what is current (answer.authority).
//   - I5: every request carries epoch and nonce; a refusal ends the array.
//     Nothing is served without the lease (Array.enter).
//   - I6: nothing is built upon a node that may still carry out what repair has
//     given up (stray.go).
//   - I7: a write returns when all holders have it.
package stripe
