package chunkrpc

import (
	"encoding/binary"
	"errors"
	"fmt"

	"rozobox/pkg/chunk"
)

// errMalformed means that a peer sent what the protocol does not allow. Its
// connection is closed; nothing of the frame had an effect.
var errMalformed = errors.New("malformed")

// kind is the type of a frame. A reply has its request's kind and replyBit.
type kind uint8

const (
	kindHello kind = iota + 1
	kindGrant
	kindBeat
	kindSuperblock
	kindPutSuperblock
	kindWrite
	kindRead
	kindSync
	kindList
	kindStat

	replyBit kind = 0x80
)

// kinds says, for each kind, how people call it, and how long the bodies of a
// request and of a successful reply may be.
var kinds = [...]struct {
	name           string
	request, reply int
}{
	kindHello: {"hello", 0, 1 + maxName + 33 + 2 + chunk.MaxVolumes*29},
	kindGrant: {"grant", 28, 48 + maxSuperblockSize},
	kindBeat:  {"beat", termSize, 32},

	kindSuperblock:    {"superblock", 16, maxSuperblockSize},
	kindPutSuperblock: {"put superblock", termSize + maxSuperblockSize, 0},

	kindWrite: {"write", maxWriteSize, maxAckSize},
	kindRead:  {"read", maxReadSize, chunk.MaxOps*chunkSize + chunk.MaxRequestBytes},
	kindSync:  {"sync", termSize, 24},
	kindList:  {"list", termSize + 37, 1 + chunk.MaxListEntries*entrySize},
	kindStat:  {"stat", 0, 1 + maxName + 33 + 21*8 + 2 + chunk.MaxVolumes*32},
}

func (k kind) String() string {
	if base := k &^ replyBit; base.known() {
		return kinds[base].name
	}
	return fmt.Sprintf("kind %#02x", uint8(k))
}

func (k kind) known() bool { return k >= kindHello && int(k) < len(kinds) }

// header begins every frame.
type header struct {
	length uint32 // of the body, which follows
	kind   kind
	code   code   // 0 in requests and in replies that succeeded
	count  uint16 // of ops in a Write, of gets in a Read, else 0
	id     uint64 // chosen by the client; a reply repeats it
}

func (h header) put(b []byte) {
	binary.BigEndian.PutUint32(b, h.length)
	b[4], b[5] = byte(h.kind), byte(h.code)
	binary.BigEndian.PutUint16(b[6:], h.count)
	binary.BigEndian.PutUint64(b[8:], h.id)
}

func parseHeader(b []byte) header {
	return header{
		length: binary.BigEndian.Uint32(b),
		kind:   kind(b[4]),
		code:   code(b[5]),
		count:  binary.BigEndian.Uint16(b[6:]),
		id:     binary.BigEndian.Uint64(b[8:]),
	}
}

// checkRequest is the server's look at a header before it reads the body.
func (h header) checkRequest() error {
	bulk := h.kind == kindWrite || h.kind == kindRead
	if !h.kind.known() || h.code != 0 || h.count != 0 && !bulk {
		return fmt.Errorf("%w request: %s, code %d, count %d", errMalformed, h.kind, h.code, h.count)
	}
	return h.checkLength(kinds[h.kind].request)
}

// checkReply is the client's look at a header before it reads the body.
func (h header) checkReply() error {
	base := h.kind &^ replyBit
	if h.kind&replyBit == 0 || !base.known() || h.count != 0 {
		return fmt.Errorf("%w reply: %s, count %d", errMalformed, h.kind, h.count)
	}
	if h.code != 0 {
		return h.checkLength(maxText)
	}
	return h.checkLength(kinds[base].reply)
}

func (h header) checkLength(limit int) error {
	if int64(h.length) > int64(limit) {
		return fmt.Errorf("%w %s: %d bytes, at most %d", errMalformed, h.kind, h.length, limit)
	}
	return nil
}

// preamble begins every stream: which lane it is, and which client opens it.
type preamble struct {
	lane   lane
	client clientID
}

// clientID names one Client, for as long as it lives.
type clientID [16]byte

// magic is how every stream begins.
const magic = "rzbx"

func (p preamble) append(b []byte) []byte {
	b = append(b, magic...)
	b = append(b, byte(p.lane))
	return append(b, p.client[:]...)
}

func parsePreamble(b []byte) (preamble, error) {
	if len(b) != preambleSize || string(b[:4]) != magic || b[4] >= byte(lanes) {
		return preamble{}, fmt.Errorf("%w preamble %x", errMalformed, b)
	}
	return preamble{lane: lane(b[4]), client: clientID(b[5:])}, nil
}

// decoder takes fields off a body. After the first that is not there it yields
// zero values, and finish says so.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad = true
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) u8() uint8 {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if p := d.take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if p := d.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if p := d.take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

func (d *decoder) id() (id [16]byte) {
	copy(id[:], d.take(len(id)))
	return id
}

// flag is a byte that is 0 or 1.
func (d *decoder) flag() bool {
	v := d.u8()
	d.require(v <= 1)
	return v == 1
}

// limited is n bytes, of which there may be at most limit.
func (d *decoder) limited(n, limit int) []byte {
	d.require(n <= limit)
	return d.take(n)
}

func (d *decoder) require(ok bool) { d.bad = d.bad || !ok }

// finish reports whether everything was there, and nothing more.
func (d *decoder) finish(what string) error {
	if d.bad || len(d.b) != 0 {
		return fmt.Errorf("%w body of %s", errMalformed, what)
	}
	return nil
}

func appendFlag(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

var be = binary.BigEndian
