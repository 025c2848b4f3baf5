package nbd

import (
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A client that vanished without a word is found out within 30 s, so that its
// slots become free: by keepalive when it is idle (15 s, then three probes),
// by TCP_USER_TIMEOUT when replies to it are under way.
const (
	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 5 * time.Second
	keepAliveCount    = 3
	userTimeout       = 30 * time.Second
)

// tune sets the options of a TCP socket; others need none.
func tune(raw net.Conn) error {
	tcp, ok := raw.(*net.TCPConn)
	if !ok {
		return nil
	}
	keepAlive := net.KeepAliveConfig{
		Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
	}
	err := errors.Join(tcp.SetNoDelay(true), tcp.SetKeepAliveConfig(keepAlive))
	return errors.Join(err, control(tcp, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT,
			int(userTimeout.Milliseconds()))
	}))
}

// hungUp tells whether the other side has closed the connection, even where
// its last bytes have not been read yet.
func hungUp(raw net.Conn) bool {
	socket, ok := raw.(syscall.Conn)
	if !ok {
		return false
	}
	gone := false
	err := control(socket, func(fd int) error {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		_, err := unix.Poll(poll, 0)
		gone = poll[0].Revents != 0
		return err
	})
	return gone || errors.Is(err, net.ErrClosed)
}

// control runs f on the socket's descriptor.
func control(socket syscall.Conn, f func(fd int) error) error {
	c, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = c.Control(func(fd uintptr) { inner = f(int(fd)) })
	return errors.Join(err, inner)
}
