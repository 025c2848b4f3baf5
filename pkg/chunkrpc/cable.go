package chunkrpc

import (
	"net"
	"net/netip"
	"sync/atomic"
)

// Cable is what a demonstration pulls out of a server: what is on its way is
// lost then, in both directions, and nobody is told. The zero value is in.
type Cable struct {
	out atomic.Bool
}

// Pull pulls the cable out.
func (c *Cable) Pull() { c.out.Store(true) }

// Plug puts it in again.
func (c *Cable) Plug() { c.out.Store(false) }

// listenUDP takes an address of this machine, at the end of a cable; nil for
// none that can be pulled.
func (c *Cable) listenUDP(addr string) (net.PacketConn, error) {
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, err
	}
	socket := conn.(*net.UDPConn)
	if c == nil {
		return group(socket), nil
	}
	udp := &cabledUDP{socket, c}
	grouped := group(udp)
	if grouped == net.PacketConn(udp) {
		// quic-go would read such a socket past what stands here.
		return struct{ net.PacketConn }{udp}, nil
	}
	return grouped, nil
}

// cabledUDP is a socket at the end of a cable. It has the methods that grouped
// and quic-go call.
type cabledUDP struct {
	*net.UDPConn
	cable *Cable
}

// ReadFrom receives a packet that was not lost.
func (c *cabledUDP) ReadFrom(b []byte) (n int, addr net.Addr, err error) {
	for {
		n, addr, err = c.UDPConn.ReadFrom(b)
		if err != nil || !c.cable.out.Load() {
			return n, addr, err
		}
	}
}

// ReadMsgUDPAddrPort receives a run of packets that was not lost.
func (c *cabledUDP) ReadMsgUDPAddrPort(
	b, oob []byte,
) (n, oobn, flags int, addr netip.AddrPort, err error) {
	for {
		n, oobn, flags, addr, err = c.UDPConn.ReadMsgUDPAddrPort(b, oob)
		if err != nil || !c.cable.out.Load() {
			return n, oobn, flags, addr, err
		}
	}
}

// WriteTo sends a packet, or loses it.
func (c *cabledUDP) WriteTo(b []byte, addr net.Addr) (int, error) {
	if c.cable.out.Load() {
		return len(b), nil
	}
	return c.UDPConn.WriteTo(b, addr)
}

// WriteMsgUDP sends a run of packets, or loses it.
func (c *cabledUDP) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	if c.cable.out.Load() {
		return len(b), len(oob), nil
	}
	return c.UDPConn.WriteMsgUDP(b, oob, addr)
}

// cabledTCP is a listener at the end of a cable.
type cabledTCP struct {
	net.Listener
	cable *Cable
}

// listenTCP takes an address of this machine, as listenUDP does.
func (c *Cable) listenTCP(addr string) (net.Listener, error) {
	l, err := listenTCP(addr)
	if err != nil || c == nil {
		return l, err
	}
	return cabledTCP{l, c}, nil
}

// Accept waits for a connection.
func (l cabledTCP) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &cabledConn{Conn: conn, cable: l.cable}, nil
}

// cabledConn is a TCP connection at the end of a cable. The kernel would send
// again what was lost; here a connection that has lost something ends when the
// cable is in again.
type cabledConn struct {
	net.Conn
	cable *Cable
	holey atomic.Bool // something was lost
}

// lost reports whether what is sent or received now is lost.
func (c *cabledConn) lost() bool {
	if c.cable.out.Load() {
		c.holey.Store(true)
	} else if c.holey.Load() {
		c.Conn.Close()
	}
	return c.holey.Load()
}

// Read receives what was not lost.
func (c *cabledConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.lost() {
			return n, err
		}
	}
}

// Write sends, or loses.
func (c *cabledConn) Write(b []byte) (int, error) {
	if c.lost() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}
