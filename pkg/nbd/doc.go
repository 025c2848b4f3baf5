// Package nbd serves block devices over the Network Block Device protocol:
// fixed newstyle negotiation, simple, structured and extended replies, TLS.
// It knows nothing of what is behind a Device.
//
// # Types
//
// Device is what is exported; small optional interfaces (Trimmer, Zeroer,
// Mapper and so on) add commands, and each is advertised exactly when the
// Device has it. Exports names the devices. Server answers clients on any
// number of listeners. Backend shows a Device to the go-nbd module's users.
//
// # One connection
//
//	            admit: budget, then payload
//	socket -> parser --------------------> workers -> Device
//	            |  refusals                   |
//	            v                             v
//	          replies (channel) ------------------> writer -> socket
//
// The parser is one goroutine: header, magic, the whole payload, validation.
// It holds nothing but one request's memory while it waits for a client.
// Workers run commands side by side, so replies leave in any order. The writer
// sends all the replies that wait in one vectored write.
//
// A request is charged its bytes before they are allocated, against its
// connection and against all connections together, and pays them back when its
// last reply has been written. Whoever is over the limit has its parser wait;
// nothing is dropped. Every connection has a reserve of its own of 1 MiB; a
// request that fits into it never waits for other clients. A longer one may: a
// client that stops within a payload holds the memory of it until WriteTimeout,
// and a second for each MiB, have passed.
//
// # Promises
//
//   - A client's lengths are checked before anything is allocated for them.
//     The worst that a bad client does is to lose its own connection.
//   - A WRITE whose payload did not arrive whole, or that exceeds the device,
//     changes nothing.
//   - A reply to FLUSH, or to a command with FUA, is sent after Device.Flush
//     has returned. All connections share one Device, so a flush covers what
//     was replied to on any of them; that is why CAN_MULTI_CONN is always set.
//   - Overlapping requests that are in flight together have no order, as the
//     protocol has it. What was replied to comes before what is sent later.
//   - When a connection ends, its context ends at once; its queued requests
//     are dropped, and Serve waits until those in the Device have returned.
//   - A request that could not be handed to its Device within QueueTimeout is
//     answered with EIO and is never applied: the Linux client sends a late
//     write again on another connection, and the first copy must not arrive
//     behind newer data. For the same reason a connection that has stalled is
//     asked, before each later change, whether its client has hung up. Clients
//     should use a timeout (nbd-client -t) of at least twice QueueTimeout plus
//     the Device's own limit. (A client that sends DISC and hangs up without
//     waiting for replies may lose what it sent, if the server had stalled.)
//   - A Device that answers ErrGone ends the connection, and nothing that it
//     has not answered yet is replied to. The other connections end with their
//     own next request.
//   - When Serve's context ends, outstanding requests are finished within
//     ShutdownTimeout, new ones are answered with ESHUTDOWN, then all closes.
//     With Options.Resumable new ones end their connection without an answer:
//     the Linux client makes an I/O error of ESHUTDOWN, but sends again on a
//     new connection what had no answer, so that a file system outlives a
//     restart of the server.
//
// # Choices where the protocol leaves one
//
// The minimum block size is 1: any offset and length is served. Payloads up to
// MaxPayload are served although half of that is advertised. base:allocation
// is always offered, and may be listed without structured replies; a Device
// that is no Mapper is all data. CACHE is accepted even where it is not
// advertised. GO with length 0 from a client whose flags were 0 is read as the
// go-nbd client means it, with its data behind it.
package nbd
