package chunkrpc

import (
	"time"

	"github.com/quic-go/quic-go"

	"rozobox/pkg/chunk"
)

// alpn is the protocol's name and version; peers that differ do not connect.
const alpn = "rozobox/2"

// Bounds of one frame; doc.go draws the layouts.
const (
	headerSize   = 16
	preambleSize = 21
	termSize     = 36
	opSize       = 52
	getSize      = 28
	chunkSize    = 9
	entrySize    = 18

	// maxText bounds an error's text: a line or two for a person.
	maxText = 512

	// maxOpText bounds the text of one operation's error, so that the errors
	// of a full batch stay within 512*(3+128) bytes, 66 KiB.
	maxOpText = 128

	// maxSuperblockSize is a superblock with its fixed fields and both lengths.
	maxSuperblockSize = 29 + 2 + chunk.MaxName + 4 + chunk.MaxSuperblock

	// maxAckSize is a Write's answer in which no operation but swaps was done.
	maxAckSize = 24 + chunk.MaxOps*(8+3+maxOpText) + chunk.MaxRequestBytes

	maxWriteSize = termSize + chunk.MaxOps*opSize + chunk.MaxRequestBytes
	maxReadSize  = termSize + chunk.MaxOps*getSize
)

// Bounds of one stream on the server. A stream that has reached one of them is
// not read until something is done: the sender is held back by QUIC's own flow
// control, and the other streams do not notice.
const (
	// maxHandlers bounds the requests of a stream that are executed at once:
	// twice the depth of 32 that one gateway usually has for one node.
	maxHandlers = 64

	// maxHeld bounds the payload bytes that a stream's requests and replies
	// hold: two of the largest requests, so that one can arrive while one is
	// executed.
	maxHeld = 2 * maxWriteSize

	// sendQueue bounds the frames that wait to be written to a stream. They are
	// written together, so a longer queue only adds delay.
	sendQueue = 64
)

// Bounds of the connections of a server.
const (
	// maxHandshakes bounds the connections that have not yet proved who they
	// are; maxHandshakesPerHost keeps some of them for others than the host
	// that floods.
	maxHandshakes        = 64
	maxHandshakesPerHost = 16

	// retryHandshakes is how many of them there may be before a newcomer must
	// first prove that it receives at the address it claims.
	retryHandshakes = 8

	// maxPeers bounds the connections of each role. A cluster has a gateway
	// and perhaps a standby, and a few monitors; what crashed and came back
	// counts twice until idleTimeout has passed.
	maxPeers = 16
)

// How data flows within a connection. Windows are fixed and the connection's
// is the sum of its streams', so that unread bytes of one stream never take
// the room of another: this is what bounds the memory of a connection.
const (
	streamWindow     = 2 << 20
	connectionWindow = maxStreams * streamWindow

	// coalesceSize is how many bytes are gathered into one write.
	coalesceSize = 128 << 10

	// directSize is the payload from which copying it together with others
	// costs more than a write of its own.
	directSize = 64 << 10

	// receiveSize is the buffer in which frame headers are read; payloads of
	// at least half of it go straight to where they belong.
	receiveSize = 8 << 10
)

// tcpReadSize is four records of TLS. Each TCP connection has so much: a gateway
// of 8 nodes has 56 of them, 3.5 MiB.
const tcpReadSize = 64 << 10

// Times. Detection of a silent node proper is the caller's, by deadlines.
const (
	handshakeTimeout = 3 * time.Second
	idleTimeout      = 5 * time.Second
	keepAlive        = time.Second // five chances within idleTimeout

	// dialTimeout bounds one attempt, from the name's resolution to the Hello.
	// It is short because QUIC repeats an unanswered first packet ever less
	// often: a fresh attempt finds a node that came back sooner.
	dialTimeout = 3 * time.Second

	minBackoff = 50 * time.Millisecond
	maxBackoff = time.Second

	// logEvery keeps peers that cannot connect from filling the log.
	logEvery = time.Second
)

// Times of a connection over TCP.
const (
	// linger is how long who closes it waits for the other end to do so too.
	linger = time.Second

	// verdictTime is how long the end of a stream waits for its reason, which
	// comes over the lifeline.
	verdictTime = 250 * time.Millisecond

	// tcpTimeout is how long one TCP connection alone may be dead, or held
	// back by the peer, before all end. The lifeline notices a peer that is
	// gone; this is for a path on which one TCP connection got lost. It must
	// be longer than the slowest card holds back a stream.
	tcpTimeout = 30 * time.Second
)

// lane is what a stream carries. Lanes never wait for each other. Each has one
// stream; doc.go says what was measured.
type lane uint8

const (
	laneControl    lane = iota // Hello, Grant, Beat, superblocks, Stat
	laneWrite                  // a client's Write and Sync
	laneRead                   // a client's Read and List
	laneBackground             // everything that resync, rebuild and scrub ask
	lanes
)

// maxStreams is how many a connection has, one for each lane.
const maxStreams = 4

func quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:           handshakeTimeout,
		MaxIdleTimeout:                 idleTimeout,
		InitialStreamReceiveWindow:     streamWindow,
		MaxStreamReceiveWindow:         streamWindow,
		InitialConnectionReceiveWindow: connectionWindow,
		MaxConnectionReceiveWindow:     connectionWindow,
		MaxIncomingStreams:             -1,
		MaxIncomingUniStreams:          -1,
	}
}
