package attach

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// Requests and replies of the transmission phase, simple replies only.
const (
	requestMagic = 0x25609513
	replyMagic   = 0x67446698

	cmdRead        = 0
	cmdWrite       = 1
	cmdFlush       = 3
	cmdWriteZeroes = 6

	// CommandFUA makes a write durable before it is replied to.
	CommandFUA = 1 << 0
)

// ErrBroken means that the connection ended: whether the request had its effect
// is unknown.
var ErrBroken = errors.New("connection broken")

// WireError is an error that the server replied with.
type WireError uint32

func (e WireError) Error() string { return fmt.Sprintf("the server replied with error %d", uint32(e)) }

// Client is one connection to an export, for programs. Many requests may be
// under way on it at once.
type Client struct {
	conn   net.Conn
	cookie atomic.Uint64
	done   chan struct{} // closed when the receiver has returned

	sending sync.Mutex // a request's bytes stay together: held across the send, as it must

	mu      sync.Mutex // guards below; never kept across I/O
	pending map[uint64]*call
	broken  bool
}

// call is a request under way. Its reply is received into data, for a read.
type call struct {
	data  []byte
	reply chan error // buffered: the receiver never waits
}

// Open connects to an export, as Dial does. Close must follow.
func Open(ctx context.Context, addr, name string) (*Client, Export, error) {
	conn, export, err := Dial(ctx, addr, name)
	if err != nil {
		return nil, export, err
	}
	c := &Client{conn: conn, done: make(chan struct{}), pending: make(map[uint64]*call)}
	go c.receive()
	return c, export, nil
}

// Break ends the connection, and every request under way with ErrBroken.
func (c *Client) Break() { c.conn.Close() }

// Close breaks the connection and waits for the receiver.
func (c *Client) Close() {
	c.Break()
	<-c.done
}

// Read reads len(p) bytes at off.
func (c *Client) Read(p []byte, off int64) error {
	return c.do(cmdRead, 0, off, len(p), nil, p)
}

// Write writes p at off, with flags of the command.
func (c *Client) Write(p []byte, off int64, flags uint16) error {
	return c.do(cmdWrite, flags, off, len(p), p, nil)
}

// Zero makes n bytes at off zero.
func (c *Client) Zero(n int, off int64, flags uint16) error {
	return c.do(cmdWriteZeroes, flags, off, n, nil, nil)
}

// Flush makes durable what was replied to.
func (c *Client) Flush() error { return c.do(cmdFlush, 0, 0, 0, nil, nil) }

// do sends a request and waits for its reply.
func (c *Client) do(cmd, flags uint16, off int64, n int, payload, into []byte) error {
	cookie := c.cookie.Add(1)
	call := &call{data: into, reply: make(chan error, 1)}
	if !c.register(cookie, call) {
		return ErrBroken
	}
	b := make([]byte, 0, 28+len(payload))
	b = binary.BigEndian.AppendUint32(b, requestMagic)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint16(b, cmd)
	b = binary.BigEndian.AppendUint64(b, cookie)
	b = binary.BigEndian.AppendUint64(b, uint64(off))
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	c.sending.Lock()
	_, err := c.conn.Write(append(b, payload...))
	c.sending.Unlock()
	if err != nil {
		c.conn.Close() // the receiver ends all calls, this one too
	}
	return <-call.reply
}

func (c *Client) register(cookie uint64, call *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken {
		return false
	}
	c.pending[cookie] = call
	return true
}

// receive hands out replies until the connection ends, and then that.
func (c *Client) receive() {
	defer close(c.done)
	for c.receiveOne() == nil {
	}
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
	for _, call := range c.pending {
		call.reply <- ErrBroken
	}
	c.pending = nil
}

func (c *Client) receiveOne() error {
	var b [16]byte
	if _, err := io.ReadFull(c.conn, b[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(b[:]) != replyMagic {
		return ErrBroken
	}
	cookie := binary.BigEndian.Uint64(b[8:])
	c.mu.Lock()
	call := c.pending[cookie]
	c.mu.Unlock()
	if call == nil {
		return ErrBroken
	}
	var err error
	if code := binary.BigEndian.Uint32(b[4:]); code != 0 {
		err = WireError(code)
	} else if _, err := io.ReadFull(c.conn, call.data); err != nil {
		return err
	}
	c.mu.Lock()
	delete(c.pending, cookie)
	c.mu.Unlock()
	call.reply <- err
	return nil
}
