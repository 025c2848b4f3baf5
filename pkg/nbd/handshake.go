package nbd

import (
	"bufio"
	"bytes"
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/pojntfx/go-nbd/pkg/protocol"
)

const (
	// readBuffer holds seven 4 KiB writes, so that one system call reads many
	// small requests; larger payloads bypass it.
	readBuffer = 64 << 10

	// shutdownHandshake is how long a negotiation may go on after Serve's
	// context has ended, so that the next option is answered ERR_SHUTDOWN.
	shutdownHandshake = time.Second
)

var errHandshakeOver = errors.New("client ended the negotiation")

// session is what a client and the server have agreed on.
type session struct {
	stream net.Conn      // the socket, or TLS over it
	in     *bufio.Reader // reads from stream

	secure     bool // stream is TLS
	structured bool // structured replies, also true when extended
	extended   bool // extended headers
	allocation bool // base:allocation is selected for export
	export     *export
}

// handshake negotiates with one client. It becomes a session when the client
// chose an export.
type handshake struct {
	server *Server
	ctx    context.Context // of Serve
	leave  func()          // takes the client out of handshakes; harmless twice
	session
	flags    uint16 // the client's
	selected string // export for which allocation was selected
}

// negotiate speaks with a client until it has chosen an export.
func (s *Server) negotiate(ctx context.Context, raw net.Conn) (*session, error) {
	leave := s.handshakes.enter(raw)
	defer leave()
	deadline := time.Now().Add(s.opts.HandshakeTimeout)
	if err := raw.SetDeadline(deadline); err != nil {
		return nil, err
	}
	hurried := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(hurried)
		raw.SetDeadline(earlier(deadline, time.Now().Add(shutdownHandshake)))
	})
	h := &handshake{server: s, ctx: ctx, leave: leave}
	h.stream, h.in = raw, bufio.NewReaderSize(raw, readBuffer)
	err := h.run()
	if !stop() {
		<-hurried
		return nil, errors.Join(ErrShutdown, err)
	}
	if err != nil {
		return nil, err
	}
	return &h.session, raw.SetDeadline(time.Time{})
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (h *handshake) run() error {
	if err := h.greet(); err != nil {
		return err
	}
	for h.export == nil {
		option, data, err := h.readOption()
		if err != nil {
			return err
		}
		if err := h.answer(option, data); err != nil {
			return err
		}
	}
	return nil
}

// greet sends the greeting and reads the client's flags.
func (h *handshake) greet() error {
	const offered = flagFixedNewstyle | flagNoZeroes
	greeting := appendStruct(nil, protocol.NegotiationNewstyleHeader{
		OldstyleMagic:  protocol.NEGOTIATION_MAGIC_OLDSTYLE,
		OptionMagic:    protocol.NEGOTIATION_MAGIC_OPTION,
		HandshakeFlags: offered,
	})
	if _, err := h.stream.Write(greeting); err != nil {
		return err
	}
	var b [4]byte
	if _, err := io.ReadFull(h.in, b[:]); err != nil {
		return err
	}
	flags := be.Uint32(b[:])
	if flags&^uint32(offered) != 0 {
		return fmt.Errorf("unknown client flags %#x", flags)
	}
	h.flags = uint16(flags)
	return nil
}

// readOption reads one option with its data. Nothing is allocated before it
// has arrived.
func (h *handshake) readOption() (uint32, []byte, error) {
	var header protocol.NegotiationOptionHeader
	raw := make([]byte, binary.Size(header))
	if _, err := io.ReadFull(h.in, raw); err != nil {
		return 0, nil, err
	}
	if _, err := binary.Decode(raw, be, &header); err != nil {
		return 0, nil, err
	}
	if header.OptionMagic != protocol.NEGOTIATION_MAGIC_OPTION {
		return 0, nil, fmt.Errorf("bad option magic %#x", header.OptionMagic)
	}
	if header.ID == optGo && header.Length == 0 && h.flags == 0 {
		data, err := h.readUncounted()
		return header.ID, data, err
	}
	if header.Length > maxOption {
		return 0, nil, fmt.Errorf("option %d with %d bytes of data", header.ID, header.Length)
	}
	data, err := h.readData(nil, int64(header.Length))
	return header.ID, data, err
}

// readUncounted reads the data of a GO from the go-nbd client, which leaves it
// out of the option's length. No conforming client sends such a GO: one whose
// flags are 0 may only use EXPORT_NAME.
func (h *handshake) readUncounted() ([]byte, error) {
	data, err := h.readData(nil, 4)
	if err != nil {
		return nil, err
	}
	name := be.Uint32(data)
	if name > maxString {
		return nil, fmt.Errorf("export name of %d bytes", name)
	}
	data, err = h.readData(data, int64(name)+2)
	if err != nil {
		return nil, err
	}
	return h.readData(data, 2*int64(be.Uint16(data[len(data)-2:])))
}

// readData appends n bytes from the client to data.
func (h *handshake) readData(data []byte, n int64) ([]byte, error) {
	b := bytes.NewBuffer(data)
	_, err := io.CopyN(b, h.in, n)
	return b.Bytes(), err
}

// reply sends one reply to an option.
func (h *handshake) reply(option, kind uint32, data []byte) error {
	return h.write(appendOptionReply(nil, option, kind, data))
}

// refuse sends an error reply with a text for people.
func (h *handshake) refuse(option, kind uint32, format string, args ...any) error {
	return h.reply(option, kind, []byte(cutText(fmt.Sprintf(format, args...), maxText)))
}

// write sends everything that answers an option in one piece: there are
// clients that take one read for one reply, and scattered writes are slow.
func (h *handshake) write(b []byte) error {
	_, err := h.stream.Write(b)
	return err
}

// handshakes are the connections that still negotiate, oldest first. When
// there are too many, the oldest is closed: a real client needs it least.
type handshakes struct {
	limit int
	mu    sync.Mutex // guards open; never held across I/O
	open  list.List  // of net.Conn
}

func newHandshakes(limit int) *handshakes { return &handshakes{limit: limit} }

// enter adds raw and returns a function that removes it, if it is still there.
func (h *handshakes) enter(raw net.Conn) func() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open.Len() >= h.limit {
		oldest := h.open.Front()
		h.open.Remove(oldest)
		// Only marks the descriptor closed and wakes its readers.
		oldest.Value.(net.Conn).Close()
	}
	e := h.open.PushBack(raw)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.open.Remove(e)
	}
}
