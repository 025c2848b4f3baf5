// Package chunkstore is the store on a card. Store keeps the contract of
// pkg/chunk in one directory; what it needs of the operating system is the
// interface FS. Package crashfs is an FS that loses power, for tests.
//
// # Promises
//
//   - What Sync, Grant or PutSuperblock has acknowledged survives any loss of
//     power. What was not synced is, version by version, intact or absent.
//   - Damage is found by checksum and reported as damage: never as absence,
//     never as older content, never by a crash.
//   - A failed write or sync is final: the store serves reads, and answers
//     chunk.ErrReadOnly to everything else. A full disk is not such a failure.
//   - Names in errors are those of files in the directory.
//
// # The directory
//
//	store              who this card is; written once            identity.go
//	lock               held while a process has the card open
//	volume-<id>        grant and superblock of a volume          slots.go
//	segment-<number>   the log                                   segment.go
//	*.new              unfinished copies; removed or replaced
//
// All numbers are big-endian; all checksums are CRC32C.
//
// # The log
//
// A segment is a file of records, each a header of 64 bytes and perhaps a
// payload; every record starts at a multiple of 16:
//
//	head | record | record | ... | table | seal
//
//	header   0 magic "RZK1"   4 zero   5 kind   6 flags   7 chunk index
//	         8 volume 16     24 block 8     32 version 8     40 length 4
//	        44 synced 8      52 base 8      60 CRC
//
//	payload  4096 bytes | CRC | 4096 bytes | CRC | ... | rest | CRC | zeroes
//
// The header's CRC is seeded with store id, segment and offset: a header is
// one only in its place, not as a part of some payload. A unit's CRC is seeded
// with volume, block, index, version and its number: a misplaced payload fails
// too, and a read of 4 KiB reads and verifies just that. "synced" is up to where
// the log was durable when the record was written.
//
//	kind        version                  meaning
//	put         of the chunk             flag lost: the payload was damaged and is gone
//	bump        of the chunk             has the payload of the put with version base
//	tombstone   of the chunk             reads as zeroes
//	drop        hides <= version         index 255: of all chunks of the block
//	watermark   W                        W was told
//	reset       w                        w is lowered: a part of the log was lost
//	head        -                        block: the segment's number; volume: the store id;
//	                                     flag low: puts at or below W may stand here
//	table       -                        payload: all records of the segment, 40 bytes each
//	seal        -                        block: the table's offset; all before it is durable
//
// # Starting
//
// The index is in memory. The tables of the sealed segments are its checkpoint:
// each was written when its segment was full, and a clean stop ends the last one
// too, so that a start reads the tables alone: 40 bytes for a chunk of 16 KiB,
// 160 MB for a card of 64 GB. One checkpoint file for all would be as long, would
// be written again and again, and would be one more thing to keep in step
// with compaction. A table that is damaged is replaced by a scan of the
// segment's headers.
//
// A card of a million chunks of 4 KiB in no order opens in 1.1 s here after a clean
// stop, in 1.2 s after a kill (BenchmarkStart, on tmpfs, 2 cores busy with other
// work as well).
//
// A segment without seal was open when the store stopped. Its headers are
// scanned, and what stands behind the last "synced" found is verified with its
// payload; torn records are dropped, the segment is cut, ended and sealed. Then
// the segments before it are verified in the background.
//
// Where no record can be read, a scan looks for the next header that is right
// in its place. What stood there is unknown, so that every volume's w falls
// back to its last W in front of the gap, which tells the gateway that this node
// is behind. A gap in a segment that also took puts below W (repairs), which no
// later W vouches for, lowers w to 0. A reset record makes that last.
//
// # Versions
//
// The index holds, sorted by block, index and version, 24 bytes for each version
// and each drop that is still needed, in pages of at most 256 entries that grow
// by 16: measured 24.5 bytes for a chunk of a volume written in order, 26.5 of one
// written at random (BenchmarkIndex), and up to 6 more where bumps stand (below).
//
// A version is superseded when a newer one at or below W stands, and that
// record and that W are durable; where nobody asks for a sync, the store makes
// the W durable by itself (syncLoop). It leaves the index then; its record stays in
// the log until compaction, and may be read again at the next start, where the
// same rule takes it out again.
//
// A drop takes versions out at once, and must be found again as long as the
// log holds one of those. It stays in the index like a version, until no segment
// before its own has a dead put.
//
// # Patches
//
// A patch (chunk.OpPatch) is applied when it arrives, and a whole record is
// written: what it saves is the network, not the card. So is a swap (chunk.OpSwap),
// which keeps the bytes that it replaces for its answer. Only a patch that changes
// nothing but the version is a record of its own kind, a header without payload:
//
//	put v1, 8 KiB | ... | bump v2, base v1 | ... | bump v3, base v1
//
// In the index a bump is an entry like any other, and its payload is that of the
// next entry below it that is no bump. That one stays when v1 is superseded, as a
// base: no version any more, but pointed to, so that compaction takes it along like
// all that is live, and knows nothing of the two. What would hide it alone, or come
// between, is refused; no gateway sends such.
//
// After damage, another put may be the next one below. So a read compares the base
// in the bump's header with the version of the put that it is about to read: older
// content is never taken for newer. Power that fails before a sync may leave the
// bump and take the put: then both are absent (cutBumps).
//
// Of 4 KiB written at random into blocks of 32 KiB, three of six nodes get a bump:
// cards are written 25 KB for each instead of 50, and 3 more with what compaction
// copies in the long run. Two entries for such a chunk are memory: their
// number is bounded, for each volume by 65,536 and a quarter of its versions; beyond,
// a bump is a whole record like any patch.
//
// # Compaction
//
// See compactor. It never stops for want of room: what is written leaves room for
// a copy, and a segment with nothing live needs none. A segment, or a run of
// neighbours, is replaced by a copy of what is live, under the same number and in
// the same order, so that replaying the log in the order of its positions is right
// at any time. While there is room, as much may be dead as is live, and eight
// segments in any case.
//
// # Small syncs
//
// A file that grows makes its sync wait for the journal of the file system, which
// writes more than a small record is. So where syncs come after 16 KiB or less, one
// of them writes 64 KiB of zeroes behind the last record as well, and the next ones
// write in their place:
//
//	record | record | zeroes |      size of the file, until the zeroes are used up
//	                ^ end of the log
//
// The card is written twice as many bytes of such records, and the journal's no more.
// That is no new state: a scan finds no header in zeroes, and power that failed
// always may have left some. The table ends them.
//
// Here (ext4, virtual disk) six files that are synced together after 4 KiB each
// manage that 1,400 times a second when they grow, and 2,300 when they do not; a
// volume written to at random with a flush after each 4 KiB gains a tenth.
//
// # Space
//
// See space. The free bytes reported are what new data may take once dead
// records are taken back; a write that comes before that waits for compaction.
package chunkstore
