// Package volume makes a block device of an array: byte ranges instead of
// whole blocks, any number of requests at once, and the order among them that
// a disk keeps.
//
// # Order
//
// A request is cut into parts, one a block. All its parts enter the queues of
// their blocks in one step, so that two requests stand in the same order in
// every queue, and nobody ever waits in a circle. A queue lets readers of a
// block run together, and one writer alone:
//
//	block 7:   [read A] [read B]  │  write C + write D  │  read E
//	            run together         wait, become one      waits
//
// # Merging
//
// Writes that wait next to each other for the same block become one: the
// request that comes first applies all of them to one copy of the block. Thus
// the 128 KiB requests of a kernel, and 4 KiB requests of a deep queue, turn
// into whole stripes. A batch that does not cover its block changes the range that
// it touches (stripe.Array.Overwrite and Update).
//
// # Reading ahead
//
// A reader that goes on where it stopped, request by request, finds the next 2
// MiB in memory (see ahead). What is there is thrown away by the next writer of
// the block, and told only while the array may speak for the volume. A client
// with as much under way by itself is left alone. On one machine of 2 cores,
// with fio's nbd engine, --rw=read, off and on in turns: 128 KiB at depth 1 went
// from 37 and 53 MB/s to 103 and 107, 4 KiB at depth 1 from 11 to 39.
//
// # Promises
//
//   - A part whose request was cancelled, because its connection died or its
//     time was up, is never applied if it had not started; one that had started
//     is finished before its request returns an error. So nothing is applied
//     after its error was sent (I7).
//   - Within a block a write is applied whole or not at all. A request over
//     several blocks may be applied in part when it fails.
//   - Trim touches no byte outside its range: parts of blocks at its ends are
//     left as they are.
//   - The memory held is that of the requests under way, which whoever calls
//     bounds, and what was read ahead, 20 MiB at most (I9).
package volume
