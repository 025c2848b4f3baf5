package daemon

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
)

// listenUnix listens on a Unix socket that only this user can open. A socket
// that a killed process left behind is replaced; one that answers is not, and
// nothing else is either.
func listenUnix(path string) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		return nil, errors.Join(errors.New("another process serves it"), c.Close())
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	// The mask, not a later chmod: a client that is in before it stays in.
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	return net.Listen("unix", path)
}

// limited bounds the connections that a listener has open at once; further
// ones wait in the kernel's queue.
type limited struct {
	net.Listener
	slots chan struct{}
}

func limit(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, n)}
}

// Accept waits for a connection, and then for its turn.
func (l *limited) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.slots <- struct{}{}
	return &limitedConn{Conn: c, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

type limitedConn struct {
	net.Conn
	release func()
}

// Close gives the turn to the next.
func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
