package nbd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestQueueTimeout: what could not be started in time is answered EIO and is
// not applied.
func TestQueueTimeout(t *testing.T) {
	device := newFullDevice(1 << 20)
	opts := Options{Exports: exporting(device), QueueTimeout: time.Second}
	bubble(t, opts, func(t *testing.T, l *pipeListener, _ func()) {
		gate := newGate()
		device.block = gate.block
		c := l.dial(t)
		c.greet(3)
		c.begin(simple)
		for i := range uint64(maxWorkers + 1) {
			c.send(command{kind: cmdWrite, cookie: i, offset: i * 512, length: 512, payload: pattern(512)})
		}
		time.Sleep(opts.QueueTimeout + time.Millisecond)
		close(gate.open)
		for range maxWorkers + 1 {
			r := c.receive(0)
			want := uint32(0)
			if r.cookie == maxWorkers {
				want = errnoEIO
			}
			if r.code != want {
				t.Errorf("request %d: error %d", r.cookie, r.code)
			}
		}
		if n := len(device.asked()); n != maxWorkers {
			t.Errorf("%d writes were applied", n)
		}
	})
}

// TestShutdown: what is outstanding is finished, what is new is refused, then
// the connection ends.
func TestShutdown(t *testing.T) {
	for _, m := range modes {
		device, gate := gated(4096)
		addr, stop := serveUntil(t, Options{Exports: exporting(device)})
		c, idle := connected(t, addr, m), connected(t, addr, m)
		first := command{kind: cmdWrite, cookie: 1, length: 512, payload: pattern(512)}
		c.send(first)
		<-gate.entered
		stopped := make(chan struct{})
		go func() { defer close(stopped); stop() }()
		idle.closed()
		waitRefused(t, addr)
		refused := false
		for !refused { // the connection learns of it a little later
			code, _ := c.ask(command{kind: cmdFlush, cookie: 2})
			refused = code == errnoESHUTDOWN
		}
		if code, _ := c.ask(writeOf(0, pattern(4096), 0)); code != errnoESHUTDOWN {
			t.Errorf("%s: error %d during shutdown", m, code)
		}
		close(gate.open)
		if code, _ := c.collect(first, 0); code != 0 {
			t.Errorf("%s: the outstanding write failed: %d", m, code)
		}
		c.closed()
		<-stopped
		if !bytes.Equal(device.data[:512], first.payload) {
			t.Errorf("%s: the outstanding write is lost", m)
		}
	}
}

// TestShutdownOfAResumableServer: what is outstanding is finished and answered;
// what is new ends the connection without an answer.
func TestShutdownOfAResumableServer(t *testing.T) {
	device := newFullDevice(4096)
	opts := Options{Exports: exporting(device), Resumable: true}
	bubble(t, opts, func(t *testing.T, l *pipeListener, stop func()) {
		gate := newGate()
		device.block = gate.block
		c := l.dial(t)
		c.greet(3)
		c.begin(simple)
		first := command{kind: cmdWrite, cookie: 1, length: 512, payload: pattern(512)}
		c.send(first)
		<-gate.entered
		stop()
		synctest.Wait()
		c.send(command{kind: cmdFlush, cookie: 2})
		synctest.Wait()
		close(gate.open)
		if code, _ := c.collect(first, 0); code != 0 {
			t.Errorf("the outstanding write failed: %d", code)
		}
		c.closed()
	})
}

// TestShutdownIsBounded: by a device that does not finish, by a client that
// does not read, by one in the midst of a payload.
func TestShutdownIsBounded(t *testing.T) {
	for name, disturb := range map[string]func(c *client){
		"device":  func(c *client) { c.send(command{kind: cmdWrite, length: 1, payload: []byte{1}}) },
		"reader":  func(c *client) { c.send(command{kind: cmdFlush}) },
		"payload": func(c *client) { c.send(command{kind: cmdWrite, length: 4096, payload: []byte{1}}) },
	} {
		t.Run(name, func(t *testing.T) {
			device := newFullDevice(4096)
			bubble(t, Options{Exports: exporting(device)}, func(t *testing.T, l *pipeListener, stop func()) {
				gate := newGate()
				device.block = gate.block
				c := l.dial(t)
				c.greet(3)
				c.begin(simple)
				disturb(c)
				synctest.Wait()
				begin := time.Now()
				stop()
				time.Sleep(defaultShutdown - time.Millisecond)
				synctest.Wait()
				c.SetDeadline(time.Now().Add(2 * time.Millisecond))
				if name != "reader" {
					c.closed()
				}
				<-l.done
				if took := time.Since(begin); took > defaultShutdown {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// TestClientThatDoesNotRead loses its connection, and holds nobody else up.
func TestClientThatDoesNotRead(t *testing.T) {
	device := newFullDevice(1 << 20)
	bubble(t, Options{Exports: exporting(device)}, func(t *testing.T, l *pipeListener, _ func()) {
		c := l.dial(t)
		c.greet(3)
		c.begin(structured)
		c.send(command{kind: cmdRead, length: 1 << 20})
		begin := time.Now()
		other := l.dial(t)
		other.greet(3)
		other.begin(simple)
		other.must(command{kind: cmdRead, length: 4096})
		c.SetDeadline(time.Time{})
		time.Sleep(defaultWrite + 1<<20*time.Second/slowestClient + time.Second)
		synctest.Wait()
		if n, _ := io.Copy(io.Discard, c); n > 0 {
			t.Errorf("%d bytes after %v", n, time.Since(begin))
		}
	})
}

// TestClientThatStopsInAPayload loses its connection; nothing is applied.
func TestClientThatStopsInAPayload(t *testing.T) {
	device := newFullDevice(1 << 20)
	bubble(t, Options{Exports: exporting(device)}, func(t *testing.T, l *pipeListener, _ func()) {
		for _, off := range []uint64{0, 1 << 30} { // taken, and skipped
			c := l.dial(t)
			c.greet(3)
			c.begin(simple)
			// An idle connection stays.
			c.SetDeadline(time.Time{})
			time.Sleep(time.Hour)
			c.send(command{kind: cmdWrite, offset: off, length: 1 << 20, payload: pattern(1<<20 - 1)})
			begin := time.Now()
			c.closed()
			if took := time.Since(begin); took > defaultWrite+2*time.Second {
				t.Errorf("the connection lasted %v", took)
			}
		}
		if got := device.asked(); len(got) > 0 {
			t.Errorf("asked %q", got)
		}
	})
}

// TestListenerThatFails ends Serve, and the connections with it.
func TestListenerThatFails(t *testing.T) {
	s, err := NewServer(Options{Exports: exporting(newFullDevice(4096))})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(t.Context(), l) }()
	c := connected(t, l.Addr().String(), simple)
	l.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
	c.closed()
}
