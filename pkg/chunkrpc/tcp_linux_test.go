package chunkrpc

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// Accepted connections have the settings of the socket that accepted them.
func TestSilenceIsBoundedAtBothEnds(t *testing.T) {
	l, err := listenTCP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := dialTCP(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	for name, conn := range map[string]net.Conn{"client": near, "server": far} {
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			for option, want := range map[int]int{
				unix.TCP_USER_TIMEOUT: int(tcpTimeout.Milliseconds()),
				unix.TCP_KEEPIDLE:     int(tcpTimeout.Seconds() / 2),
				unix.TCP_NODELAY:      1,
			} {
				if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option); got != want || err != nil {
					t.Errorf("%s: option %d is %d, %v, want %d", name, option, got, err, want)
				}
			}
		})
	}
}
