package chunkrpc

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/quic-go/quic-go"
)

// udpBuffer is what quic-go tries to give each socket. With less, a burst of
// one full window overflows it and has to be sent again.
const udpBuffer = 7 << 20

// udpConn is what a UDP socket, connected or not, does for QUIC.
type udpConn interface {
	quic.OOBCapablePacketConn
	ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error)
}

// connected is a UDP socket for one peer only. The kernel drops what others
// send to it and, unlike for a shared socket, reports that nobody listens at
// the other end: a node whose process is gone is noticed at once.
type connected struct {
	*net.UDPConn
}

func dialUDP(ctx context.Context, addr string) (net.PacketConn, net.Addr, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", addr)
	if err != nil {
		return nil, nil, err
	}
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		return nil, nil, fmt.Errorf("dial %s: %T is not a UDP socket", addr, conn)
	}
	return group(&connected{udp}), udp.RemoteAddr(), nil
}

// WriteMsgUDP sends to the peer; a connected socket accepts no address.
func (c *connected) WriteMsgUDP(b, oob []byte, _ *net.UDPAddr) (n, oobn int, err error) {
	return c.UDPConn.WriteMsgUDP(b, oob, nil)
}

// WriteTo sends to the peer.
func (c *connected) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }

// quietQUIC keeps quic-go from printing its own line about socket buffers, in
// words that name no remedy; checkBuffers says it once, and how to mend it.
// Both are about the machine, not about one socket, hence once per process.
var (
	quietQUIC   = sync.OnceFunc(func() { os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true") })
	warnBuffers sync.Once
)

// checkBuffers warns if the kernel did not grant the buffers that quic-go has
// asked for.
func checkBuffers(conn net.PacketConn, log *slog.Logger) {
	recv, send, ok := bufferSizes(conn)
	if !ok || recv >= udpBuffer && send >= udpBuffer {
		return
	}
	warnBuffers.Do(func() {
		log.Warn("UDP socket buffers are small, which costs throughput; "+
			"raise sysctl net.core.rmem_max and net.core.wmem_max",
			"want", udpBuffer, "receive", recv, "send", send)
	})
}
