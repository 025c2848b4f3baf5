package chunkrpc

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What a simulated TCP connection has.
const (
	simWindow = 64 << 10               // bytes on their way or not yet read
	simResend = 100 * time.Millisecond // until what got lost is sent again
	simDelay  = time.Millisecond
)

// wire is one direction of a TCP connection in a simulated network.
type wire struct {
	network *network
	from    string // the host that sends

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

func newWire(n *network, from string) *wire {
	w := &wire{network: n, from: from}
	w.news = sync.NewCond(&w.mu)
	return w
}

func past(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

func (w *wire) write(p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n < len(p) {
		room := simWindow - len(w.flying) - len(w.here)
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
			time.AfterFunc(simDelay, w.arrive)
		}
	}
	return n, nil
}

// arrive hands over what has been sent, unless it got lost.
func (w *wire) arrive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.news.Broadcast()
	switch {
	case w.network.loses(w.from):
		time.AfterFunc(simResend, w.arrive)
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

// simTCP is one end of a simulated TCP connection.
type simTCP struct {
	in, out       *wire
	local, remote net.Addr
}

func (c *simTCP) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *simTCP) Write(p []byte) (int, error) { return c.out.write(p) }
func (c *simTCP) LocalAddr() net.Addr         { return c.local }
func (c *simTCP) RemoteAddr() net.Addr        { return c.remote }

func (c *simTCP) Close() error {
	c.in.set(func() { c.in.gone = true })
	c.out.set(func() { c.out.finished = true })
	time.AfterFunc(simDelay, c.out.arrive)
	return nil
}

func (c *simTCP) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *simTCP) SetReadDeadline(t time.Time) error {
	c.in.set(func() { c.in.readBy = t })
	time.AfterFunc(max(0, time.Until(t)), c.in.news.Broadcast)
	return nil
}

func (c *simTCP) SetWriteDeadline(t time.Time) error {
	c.out.set(func() { c.out.writeBy = t })
	time.AfterFunc(max(0, time.Until(t)), c.out.news.Broadcast)
	return nil
}

// simListener is a TCP socket in a simulated network.
type simListener struct {
	network *network
	addr    net.Addr
	queue   chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

func (n *network) listen(t testing.TB, addr string) net.Listener {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	l := &simListener{
		network: n, addr: tcp, queue: make(chan net.Conn, 128), closed: make(chan struct{}),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[addr] = l
	return l
}

func (l *simListener) Addr() net.Addr { return l.addr }

func (l *simListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *simListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	if l.network.listeners[l.addr.String()] == l {
		delete(l.network.listeners, l.addr.String())
	}
	return nil
}

// dial connects a host to a listener.
func (n *network) dial(ctx context.Context, from, to string) (net.Conn, error) {
	here, err := net.ResolveTCPAddr("tcp", from)
	if err != nil {
		return nil, err
	}
	there, err := net.ResolveTCPAddr("tcp", to)
	if err != nil {
		return nil, err
	}
	for wait := 2 * simDelay; ; wait = time.Second {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if !n.loses(hostOf(here)) && !n.loses(hostOf(there)) {
			break
		}
	}
	n.mu.Lock()
	l := n.listeners[to]
	n.mu.Unlock()
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	up, down := newWire(n, hostOf(here)), newWire(n, hostOf(there))
	l.queue <- &simTCP{in: up, out: down, local: there, remote: here}
	return &simTCP{in: down, out: up, local: here, remote: there}, nil
}
