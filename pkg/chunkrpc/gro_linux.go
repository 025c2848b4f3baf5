package chunkrpc

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	// groSize is what the kernel may hand over at once: the largest UDP packet.
	groSize = 64 << 10

	// controlSize has room for what is received beside the data: ECN bits, the
	// local address, and the size of a packet.
	controlSize = 128
)

// grouped is a UDP socket that receives runs of equal packets of one sender in
// one piece (UDP_GRO, Linux 5.0), as quic-go sends them: it saves most of the
// system calls, and nearly all of the kernel's work for each packet. ReadBatch
// cuts them up again. One goroutine reads.
type grouped struct {
	udpConn
	from  netip.AddrPort
	addr  net.Addr // from, as quic-go wants it
	data  []byte   // a run
	run   []byte   // what is left of it
	size  int      // of each packet in it but the last
	extra []byte   // what was received beside it
}

// group makes the kernel group what a socket receives, where it can.
func group(udp udpConn) net.PacketConn {
	raw, err := udp.SyscallConn()
	if err != nil {
		return udp
	}
	var refused error
	err = raw.Control(func(fd uintptr) {
		refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	})
	if err != nil || refused != nil { // an older kernel: one packet at a time
		return udp
	}
	return &grouped{udpConn: udp, data: make([]byte, groSize), extra: make([]byte, 0, controlSize)}
}

// ReadBatch gives quic-go some packets, at least one.
func (g *grouped) ReadBatch(ms []ipv4.Message, _ int) (n int, err error) {
	if len(g.run) == 0 {
		if err := g.receive(); err != nil {
			return 0, err
		}
	}
	for n < len(ms) && (n == 0 || len(g.run) > 0) {
		m := &ms[n]
		m.N = copy(m.Buffers[0], g.run[:min(g.size, len(g.run))])
		m.NN = copy(m.OOB, g.extra)
		m.Addr = g.addr
		g.run = g.run[min(g.size, len(g.run)):]
		n++
	}
	return n, nil
}

// receive waits for a run.
func (g *grouped) receive() error {
	n, extra, _, from, err := g.ReadMsgUDPAddrPort(g.data, g.extra[:cap(g.extra)])
	if err != nil {
		return err
	}
	if from != g.from {
		g.from, g.addr = from, net.UDPAddrFromAddrPort(from)
	}
	g.run, g.extra = g.data[:n], g.extra[:extra]
	g.size = packetSize(g.extra, n)
	return nil
}

// packetSize returns how long each packet of a run of n bytes is.
func packetSize(control []byte, n int) int {
	for len(control) > 0 {
		header, body, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			break
		}
		if header.Level == unix.IPPROTO_UDP && header.Type == unix.UDP_GRO && len(body) >= 4 {
			return max(1, int(binary.NativeEndian.Uint32(body)))
		}
		control = rest
	}
	return n
}
