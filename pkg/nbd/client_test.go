package nbd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// testTimeout bounds what a test waits for; it is never reached by a test that
// passes.
const testTimeout = time.Minute

// serve starts a server on a loopback socket and returns its address. It is
// stopped, and seen to end, at the end of the test.
func serve(t testing.TB, opts Options) string {
	t.Helper()
	addr, stop := serveUntil(t, opts)
	t.Cleanup(stop)
	return addr
}

// serveUntil starts a server and returns the function that stops it.
func serveUntil(t testing.TB, opts Options) (addr string, stop func()) {
	t.Helper()
	s, err := NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	return l.Addr().String(), func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
}

// client is a raw NBD client: it sends what the test says, right or wrong.
type client struct {
	t testing.TB
	net.Conn
	structured, extended bool
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, conn)
}

func newClient(t testing.TB, conn net.Conn) *client {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, Conn: conn}
}

// greeted is a client that has exchanged flags with the server.
func greeted(t testing.TB, addr string) *client {
	t.Helper()
	c := dial(t, addr)
	c.greet(uint32(flagFixedNewstyle | flagNoZeroes))
	return c
}

// mode is a way to reply.
type mode string

const (
	simple     mode = "simple"
	structured mode = "structured"
	extended   mode = "extended"
)

var modes = []mode{simple, structured, extended}

// connected is a client in the transmission phase of the default export, with
// base:allocation where the mode has it.
func connected(t testing.TB, addr string, m mode) *client {
	t.Helper()
	c := greeted(t, addr)
	c.begin(m)
	return c
}

// begin negotiates the mode and chooses the default export.
func (c *client) begin(m mode) {
	c.t.Helper()
	switch m {
	case structured:
		c.acked(optStructuredReply, nil)
		c.structured = true
	case extended:
		c.acked(optExtendedHeaders, nil)
		c.structured, c.extended = true, true
	}
	if m != simple {
		c.acked(optSetMetaContext, metaData("", contextAllocation))
	}
	c.acked(optGo, infoData(""))
}

func (c *client) greet(flags uint32) {
	c.t.Helper()
	if got := c.read(18); !bytes.Equal(got, []byte("NBDMAGICIHAVEOPT\x00\x03")) {
		c.t.Fatalf("greeting %q", got)
	}
	c.write(be.AppendUint32(nil, flags))
}

func (c *client) write(b []byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) read(n int) []byte {
	c.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c.Conn, b); err != nil {
		c.t.Fatal(err)
	}
	return b
}

// closed fails the test unless the server hangs up, without sending more.
func (c *client) closed() {
	c.t.Helper()
	defer c.Close()
	b, err := io.ReadAll(c.Conn)
	if len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("the server sent %q, then %v", b, err)
	}
}

// ended fails the test unless the server hangs up in order, so that no reset
// could overtake its last reply.
func (c *client) ended() {
	c.t.Helper()
	defer c.Close()
	if b, err := io.ReadAll(c.Conn); len(b) > 0 || err != nil {
		c.t.Fatalf("the server sent %q, then %v", b, err)
	}
}

