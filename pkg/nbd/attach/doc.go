// Package attach is the client's side of NBD: the handshake, and the Linux
// kernel's own block device /dev/nbdN on top of it. Run attaches a device and
// watches over it, Detach takes it away. Dial gives a negotiated connection to
// programs that speak the rest of the protocol themselves, and Client speaks it for
// them.
//
// # Who does what
//
// The kernel does the input and output. It is given negotiated sockets and
// keeps them; no byte of a request passes through this process:
//
//	           CONNECT, RECONFIGURE (sockets)      requests
//	Run  ----------------------------> /dev/nbdN <---------> gateway
//	 ^  <----------------------------     |  \_____________> gateway
//	 |         LINK_DEAD (multicast)      |   (one socket per connection)
//	 +--- dial, handshake ----------------+
//
// When a socket dies the kernel sends LINK_DEAD. Run then dials the servers in
// order, negotiates anew, and gives the kernel a successor. Requests that were
// under way on a dead socket are sent again on another one after the device's
// timeout; new ones take a living socket at once, or wait up to the
// dead-connection timeout for one. So a mounted file system outlives a restart
// of the gateway: it waits.
//
// # What is promised
//
// A device is reconnected only to what it was attached to: same name, volume
// id, size, flags and incarnation. An incarnation that rose means that replied
// writes may have been lost; a file system that goes on as if nothing had
// happened would mix two histories. Run then ends with ErrChanged, and the
// device fails its I/O when the dead-connection timeout is over.
//
// The description of this, the identifier, is kept by the kernel with the
// device. Run on a device that is attached already compares it and becomes the
// watcher; so the process may be stopped, replaced and started at any time
// without harm to what is mounted, as long as it runs again before the
// dead-connection timeout has run out. Two watchers of one device do no harm:
// the kernel ignores a socket that it has no use for.
//
// # What is not
//
// A device whose kernel is older than 5.14 keeps no identifier: the watch over
// it cannot be taken over. TLS is not spoken: the kernel could not go on with
// it by itself.
//
// # The netlink messages
//
// Generic netlink, in the machine's byte order, every part padded to four
// bytes:
//
//	netlink header   u32 length | u16 type (the family) | u16 flags | u32 sequence | u32 port
//	generic header   u8 command | u8 version | u16 reserved
//	attributes       u16 length (with these 4 bytes) | u16 type | data ...
//
//	CONNECT      index, size, block size, timeout, dead-connection timeout,
//	             server flags, identifier, sockets { item { fd } ... }
//	RECONFIGURE  index, identifier, sockets { item { fd } ... }
//	DISCONNECT   index
//	STATUS       index; answered by device list { item { index, connected } }
//	LINK_DEAD    index; from the kernel, one for each dead socket
//
// Every command is answered by an error message, whose number is 0 for success.
package attach
