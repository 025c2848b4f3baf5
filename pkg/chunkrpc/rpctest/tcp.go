package rpctest

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// What a TCP connection has.
const (
	window  = 64 << 10               // bytes on their way or not yet read
	resend  = 100 * time.Millisecond // until what got lost is sent again
	backlog = 128                    // connections that nobody has accepted yet
)

// wire is one direction of a TCP connection in a simulated network.
type wire struct {
	network  *Network
	from, to string // the hosts

	mu       sync.Mutex // guards all below
	news     *sync.Cond // that any of it has changed
	flying   []byte     // sent
	here     []byte     // arrived
	finished bool       // by the writer, who has closed
	over     bool       // and the reader knows
	gone     bool       // the reader has closed
	reset    bool
	readBy   time.Time
	writeBy  time.Time
}

func newWire(n *Network, from, to net.Addr) *wire {
	w := &wire{network: n, from: hostOf(from), to: hostOf(to)}
	w.news = sync.NewCond(&w.mu)
	return w
}

func past(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

func (w *wire) write(p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n < len(p) {
		room := window - len(w.flying) - len(w.here)
		switch {
		case w.finished:
			return n, net.ErrClosed
		case w.reset:
			return n, syscall.ECONNRESET
		case past(w.writeBy):
			return n, os.ErrDeadlineExceeded
		case room == 0:
			w.news.Wait()
		default:
			m := min(room, len(p)-n)
			w.flying = append(w.flying, p[n:n+m]...)
			n += m
			time.AfterFunc(latency+w.network.fate(w.from, w.to).Delay, w.arrive)
		}
	}
	return n, nil
}

// arrive hands over what has been sent, unless it got lost.
func (w *wire) arrive() {
	fate := w.network.fate(w.from, w.to)
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.news.Broadcast()
	switch {
	case fate.Lost:
		time.AfterFunc(resend, w.arrive)
	case fate.Held:
		time.AfterFunc(holdFor, w.arrive)
	case w.gone && len(w.flying) > 0:
		w.reset = true
	default:
		w.here = append(w.here, w.flying...)
		w.flying, w.over = nil, w.finished
	}
}

func (w *wire) read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case w.gone:
			return 0, net.ErrClosed
		case past(w.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(w.here) > 0:
			n := copy(p, w.here)
			w.here = w.here[n:]
			w.news.Broadcast()
			return n, nil
		case w.over:
			return 0, io.EOF
		}
		w.news.Wait()
	}
}

// set changes one of the wire's fields.
func (w *wire) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	w.news.Broadcast()
}

// expire sets a deadline. Who has one in the past, or none, needs no timer; and in
// a bubble, timers that have expired do harm (see package simulate).
func (w *wire) expire(deadline *time.Time, t time.Time) {
	w.set(func() { *deadline = t })
	if d := time.Until(t); d > 0 {
		time.AfterFunc(d, w.news.Broadcast)
	}
}

// tcpConn is one end of a TCP connection.
type tcpConn struct {
	in, out       *wire
	local, remote net.Addr
}

func (c *tcpConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *tcpConn) Write(p []byte) (int, error) { return c.out.write(p) }
func (c *tcpConn) LocalAddr() net.Addr         { return c.local }
func (c *tcpConn) RemoteAddr() net.Addr        { return c.remote }

func (c *tcpConn) Close() error {
	c.in.set(func() { c.in.gone = true })
	c.out.set(func() { c.out.finished = true })
	time.AfterFunc(latency, c.out.arrive)
	return nil
}

func (c *tcpConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *tcpConn) SetReadDeadline(t time.Time) error {
	c.in.expire(&c.in.readBy, t)
	return nil
}

func (c *tcpConn) SetWriteDeadline(t time.Time) error {
	c.out.expire(&c.out.writeBy, t)
	return nil
}

// listener is a TCP socket.
type listener struct {
	network *Network
	addr    net.Addr
	queue   chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

// Listen opens a TCP socket at an IP address and port. A newer one takes the
// place of an older one.
func (n *Network) Listen(addr string) (net.Listener, error) {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	l := &listener{
		network: n, addr: tcp, queue: make(chan net.Conn, backlog), closed: make(chan struct{}),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[addr] = l
	return l, nil
}

func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	if l.network.listeners[l.addr.String()] == l {
		delete(l.network.listeners, l.addr.String())
	}
	return nil
}

// Dial connects a host to a listener.
func (n *Network) Dial(ctx context.Context, from, to string) (net.Conn, error) {
	here, err := net.ResolveTCPAddr("tcp", from)
	if err != nil {
		return nil, err
	}
	there, err := net.ResolveTCPAddr("tcp", to)
	if err != nil {
		return nil, err
	}
	for wait := 2 * latency; ; wait = time.Second {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if n.passes(here, there) && n.passes(there, here) {
			break
		}
	}
	n.mu.Lock()
	l := n.listeners[to]
	n.mu.Unlock()
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	up, down := newWire(n, here, there), newWire(n, there, here)
	l.queue <- &tcpConn{in: up, out: down, local: there, remote: here}
	return &tcpConn{in: down, out: up, local: here, remote: there}, nil
}

func (n *Network) passes(from, to net.Addr) bool {
	f := n.fate(hostOf(from), hostOf(to))
	return !f.Lost && !f.Held
}
