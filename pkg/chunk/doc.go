// Package chunk is the contract between a gateway and the nodes that keep its
// chunks: the words, the identities, the Store interface and its errors. It
// has no code that moves data. The stores that keep the contract are
// chunkstore (on a card), chunkrpc.Client (a chunkstore behind QUIC) and
// chunktest.Memory (the reference that tests use); chunktest.Suite holds all
// of them to it.
//
// # Words
//
// A volume's bytes are cut into blocks. Each block is split into k data chunks
// and m parity chunks, together a stripe, one chunk to a node. Chunk index 0 to
// k-1 is data, k to k+m-1 parity. A Version orders all writes of one volume:
// the epoch of the gateway that wrote it, then a sequence number. One version
// has one content, for ever.
//
// # What a node keeps
//
// A node never overwrites a chunk in place. For each (volume, block, index) it
// keeps the newest version at or below the watermark W and every version above
// W:
//
//	versions of one chunk      W
//	    3     7     9     |  12     15
//	  freed freed  kept   | kept   kept
//
// It frees 3 and 7 only when its own record of 9, and a W of at least 9, are
// synced. A tombstone is a version without payload; it reads as zeroes and
// hides all that is older.
//
// # What a gateway may ask
//
// Every request but Hello, Stat, Superblock and Grant carries a Term: the
// volume, the epoch and nonce that the node granted, and the W that the node
// may act on. A request whose epoch and nonce are not exactly the granted ones
// has no effect: check and effect are one step (I5).
//
// Write acknowledges what the node has in memory; Sync makes everything
// acknowledged before it durable. Both name the instance of the node that
// answered: an acknowledgement by an instance that is gone says nothing about
// what its successor has.
package chunk
