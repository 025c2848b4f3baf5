package nbd

import (
	"encoding/binary"

	"github.com/pojntfx/go-nbd/pkg/protocol"
)

// Bounds of the protocol.
const (
	// MaxPayload is the most that one WRITE carries or one READ returns: what
	// libnbd itself refuses to exceed, and twice what the Linux client sends.
	MaxPayload = 64 << 20

	// advertisedPayload is what clients are told: 32 MiB, the Linux client's
	// hardware limit and what every server takes.
	advertisedPayload = 32 << 20

	// maxString bounds names and queries, by the protocol.
	maxString = 4096

	// maxOption bounds one option's data: a list of 250 queries of the
	// longest kind, and eight times what INFO can fill.
	maxOption = 1 << 20

	// maxText bounds error texts. qemu takes an error chunk of 1000 bytes for a
	// protocol error, and nbd-client loses step at 4096.
	maxText = 512
)

// Handshake flags, of the server and (the same bits) of the client.
const (
	flagFixedNewstyle = protocol.NEGOTIATION_HANDSHAKE_FLAG_FIXED_NEWSTYLE
	flagNoZeroes      = uint16(1 << 1)
)

// Options.
const (
	optExportName      = uint32(1)
	optAbort           = protocol.NEGOTIATION_ID_OPTION_ABORT
	optList            = protocol.NEGOTIATION_ID_OPTION_LIST
	optStartTLS        = uint32(5)
	optInfo            = protocol.NEGOTIATION_ID_OPTION_INFO
	optGo              = protocol.NEGOTIATION_ID_OPTION_GO
	optStructuredReply = uint32(8)
	optListMetaContext = uint32(9)
	optSetMetaContext  = uint32(10)
	optExtendedHeaders = uint32(11)
)

// Replies to options.
const (
	repAck         = protocol.NEGOTIATION_TYPE_REPLY_ACK
	repServer      = protocol.NEGOTIATION_TYPE_REPLY_SERVER
	repInfo        = protocol.NEGOTIATION_TYPE_REPLY_INFO
	repMetaContext = uint32(4)

	repErrUnsup         = protocol.NEGOTIATION_TYPE_REPLY_ERR_UNSUPPORTED
	repErrInvalid       = uint32(1<<31 + 3)
	repErrTLSReqd       = uint32(1<<31 + 5)
	repErrUnknown       = protocol.NEGOTIATION_TYPE_REPLY_ERR_UNKNOWN
	repErrShutdown      = uint32(1<<31 + 7)
	repErrExtHeaderReqd = uint32(1<<31 + 10)
)

// Kinds of information.
const (
	infoExport      = protocol.NEGOTIATION_TYPE_INFO_EXPORT
	infoName        = protocol.NEGOTIATION_TYPE_INFO_NAME
	infoDescription = protocol.NEGOTIATION_TYPE_INFO_DESCRIPTION
	infoBlockSize   = protocol.NEGOTIATION_TYPE_INFO_BLOCKSIZE
)

// Transmission flags.
const (
	flagHasFlags        = protocol.NEGOTIATION_REPLY_FLAGS_HAS_FLAGS
	flagReadOnly        = uint16(1 << 1)
	flagSendFlush       = uint16(1 << 2)
	flagSendFUA         = uint16(1 << 3)
	flagSendTrim        = uint16(1 << 5)
	flagSendWriteZeroes = uint16(1 << 6)
	flagSendDF          = uint16(1 << 7)
	flagCanMultiConn    = protocol.NEGOTIATION_REPLY_FLAGS_CAN_MULTI_CONN
	flagSendCache       = uint16(1 << 10)
	flagSendFastZero    = uint16(1 << 11)
)

// Commands.
const (
	cmdRead        = protocol.TRANSMISSION_TYPE_REQUEST_READ
	cmdWrite       = protocol.TRANSMISSION_TYPE_REQUEST_WRITE
	cmdDisc        = protocol.TRANSMISSION_TYPE_REQUEST_DISC
	cmdFlush       = uint16(3)
	cmdTrim        = uint16(4)
	cmdCache       = uint16(5)
	cmdWriteZeroes = uint16(6)
	cmdBlockStatus = uint16(7)
)

// Command flags.
const (
	cmdFlagFUA        = uint16(1 << 0)
	cmdFlagNoHole     = uint16(1 << 1)
	cmdFlagDF         = uint16(1 << 2)
	cmdFlagReqOne     = uint16(1 << 3)
	cmdFlagFastZero   = uint16(1 << 4)
	cmdFlagPayloadLen = uint16(1 << 5)
)

// Requests and replies of the transmission phase.
const (
	magicRequest         = protocol.TRANSMISSION_MAGIC_REQUEST
	magicExtendedRequest = uint32(0x21e41c71)
	magicSimpleReply     = protocol.TRANSMISSION_MAGIC_REPLY
	magicStructuredReply = uint32(0x668e33ef)
	magicExtendedReply   = uint32(0x6e8a278c)

	requestSize         = 28
	extendedRequestSize = 32

	replyFlagDone = uint16(1 << 0)

	chunkNone           = uint16(0)
	chunkOffsetData     = uint16(1)
	chunkBlockStatus    = uint16(5)
	chunkBlockStatusExt = uint16(6)
	chunkError          = uint16(1<<15 + 1)
)

// The one metadata context, and its flags.
const (
	contextAllocation   = "base:allocation"
	contextNamespace    = "base:"
	contextAllocationID = uint32(1)

	stateHole = 1 << 0
	stateZero = 1 << 1
)

var be = binary.BigEndian

// appendOptionReply appends one reply to an option. It takes the header's
// layout from go-nbd.
func appendOptionReply(b []byte, option, kind uint32, data []byte) []byte {
	b = appendStruct(b, protocol.NegotiationReplyHeader{
		ReplyMagic: protocol.NEGOTIATION_MAGIC_REPLY,
		ID:         option,
		Type:       kind,
		Length:     uint32(len(data)),
	})
	return append(b, data...)
}

// appendStruct appends a struct of fixed-size fields in network order.
func appendStruct(b []byte, v any) []byte {
	b, err := binary.Append(b, be, v)
	if err != nil {
		panic("nbd: " + err.Error()) // not of fixed size: a bug
	}
	return b
}
