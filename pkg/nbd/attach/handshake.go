package attach

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// The numbers of the handshake, from the protocol's text.
const (
	magicServer = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption = 0x49484156454f5054 // "IHAVEOPT"
	magicReply  = 0x3e889045565a9

	flagFixedNewstyle = 1 << 0
	flagNoZeroes      = 1 << 1

	optionGo = 7

	replyAck        = 1
	replyInfo       = 3
	replyErrorBit   = 1 << 31
	replyErrUnknown = replyErrorBit | 6

	infoExport      = 0
	infoDescription = 2
	infoBlockSize   = 3
)

// Transmission flags that a caller of this package decides by.
const (
	FlagReadOnly     = 1 << 1
	FlagFlush        = 1 << 2
	FlagFUA          = 1 << 3
	flagRotational   = 1 << 4
	FlagTrim         = 1 << 5
	FlagWriteZeroes  = 1 << 6
	FlagCanMultiConn = 1 << 8
)

const (
	// maxName is the protocol's own bound on an export's name.
	maxName = 4096

	// maxReply bounds the payload of one option reply: the longest string of
	// the protocol, 4096 bytes, with room for the fields around it.
	maxReply = 8 << 10

	// maxReplies bounds the replies to one option. Five kinds of information
	// are defined; a server that sends many more is not answering.
	maxReplies = 32

	// handshakeTimeout bounds dialling and the whole handshake with one
	// server. They are three round trips; a second server may be waiting.
	handshakeTimeout = 5 * time.Second
)

var (
	// ErrUnknownExport means that the server answers but has no such export,
	// or not yet: a gateway lists a volume only when it has opened it.
	ErrUnknownExport = errors.New("unknown export")

	// ErrProtocol means that the peer does not speak NBD as it should.
	ErrProtocol = errors.New("not a usable NBD server")
)

// Export is what a server tells of one export in its handshake.
type Export struct {
	Name           string
	Size           int64
	Flags          uint16 // transmission flags
	MinBlock       uint32 // 1 where the server does not say
	PreferredBlock uint32 // 4096 where the server does not say
	MaxBlock       uint32 // 32 MiB where the server does not say
	Description    string
}

// Incarnation returns the value of the description's incarnation=VALUE word,
// or "" where there is none (a server that is not Rozobox's).
func (e Export) Incarnation() string { return e.word("incarnation") }

// word returns the VALUE of the first key=VALUE in the description, or "".
func (e Export) word(key string) string {
	for _, word := range strings.Fields(e.Description) {
		if value, ok := strings.CutPrefix(word, key+"="); ok {
			return value
		}
	}
	return ""
}

// Dial connects to addr ("host:port" or "unix:/path") and negotiates the
// export; "" names the server's default. The connection is then ready for
// requests with simple replies, and not a byte beyond the handshake was read
// from it.
func Dial(ctx context.Context, addr, name string) (net.Conn, Export, error) {
	return dial(ctx, dialNet, addr, name)
}

// dial is Dial with the network's part given.
func dial(ctx context.Context, connect dialFunc, addr, name string) (net.Conn, Export, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, err := connect(ctx, addr)
	if err != nil {
		return nil, Export{}, fmt.Errorf("connect to %s: %w", addr, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	export, err := Handshake(conn, name)
	if !stop() && err == nil {
		err = ctx.Err() // the deadline fell after the last byte: it would spoil later reads
	}
	if err != nil {
		conn.Close()
		return nil, Export{}, fmt.Errorf("export %q at %s: %w", name, addr, err)
	}
	return conn, export, nil
}

// dialFunc connects to an address; tests have no network.
type dialFunc func(ctx context.Context, addr string) (net.Conn, error)

// dialNet connects over TCP, or to a Unix socket. The keep-alive outlives the
// Go connection: it is a property of the socket that the kernel takes over.
func dialNet(ctx context.Context, addr string) (net.Conn, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	return dialer.DialContext(ctx, network, addr)
}

// Handshake negotiates the export name on a fresh connection: fixed newstyle,
// option GO. It reads exactly the server's handshake.
func Handshake(conn io.ReadWriter, name string) (Export, error) {
	if len(name) > maxName {
		return Export{}, fmt.Errorf("export name of %d bytes: the protocol allows %d", len(name), maxName)
	}
	flags, err := readGreeting(conn)
	if err != nil {
		return Export{}, err
	}
	if _, err := conn.Write(encodeGo(flags, name)); err != nil {
		return Export{}, fmt.Errorf("send option GO: %w", err)
	}
	export := Export{Name: name, Size: -1, MinBlock: 1, PreferredBlock: 4096, MaxBlock: 32 << 20}
	for range maxReplies {
		done, err := export.readReply(conn)
		if err != nil {
			return Export{}, err
		}
		if done {
			return export, export.check()
		}
	}
	return Export{}, fmt.Errorf("%w: more than %d replies to one option", ErrProtocol, maxReplies)
}

// readGreeting reads the server's first 18 bytes and returns the client flags
// to answer with.
func readGreeting(r io.Reader) (uint32, error) {
	var b [18]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, fmt.Errorf("read greeting: %w", err)
	}
	if binary.BigEndian.Uint64(b[:]) != magicServer || binary.BigEndian.Uint64(b[8:]) != magicOption {
		return 0, fmt.Errorf("%w: wrong greeting", ErrProtocol)
	}
	flags := binary.BigEndian.Uint16(b[16:])
	if flags&flagFixedNewstyle == 0 {
		return 0, fmt.Errorf("%w: no fixed newstyle negotiation", ErrProtocol)
	}
	return uint32(flags & (flagFixedNewstyle | flagNoZeroes)), nil
}

// encodeGo lays out the client flags and option GO in one write, asking for
// the block sizes and the description.
func encodeGo(flags uint32, name string) []byte {
	wanted := []uint16{infoBlockSize, infoDescription}
	b := binary.BigEndian.AppendUint32(nil, flags)
	b = binary.BigEndian.AppendUint64(b, magicOption)
	b = binary.BigEndian.AppendUint32(b, optionGo)
	b = binary.BigEndian.AppendUint32(b, uint32(4+len(name)+2+2*len(wanted)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(name)))
	b = append(b, name...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(wanted)))
	for _, info := range wanted {
		b = binary.BigEndian.AppendUint16(b, info)
	}
	return b
}

