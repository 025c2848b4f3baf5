package nbd

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestDeadConnectionBehindABusyParser: nothing is applied either where the
// parser waits for a worker and cannot see the end of the stream.
func TestDeadConnectionBehindABusyParser(t *testing.T) { testDeadConnection(t, maxWorkers+50) }

// TestDeadConnectionIsLeftByABudget: the same where the parser waits for
// memory.
func TestDeadConnectionIsLeftByABudget(t *testing.T) {
	device, gate := newHugeDevice(), newGate()
	device.block = gate.block
	addr := serve(t, Options{Exports: exporting(device), MaxInFlight: MaxPayload + requestOverhead})
	c := connected(t, addr, simple)
	for range 3 {
		c.send(command{kind: cmdRead, length: MaxPayload})
	}
	<-gate.entered
	c.Close()
	gate.waitGaveUp(t, 1)
}

// TestLateCopyIsNotApplied is the Linux client's resend: a write waits in a
// server that has stalled, the client hangs up and sends it again elsewhere.
//
//	conn 1   WRITE ... waits ....................... must be dropped
//	client            hangs up
//	conn 2                     WRITE again, newer WRITE
func TestLateCopyIsNotApplied(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, stalled := range map[string]bool{"stalled": true, "not stalled": false} {
		t.Run(name, func(t *testing.T) {
			device := newFullDevice(4096)
			c, client := halfOpen(t, l, device)
			client.Close()
			for !hungUp(c.raw) {
			}
			c.stalled.Store(stalled)
			c.pending.begin()
			payload := c.server.buffers.get(512)
			c.handle(&request{kind: cmdWrite, length: 512, arrived: time.Now(), payload: payload})
			if applied := len(device.asked()) > 0; applied == stalled {
				t.Errorf("stalled=%t, applied=%t", stalled, applied)
			}
		})
	}
}

func TestSocketOptions(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := tune(conn); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ level, option, want int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 5},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 30000},
	} {
		var got int
		err := control(conn.(*net.TCPConn), func(fd int) (err error) {
			got, err = unix.GetsockoptInt(fd, tc.level, tc.option)
			return err
		})
		if err != nil || got != tc.want {
			t.Errorf("option %d is %d (%v), want %d", tc.option, got, err, tc.want)
		}
	}
}