func (c *client) closeWrite() {
	c.t.Helper()
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

// optionReply is one reply to an option.
type optionReply struct {
	kind uint32
	data string
}

func optionHeader(option, length uint32) []byte {
	b := be.AppendUint32([]byte("IHAVEOPT"), option)
	return be.AppendUint32(b, length)
}

func (c *client) sendOption(option uint32, data []byte) {
	c.t.Helper()
	c.write(append(optionHeader(option, uint32(len(data))), data...))
}

// option sends an option and returns its replies, the last of which is an ACK
// or an error.
func (c *client) option(option uint32, data []byte) (replies []optionReply) {
	c.t.Helper()
	c.sendOption(option, data)
	return c.optionReplies(option)
}

func (c *client) optionReplies(option uint32) (replies []optionReply) {
	c.t.Helper()
	for {
		h := c.read(20)
		if be.Uint64(h) != 0x3e889045565a9 || be.Uint32(h[8:]) != option {
			c.t.Fatalf("reply header %x to option %d", h, option)
		}
		kind := be.Uint32(h[12:])
		r := optionReply{kind, string(c.read(int(be.Uint32(h[16:]))))}
		if kind>>31 != 0 {
			r.data = "" // a text for people
		}
		if replies = append(replies, r); kind == repAck || kind>>31 != 0 {
			return replies
		}
	}
}

// acked is option for those that must succeed.
func (c *client) acked(option uint32, data []byte) []optionReply {
	c.t.Helper()
	replies := c.option(option, data)
	if last := replies[len(replies)-1]; last.kind != repAck {
		c.t.Fatalf("option %d: %+v", option, last)
	}
	return replies[:len(replies)-1]
}

func infoData(name string, kinds ...uint16) []byte {
	b := append(be.AppendUint32(nil, uint32(len(name))), name...)
	b = be.AppendUint16(b, uint16(len(kinds)))
	for _, k := range kinds {
		b = be.AppendUint16(b, k)
	}
	return b
}

func metaData(name string, queries ...string) []byte {
	b := append(be.AppendUint32(nil, uint32(len(name))), name...)
	b = be.AppendUint32(b, uint32(len(queries)))
	for _, q := range queries {
		b = append(be.AppendUint32(b, uint32(len(q))), q...)
	}
	return b
}

// command is a request as the client sends it.
type command struct {
	kind, flags    uint16
	cookie         uint64
	offset, length uint64
	payload        []byte
}

func writeOf(offset uint64, payload []byte, flags uint16) command {
	return command{kind: cmdWrite, flags: flags, offset: offset,
		length: uint64(len(payload)), payload: payload}
}

// encode returns the request's bytes. In extended mode a WRITE gets the flag
// that the protocol demands.
func (c *client) encode(q command) []byte {
	magic := magicRequest
	if c.extended {
		magic = magicExtendedRequest
		if q.kind == cmdWrite {
			q.flags |= cmdFlagPayloadLen
		}
	}
	b := be.AppendUint32(nil, magic)
	b = be.AppendUint16(be.AppendUint16(b, q.flags), q.kind)
	b = be.AppendUint64(be.AppendUint64(b, q.cookie), q.offset)
	if c.extended {
		b = be.AppendUint64(b, q.length)
	} else {
		b = be.AppendUint32(b, uint32(q.length))
	}
	return append(b, q.payload...)
}

func (c *client) send(q command) {
	c.t.Helper()
	c.write(c.encode(q))
}

// chunkReply is a reply, or one chunk of it.
type chunkReply struct {
	cookie  uint64
	code    uint32 // error
	kind    uint16
	done    bool
	offset  uint64 // of the chunk's header, in extended mode
	payload []byte
}

// receive reads one reply, or chunk. In simple mode n bytes of data follow a
// success.
func (c *client) receive(n int) (r chunkReply) {
	c.t.Helper()
	if !c.structured {
		h := c.read(16)
		if be.Uint32(h) != magicSimpleReply {
			c.t.Fatalf("reply header %x", h)
		}
		r = chunkReply{code: be.Uint32(h[4:]), cookie: be.Uint64(h[8:]), done: true}
		if r.code == 0 {
			r.payload = c.read(n)
		}
		return r
	}
	size, magic := 20, magicStructuredReply
	if c.extended {
		size, magic = 32, magicExtendedReply
	}
	h := c.read(size)
	if be.Uint32(h) != magic || be.Uint16(h[4:])&^replyFlagDone != 0 {
		c.t.Fatalf("chunk header %x", h)
	}
	r = chunkReply{kind: be.Uint16(h[6:]), cookie: be.Uint64(h[8:]), done: h[5] == 1}
	length := uint64(be.Uint32(h[16:20]))
	if c.extended {
		r.offset, length = be.Uint64(h[16:]), be.Uint64(h[24:])
	}
	r.payload = c.read(int(length))
	if r.kind == chunkError {
		r.code = be.Uint32(r.payload)
		if n := int(be.Uint16(r.payload[4:])); n != len(r.payload)-6 || n == 0 {
			c.t.Fatalf("error chunk %q", r.payload)
		}
	}
	return r
}

// ask sends a request and returns its error code and, for READ, its data, put
// together from its chunks as the protocol demands.
func (c *client) ask(q command) (code uint32, data []byte) {
	c.t.Helper()
	c.send(q)
	n := 0
	if q.kind == cmdRead {
		n = int(q.length)
	}
	return c.collect(q, n)
}

func (c *client) collect(q command, n int) (code uint32, data []byte) {
	c.t.Helper()
	data = make([]byte, n)
	for covered := 0; ; {
		r := c.receive(n)
		if r.cookie != q.cookie || c.extended && r.offset != q.offset {
			c.t.Fatalf("reply %+v to %+v", r, q)
		}
		switch {
		case !c.structured:
			copy(data, r.payload)
			covered = len(r.payload)
		case r.kind == chunkOffsetData:
			covered += copy(data[be.Uint64(r.payload)-q.offset:], r.payload[8:])
		case r.code != 0:
			code = r.code
		}
		if code |= r.code; r.done {
			if code == 0 && covered != n {
				c.t.Fatalf("%d of %d bytes were returned", covered, n)
			}
			return code, data
		}
	}
}

// must is ask for requests that have to succeed.
func (c *client) must(q command) []byte {
	c.t.Helper()
	code, data := c.ask(q)
	if code != 0 {
		c.t.Fatalf("error %d for command %d, %d bytes at %d", code, q.kind, q.length, q.offset)
	}
	return data
}

// alive fails the test unless the connection still serves requests.
func (c *client) alive() {
	c.t.Helper()
	c.must(command{kind: cmdFlush, cookie: 0xfeedfacecafebeef})
}

// disconnect says DISC and expects the server to hang up.
func (c *client) disconnect() {
	c.t.Helper()
	c.send(command{kind: cmdDisc})
	c.closed()
}
