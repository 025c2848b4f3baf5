// Package chunkrpc is chunk.Store over a network: a Server puts a node's store
// there, a Client is that node to a gateway. What carries it is QUIC, or TLS
// over TCP; nothing but the two kinds of connection knows which.
//
// # Who may speak
//
// Both sides prove who they are with certificates of the cluster's own CA, over
// TLS 1.3, ALPN "rozobox/2". A certificate's one URI SAN is its Identity,
// rozobox://<cluster>/<role>/<id>; addresses and other names do not count. A
// Client talks to the node whose id it was given and to no other. A Server
// refuses peers without a valid certificate in the handshake, and peers of
// another cluster or with the wrong role right after it, where it can say why.
// A gateway may ask for everything, a monitor for Hello and Stat, another node
// for nothing.
//
// # Connections
//
// A Client has one connection and dials again in the background when it ends.
// It remembers nothing about the node from one to the next. Every connection
// begins with a Hello. Before the Server answers it, it has closed the same
// Client's older connection and waited until nothing that came over that one
// is under way: what was asked before a reconnect has no effect after it.
// "The same Client" is the value that NewClient returned, not the certificate:
// a gateway and its standby may run with the same certificate, or one that was
// believed dead may come back, and they must not end each other's connections
// for ever. Between those the Grant decides.
//
// When a connection ends, its calls fail at once with chunk.ErrUnavailable,
// and so do new ones until it is back. Only the calls before the end of the
// first attempt wait for that. A node whose process is gone is noticed within
// a round trip: over TCP its machine says so, over UDP the ICMP error of a port
// where nobody listens does, or the stateless reset of its successor. One that
// is silent, frozen or cut off is noticed after idleTimeout. A caller that
// needs to know sooner sets deadlines.
//
// # Lanes
//
// A connection has a stream for each lane, which lives as long as it does, with
// many requests under way:
//
//	lane         carries
//	control      Hello, Grant, Beat, Superblock, PutSuperblock, Stat
//	write        Write, Sync
//	read         Read, List
//	background   whatever is asked through Client.Background
//
// Lanes do not wait for each other: not for the network, since each stream has
// a flow control window of its own and the connection's is their sum, and not in
// the Server, since each stream has bounds of its own for requests under way and
// bytes held. A stream at its bounds is not read; the transport then holds the
// sender back.
//
// The Server executes the requests of a stream concurrently and in no order,
// Writes too. Who needs an order waits for the acknowledgement, which is what
// the contract of chunk.Store says. A request that changes the store is
// executed to its end even if its connection is gone by then.
//
// # Transports
//
// QUIC has streams, and a connection that notices a silent peer and can say why
// it ends; a stream of the connection is a stream of QUIC.
//
// Over TCP each stream is a TCP connection with TLS of its own, because streams
// that shared one would wait for each other's lost packets and for each other's
// readers. One more TCP connection, the lifeline, makes a connection of them.
// All of them prove the same identity, and each begins with its join, where
// number is 0 for the lifeline, then 1 to 4 for the streams in the order of
// their opening, and the id names the connection:
//
//	0        4        5               21
//	| "rzbt" | number | random id     | the lifeline's notes, or a stream's bytes
//
// The lifeline comes first, alone, and the server's first note says that
// streams may join. A stream joins only a connection of the same certificate,
// each number once. Notes go both ways:
//
//	| 0 |                             I am alive: at once, then every keepAlive
//	| 1 | reason 1 | length 2 | text  the last: why I end the connection
//
// So a frozen process is noticed although its machine still acknowledges what
// is sent to it, and a stream that the store holds back is not mistaken for
// one, unless that lasts for tcpTimeout: QUIC knows no such bound. The end of any
// of the TCP connections is the end of all. Who sees a stream end waits
// verdictTime for the note that says why.
//
// What TCP costs is connecting: 5 handshakes where QUIC has one, 8 ms of CPU
// for both ends together. They come one after the other, so that the bounds on
// peers that have not proved who they are count a Client once either way.
// Sessions are not resumed: that would save a third of it, and every TCP
// connection would no longer prove itself anew.
//
// # Frames
//
// All numbers are big-endian. A stream begins with its preamble:
//
//	0        4      5                  21
//	| "rzbx" | lane | client's random id |
//
// Then requests flow one way and replies the other, each a header and a body:
//
//	0        4      5      6       8                16
//	| length | kind | code | count | request id     | body, length bytes ...
//
// kind names the request; a reply has the same with its top bit set. code is
// 0, or the error that the reply reports, and then the body is its text. count
// is the number of operations of a Write or Read, else 0. The client chooses
// the id, the reply repeats it. Replies come in any order.
//
// A term is 36 bytes, a Write's operation 52, a Read's 28, a chunk's answer 9:
//
//	| volume 16 | epoch 4 | nonce 8 | watermark 8 |
//	| kind 1 | index 1 | repair 1 | 0 | length 4 | block 8 | version 8 | base 8 | offset 4 |
//	  | instance 16 |
//	| index 1 | 0 0 0 | offset 4 | length 4 | block 8 | at most 8 |
//	| state 1 | version 8 |
//
// An operation of kind OpSync, the last of its Write, asks for a Sync in the same
// request; all its other fields are 0.
//
//	request          body                      reply
//	hello            -                         node, store 16, instance 16, read-only 1,
//	                                           n 2, n * (volume 16, epoch 4, w 8, deleted 1)
//	grant            volume 16, epoch 4,       store 16, instance 16, w 8, recovered 8, superblock
//	                 nonce 8
//	beat             term                      instance 16, w 8, free 8
//	superblock       volume 16                 superblock
//	put superblock   term, superblock          -
//	write            term, operations,         instance 16, free 8, for each swap: base 8,
//	                 payloads                  if any operation was refused, for each:
//	                                           code 1 and, unless that is 0, a text; then the
//	                                           bytes that swaps whose base is not 0 replaced
//	read             term, operations          chunks, payloads of those present
//	sync             term                      instance 16, free 8
//	list             term, since 8,            more 1, n * (position 17, flags 1)
//	                 position 17, end 8,
//	                 limit 4
//	stat             -                         node, store 16, instance 16, read-only 1,
//	                                           11 counters 8, host, n 2,
//	                                           n * (volume 16, chunks 8, bytes 8)
//
//	superblock       volume 16, number 8, epoch 4, deleted 1, name, body with length 4
//	position         block 8, index 1, version 8
//	host             10 counters 8
//	node             length 1, then so many bytes; texts and names likewise, length 2
//
// Every length is checked against limits.go before anything is allocated for
// it, and every body must have exactly the fields above. A frame that breaks a
// rule closes its connection and has no effect.
//
// # Memory
//
// The server uses pooled buffers for the bodies of requests, which a store must
// not keep, and of Read replies. On the client these go from the stream straight
// to Get.Dst; a Read that is given up first
// makes its stream's reader let go of them.
//
// # Numbers
//
//	go test -run xxx -bench . ./pkg/chunkrpc
//
// Both ends and the benchmark on the same 2 cores (virtual, amd64), over loopback,
// in front of a store that costs nothing; CPU is that of both ends, in µs for each
// request; medians of three:
//
//	                                QUIC            TLS
//	                                MB/s   CPU      MB/s   CPU
//	one stream, no requests         795    304      1477   149    for every 128 KiB
//	read 16 KiB, 32 at once         724     44      1258    23
//	write 16 KiB, 32 at once        724     43      1258    21
//	read 8 * 512 KiB, 4 at once     660             1709
//	write 8 * 512 KiB, 4 at once    781             1937
//	read 4 KiB, 32 at once          383     15       580     9
//	write 4 KiB, 32 at once         384     15       652     9
//	read 4 KiB, one at a time        86     50       141    33
//
// That the sender lets others run before it writes, and that the server keeps its
// workers, brought 4 KiB from 22 µs (QUIC) and 20 (TLS) to these numbers.
//
// The kernel hands over what it receives in runs of packets (see grouped): that
// brought a gateway with eight chunk servers on 2 cores 15 to 50 % in sequential
// reading (scripts/bench.sh --only seq-read, with and without in turns).
//
// So the transport is what costs: its own packets and system calls, at 1452
// bytes each. With two streams each for reads and writes, so that a lost packet holds
// up half of the requests only, fewer frames go out in one write: with eight nodes,
// small random reads took 15 % more CPU by QUIC and TLS alike, random writes 7 to
// 10 %, and what is sequential the same (scripts/bench.sh, medians of five in turns).
// Stream windows of 2 MiB are four times what 32 requests of 16 KiB need.
//
// Of the packets of small random writes two of five only acknowledge, 37 bytes each:
// quic-go sends one for every second packet that came. Holding those back in the
// socket for 2 ms, for the newest to stand for all, halved random writes: quic-go
// takes the wait for the path's, and paces what it sends by that.
package chunkrpc
