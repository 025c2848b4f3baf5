package rpctest

import (
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"
)

// latency is what everything takes on its way at least.
const latency = time.Millisecond

// holdFor is when the fate of a packet that is held is asked for again.
const holdFor = 20 * time.Millisecond

// Fate is what becomes of one packet, or of what a TCP connection has sent by
// now. The zero value: it arrives.
type Fate struct {
	// Lost packets never arrive; TCP sends them again, until its end.
	Lost bool
	// Held packets wait in front of a machine that does not take them.
	Held bool
	// Delay comes on top of the network's own.
	Delay time.Duration
	// Again, where not 0, lets the packet arrive a second time so much later.
	// TCP knows such packets, and does nothing about them.
	Again time.Duration
}

// Network is a simulated one.
type Network struct {
	fate   func(from, to string) Fate
	router simnet.PerfectRouter

	mu        sync.Mutex // guards listeners
	listeners map[string]*listener
}

// NewNetwork returns a network in which fate decides over each packet from one
// host to another. It is called by many goroutines, and must not wait.
func NewNetwork(fate func(from, to string) Fate) *Network {
	return &Network{fate: fate, listeners: map[string]*listener{}}
}

// packetConn is a UDP socket with the link in front of it.
type packetConn struct {
	*simnet.SimConn
	link simnet.Simnet
	once sync.Once
}

// ListenPacket opens a UDP socket at an IP address and port. A newer one takes
// the place of an older one, as that of a process which is gone.
func (n *Network) ListenPacket(addr string) (net.PacketConn, error) {
	udp, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	c := &packetConn{link: simnet.Simnet{Router: n}}
	c.SimConn = c.link.NewEndpoint(udp, simnet.NodeBiDiLinkSettings{Latency: latency})
	return c, c.link.Start()
}

// Close closes the socket, and waits until its link is idle.
func (c *packetConn) Close() (err error) {
	c.once.Do(func() {
		c.SimConn.Close()
		err = c.link.Close()
	})
	return err
}

// AddNode implements simnet.Router.
func (n *Network) AddNode(addr net.Addr, receiver simnet.PacketReceiver) {
	n.router.AddNode(addr, receiver)
}

// SendPacket implements simnet.Router.
func (n *Network) SendPacket(p simnet.Packet) error {
	f := n.fate(hostOf(p.From), hostOf(p.To))
	arrive := func() { _ = n.router.SendPacket(p) } // if somebody is there
	switch {
	case f.Lost:
		return nil
	case f.Held:
		time.AfterFunc(holdFor, func() { _ = n.SendPacket(p) })
		return nil
	case f.Delay > 0:
		time.AfterFunc(f.Delay, arrive)
	default:
		arrive()
	}
	if f.Again > 0 {
		time.AfterFunc(f.Again, arrive)
	}
	return nil
}

func hostOf(addr net.Addr) string {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	return host
}
