package chunkrpc

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// limitSilence bounds how long bytes on their way may see no headway.
func limitSilence(_, _ string, socket syscall.RawConn) error {
	var refused error
	err := socket.Control(func(fd uintptr) {
		limit := int(tcpTimeout.Milliseconds())
		refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, limit)
	})
	if err != nil {
		return err
	}
	return refused
}