// readReply takes in one reply to GO and reports whether it was the last.
func (e *Export) readReply(r io.Reader) (done bool, err error) {
	kind, data, err := readReply(r)
	if err != nil {
		return false, err
	}
	switch {
	case kind == replyAck:
		return true, nil
	case kind == replyInfo:
		return false, e.readInfo(data)
	case kind == replyErrUnknown:
		return false, ErrUnknownExport
	case kind&replyErrorBit != 0:
		return false, fmt.Errorf("%w: option GO refused with error %d %q", ErrProtocol, kind&^replyErrorBit, data)
	}
	return false, fmt.Errorf("%w: reply of type %d to option GO", ErrProtocol, kind)
}

// readReply reads one option reply, its length checked before it is allocated.
func readReply(r io.Reader) (kind uint32, data []byte, err error) {
	var b [20]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, nil, fmt.Errorf("read option reply: %w", err)
	}
	magic, option := binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint32(b[8:])
	kind, length := binary.BigEndian.Uint32(b[12:]), binary.BigEndian.Uint32(b[16:])
	if magic != magicReply || option != optionGo || length > maxReply {
		return 0, nil, fmt.Errorf("%w: malformed option reply", ErrProtocol)
	}
	data = make([]byte, length)
	if _, err := io.ReadFull(r, data); err != nil {
		return 0, nil, fmt.Errorf("read option reply: %w", err)
	}
	return kind, data, nil
}

// readInfo takes in one piece of information; unknown kinds are ignored, as
// the protocol asks.
func (e *Export) readInfo(b []byte) error {
	if len(b) < 2 {
		return fmt.Errorf("%w: information of %d bytes", ErrProtocol, len(b))
	}
	kind, body := binary.BigEndian.Uint16(b), b[2:]
	switch {
	case kind == infoExport && len(body) == 10:
		e.Size = int64(binary.BigEndian.Uint64(body))
		e.Flags = binary.BigEndian.Uint16(body[8:])
	case kind == infoBlockSize && len(body) == 12:
		e.MinBlock = binary.BigEndian.Uint32(body)
		e.PreferredBlock = binary.BigEndian.Uint32(body[4:])
		e.MaxBlock = binary.BigEndian.Uint32(body[8:])
	case kind == infoDescription:
		e.Description = string(body)
	case kind == infoExport || kind == infoBlockSize:
		return fmt.Errorf("%w: information %d of %d bytes", ErrProtocol, kind, len(b))
	}
	return nil
}

// check refuses an export that was not described, or nonsensically.
func (e *Export) check() error {
	if e.Size < 0 {
		return fmt.Errorf("%w: no export size, or one above 2^63", ErrProtocol)
	}
	if e.MinBlock == 0 || e.PreferredBlock < e.MinBlock || e.MaxBlock < e.MinBlock {
		return fmt.Errorf("%w: block sizes %d, %d, %d", ErrProtocol, e.MinBlock, e.PreferredBlock, e.MaxBlock)
	}
	return nil
}
