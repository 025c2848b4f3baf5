package rpctest

import (
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

const (
	near = "10.0.0.1:5000"
	far  = "10.0.0.2:7400"
)

// expectation is when something that meets a fate on its way from near to far
// must have arrived.
type expectation struct {
	fate      Fate
	passes    bool // the fate does, after a second
	asPackets []time.Duration
	overTCP   []time.Duration
}

var expectations = map[string]expectation{
	"arrives": {asPackets: after(0), overTCP: after(0)},
	"late": {
		fate: Fate{Delay: time.Second}, asPackets: after(time.Second), overTCP: after(time.Second),
	},
	"twice": {
		fate: Fate{Again: time.Second}, asPackets: after(0, time.Second), overTCP: after(0),
	},
	"lost":          {fate: Fate{Lost: true}},
	"lost at first": {fate: Fate{Lost: true}, passes: true, overTCP: after(time.Second)},
	"held":          {fate: Fate{Held: true}},
	"held at first": {
		fate: Fate{Held: true}, passes: true, asPackets: after(time.Second), overTCP: after(time.Second),
	},
}

func after(times ...time.Duration) []time.Duration { return times }

func TestFates(t *testing.T) {
	for name, e := range expectations {
		t.Run(name+" as packets", func(t *testing.T) { e.check(t, packets, e.asPackets) })
		t.Run(name+" over TCP", func(t *testing.T) { e.check(t, bytes, e.overTCP) })
	}
}

// sending sends something after begin, and returns when what arrived.
type sending func(t *testing.T, n *Network, begin func()) []time.Duration

func (e expectation) check(t *testing.T, send sending, want []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		var began time.Time
		n := NewNetwork(func(from, _ string) Fate {
			over := e.passes && time.Since(began) >= time.Second
			if began.IsZero() || from != "10.0.0.1" || over {
				return Fate{}
			}
			return e.fate
		})
		got := send(t, n, func() { began = time.Now() })
		if !slices.EqualFunc(got, want, nearly) {
			t.Errorf("arrived after %v, want %v", got, want)
		}
	})
}

// nearly allows for the network, and for what is tried from time to time.
func nearly(a, b time.Duration) bool { return (a - b).Abs() <= latency+max(holdFor, resend) }

// patience is how long the tests wait for what may never come.
const patience = 5 * time.Second

// packets sends one, and returns when which arrived.
func packets(t *testing.T, n *Network, begin func()) (arrived []time.Duration) {
	from, to := listenPacket(t, n, near), listenPacket(t, n, far)
	begin()
	began := time.Now()
	from.WriteTo([]byte("hello"), to.LocalAddr())
	to.SetReadDeadline(began.Add(patience))
	for buf := make([]byte, 10); ; {
		if _, _, err := to.ReadFrom(buf); err != nil {
			return arrived
		}
		arrived = append(arrived, time.Since(began))
	}
}

func listenPacket(t *testing.T, n *Network, addr string) net.PacketConn {
	conn, err := n.ListenPacket(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// bytes sends some over a connection, and returns when they arrived.
func bytes(t *testing.T, n *Network, begin func()) (arrived []time.Duration) {
	l, err := n.Listen(far)
	if err != nil {
		t.Fatal(err)
	}
	from, err := n.Dial(t.Context(), near, far)
	if err != nil {
		t.Fatal(err)
	}
	to, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	begin()
	began := time.Now()
	from.Write([]byte("hello"))
	to.SetReadDeadline(began.Add(patience))
	if _, err := io.ReadFull(to, make([]byte, 5)); err == nil {
		arrived = append(arrived, time.Since(began))
	}
	return arrived
}

// TestNewerSocketTakesTheAddress: as that of a process that was restarted.
func TestNewerSocketTakesTheAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(func(_, _ string) Fate { return Fate{} })
		from, older := listenPacket(t, n, near), listenPacket(t, n, far)
		newer := listenPacket(t, n, far)
		older.Close()
		from.WriteTo([]byte("hello"), newer.LocalAddr())
		newer.SetReadDeadline(time.Now().Add(patience))
		if _, _, err := newer.ReadFrom(make([]byte, 10)); err != nil {
			t.Errorf("the newer socket gets nothing: %v", err)
		}
	})
}
