// Package cluster holds what a gateway must decide about its nodes, free of
// any effect: how a volume is cut (Geometry), who its nodes are and how far
// each is trusted (Superblock), and where a block's chunks live (Placement).
//
// # Geometry
//
// A volume of Size bytes is cut into blocks of BlockSize bytes, a block into
// Data chunks, to which Parity chunks are added. Extent consecutive blocks
// form a group, and share one placement.
//
// # Placement
//
// Place gives each block a permutation of the volume's nodes: the first k+m
// are the homes of its chunks, by chunk index; the rest are its spares, in
// order. Chunks are found by it alone, and absence on a home is read as
// zeroes. So it must never change: it depends on the volume's id, the ids and
// weights of its nodes, and Extent; not on their order, nor on their states.
// A lost node keeps its slots and spares stand in for it.
//
// A permutation is a row of a table of 4096:
//
//	group = block / Extent
//	row   = (group ^ mix(group / 4096)) mod 4096
//
// so that 4096 consecutive groups use every row once, and groups that lie a
// power of two apart (the block groups of a file system) use different rows.
// A row is filled slot by slot by weighted rendezvous hashing: each slot takes,
// among the nodes not yet taken, the one with the smallest -log2(u)/weight,
// where u in (0, 1] is that node's draw for this row and slot:
//
//	seed = the first 8 bytes of SHA-256("rozobox placement 1" volume node-id)
//	u    = output 64*row+slot of SplitMix64 seeded with seed, as a 64-bit fraction
//
// SplitMix64 is by Steele, Lea and Flood (Fast splittable pseudorandom number
// generators, OOPSLA 2014), with the mix of David Stafford (his variant 13).
// The logarithm is in integers: floating point differs between processors, and
// a gateway on another processor must find the same chunks.
//
// # Who goes out
//
// Detector declares nodes out that are silent. Straggler does so of a node that
// answers, and takes so long for what clients write that it holds up all: each
// write waits for its slowest holder. It judges by what a node takes for a whole
// request and by chunk, against the median of the others, and never of a node
// without which fewer would be in than a stripe has. A card that is two or three
// times slower than the others stays: it holds up the writes, and yet its
// absence would cost more protection than that is worth.
//
// # Superblock
//
// The superblock is the small record of a volume that every node keeps. Its
// body, big-endian, with exactly these bytes and nothing after them:
//
//	 0  4  magic "RZSB"
//	 4  1  format, 1
//	 5  1  flags: 1 deleted, 2 clean, 4 writeback
//	 6  2  number of nodes
//	 8 16  volume
//	24  8  number
//	32  4  epoch
//	36  8  size
//	44  4  block size
//	48  1  data chunks
//	49  1  parity chunks
//	50  2  length of the name
//	52  8  extent
//	60  8  watermark
//	68  4  incarnation
//	72  4  generation
//	76  -  name
//	       for each node:
//	    1    length of its id
//	    -    id
//	    2    weight
//	   16    store
//	   16    instance
//	    1    state: 1 in, 2 out, 3 lost
//	    1    flags: 1 behind
//	    8    since
//	    8    mark
//	    4  CRC32C of all bytes before it
package cluster
