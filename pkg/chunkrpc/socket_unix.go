//go:build unix

package chunkrpc

import (
	"net"
	"syscall"
)

// bufferSizes asks the kernel for a socket's buffer sizes.
func bufferSizes(conn net.PacketConn) (recv, send int, ok bool) {
	sc, isSocket := conn.(syscall.Conn)
	if !isSocket {
		return 0, 0, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, 0, false
	}
	var errRecv, errSend error
	err = raw.Control(func(fd uintptr) {
		recv, errRecv = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF)
		send, errSend = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF)
	})
	return recv, send, err == nil && errRecv == nil && errSend == nil
}
