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
	network *Network
	link    simnet.Simnet
	in      simnet.PacketReceiver
	once    sync.Once
}

// ListenPacket opens a UDP socket at an IP address and port. A newer one takes
// the place of an older one, as that of a process which is gone.
func (n *Network) ListenPacket(addr string) (net.PacketConn, error) {
	udp, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	c := &packetConn{network: n}
	c.link.Router = c
	c.SimConn = c.link.NewEndpoint(udp, simnet.NodeBiDiLinkSettings{Latency: latency})
	if err := c.link.Start(); err != nil {
		return nil, err
	}
	n.router.AddNode(udp, c.in) // only now: it may have had packets all the time
	return c, nil
}

// Close closes the socket, and waits until its link is idle.
func (c *packetConn) Close() (err error) {
	c.once.Do(func() {
		c.SimConn.Close()
		err = c.link.Close()
	})
	return err
}

// AddNode implements simnet.Router: what the link brings comes in there.
func (c *packetConn) AddNode(_ net.Addr, in simnet.PacketReceiver) { c.in = in }

// SendPacket implements simnet.Router.
func (c *packetConn) SendPacket(p simnet.Packet) error {
	c.network.send(p)
	return nil
}

func (n *Network) send(p simnet.Packet) {
	f := n.fate(hostOf(p.From), hostOf(p.To))
	arrive := func() { _ = n.router.SendPacket(p) } // if somebody is there
	switch {
	case f.Lost:
		return
	case f.Held:
		time.AfterFunc(holdFor, func() { n.send(p) })
		return
	case f.Delay > 0:
		time.AfterFunc(f.Delay, arrive)
	default:
		arrive()
	}
	if f.Again > 0 {
		time.AfterFunc(f.Again, arrive)
	}
}

func hostOf(addr net.Addr) string {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	return host
}
