package nbd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// gate holds what enters it until it is opened, or its context ends.
type gate struct {
	entered chan int64 // offsets, in the order of arrival
	open    chan struct{}
}

// maxHeld is more than any test lets into a gate.
const maxHeld = 4 * maxWorkers

func newGate() *gate {
	return &gate{entered: make(chan int64, maxHeld), open: make(chan struct{})}
}

func (g *gate) block(ctx context.Context, off int64) error {
	g.entered <- off
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// gated is a device whose requests wait in a gate.
func gated(size int) (*fullDevice, *gate) {
	device, gate := newFullDevice(size), newGate()
	device.block = gate.block
	return device, gate
}

func TestRepliesInAnyOrder(t *testing.T) {
	device, gate := gated(1 << 20)
	device.block = func(ctx context.Context, off int64) error {
		if off == 0 {
			return gate.block(ctx, off)
		}
		return nil
	}
	addr := serve(t, Options{Exports: exporting(device)})
	eachMode(t, addr, func(t *testing.T, c *client) {
		gate.open = make(chan struct{})
		first := command{kind: cmdRead, cookie: 1, length: 512}
		c.send(first)
		<-gate.entered
		for i := range uint64(10) {
			c.must(command{kind: cmdRead, cookie: 2 + i, offset: 512, length: 512})
		}
		close(gate.open)
		if code, _ := c.collect(first, 512); code != 0 {
			t.Errorf("error %d", code)
		}
	})
}

// TestSameCookieTwice: a client's fault, answered twice.
func TestSameCookieTwice(t *testing.T) {
	device, gate := gated(4096)
	addr := serve(t, Options{Exports: exporting(device)})
	c := connected(t, addr, simple)
	q := command{kind: cmdRead, cookie: 7, length: 512}
	c.send(q)
	c.send(q)
	<-gate.entered
	<-gate.entered
	close(gate.open)
	c.collect(q, 512)
	c.collect(q, 512)
	c.alive()
}

// TestFlushCoversAllConnections: at the reply to a FLUSH everything is durable
// that was replied to before, on whatever connection.
func TestFlushCoversAllConnections(t *testing.T) {
	device := newFullDevice(1 << 20)
	addr := serve(t, Options{Exports: exporting(device)})
	a, b := connected(t, addr, simple), connected(t, addr, extended)
	for i := range 50 {
		data := bytes.Repeat([]byte{byte(i + 1)}, 4096)
		a.must(writeOf(uint64(i)*4096, data, 0))
		b.must(command{kind: cmdFlush})
		if _, durable := device.content(); !bytes.Equal(durable[i*4096:(i+1)*4096], data) {
			t.Fatalf("write %d is not durable", i)
		}
	}
}

// TestFUAIsDurable: at the reply, for each command that changes something.
func TestFUAIsDurable(t *testing.T) {
	device := newFullDevice(1 << 20)
	addr := serve(t, Options{Exports: exporting(device)})
	eachMode(t, addr, func(t *testing.T, c *client) {
		c.must(writeOf(0, pattern(4096), cmdFlagFUA))
		if data, durable := device.content(); !bytes.Equal(data, durable) {
			t.Error("WRITE is not durable")
		}
		c.must(command{kind: cmdTrim, flags: cmdFlagFUA, length: 1024})
		if data, durable := device.content(); !bytes.Equal(data, durable) {
			t.Error("TRIM is not durable")
		}
		c.must(command{kind: cmdWriteZeroes, flags: cmdFlagFUA, length: 4096})
		if data, durable := device.content(); !bytes.Equal(data, durable) {
			t.Error("WRITE_ZEROES is not durable")
		}
	})
}

// TestFailedFlushIsReported: for FLUSH and for FUA, and it is tried again.
func TestFailedFlushIsReported(t *testing.T) {
	device := &failingFlush{plainDevice: newPlainDevice(4096)}
	addr := serve(t, Options{Exports: exporting(device)})
	eachMode(t, addr, func(t *testing.T, c *client) {
		device.fails.Store(2)
		if code, _ := c.ask(writeOf(0, make([]byte, 512), cmdFlagFUA)); code != errnoEIO {
			t.Errorf("FUA: error %d", code)
		}
		if code, _ := c.ask(command{kind: cmdFlush}); code != errnoEIO {
			t.Errorf("FLUSH: error %d", code)
		}
		c.must(command{kind: cmdFlush})
	})
}

type failingFlush struct {
	*plainDevice
	fails atomic.Int32 // how many more
}

func (d *failingFlush) Flush(ctx context.Context) error {
	if d.fails.Add(-1) >= 0 {
		return errors.New("no quorum")
	}
	return d.plainDevice.Flush(ctx)
}

// TestDisconnectFinishesOutstanding: DISC is no reason to drop what came
// before it, whether or not the client waits.
func TestDisconnectFinishesOutstanding(t *testing.T) {
	for name, waits := range map[string]bool{"waits": true, "leaves": false} {
		t.Run(name, func(t *testing.T) {
			device, gate := gated(4096)
			addr, stop := serveUntil(t, Options{Exports: exporting(device)})
			c := connected(t, addr, simple)
			q := writeOf(512, pattern(512), 0)
			c.write(append(c.encode(q), c.encode(command{kind: cmdDisc})...))
			<-gate.entered
			if !waits {
				c.Close()
			}
			close(gate.open)
			if waits {
				if code, _ := c.collect(q, 0); code != 0 {
					t.Errorf("error %d", code)
				}
				c.closed()
			}
			stop()
			if !bytes.Equal(device.data[512:1024], q.payload) {
				t.Error("the write was dropped")
			}
		})
	}
}

// TestDeadConnectionDropsItsRequests: nothing that a dead connection had queued
// is applied, also where the parser waits for a worker and cannot see the end
// of the stream.
func TestDeadConnectionDropsItsRequests(t *testing.T) {
	for name, count := range map[string]int{"parser reads": 20, "parser waits": maxWorkers + 50} {
		t.Run(name, func(t *testing.T) {
			device, gate := gated(1 << 20)
			addr, stop := serveUntil(t, Options{Exports: exporting(device)})
			c := connected(t, addr, simple)
			for i := range count {
				c.send(writeOf(uint64(i)*512, pattern(512), 0))
			}
			for range min(count, maxWorkers) {
				<-gate.entered
			}
			c.Close()
			// The gate is never opened: only the context lets them out.
			stop()
			if got := device.asked(); len(got) > 0 {
				t.Errorf("%d writes of a dead connection were applied", len(got))
			}
		})
	}
}

// TestDeadConnectionIsLeftByABudget: the same where the parser waits for
// memory.
func TestDeadConnectionIsLeftByABudget(t *testing.T) {
	device, gate := gated(MaxPayload)
	addr, stop := serveUntil(t, Options{Exports: exporting(device),
		MaxInFlight: MaxPayload + requestOverhead})
	c := connected(t, addr, simple)
	for range 3 {
		c.send(command{kind: cmdRead, length: MaxPayload})
	}
	<-gate.entered
	c.Close()
	stop()
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

// halfOpen is a connection in the transmission phase without a parser.
func halfOpen(t *testing.T, l net.Listener, device Device) (*conn, net.Conn) {
	t.Helper()
	s, err := NewServer(Options{Exports: exporting(device)})
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	agreed := &session{stream: raw, export: newExport("disk", device, false)}
	c := newConn(s, raw, agreed, slog.New(slog.DiscardHandler))
	c.ctx, c.cancel = context.WithCancel(t.Context())
	t.Cleanup(c.cancel)
	return c, client
}

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
			if took := time.Since(begin); took > defaultWrite+8*time.Second {
				t.Errorf("the connection lasted %v", took)
			}
		}
		if got := device.asked(); len(got) > 0 {
			t.Errorf("asked %q", got)
		}
	})
}

func TestIncompleteWriteChangesNothing(t *testing.T) {
	device := newFullDevice(1 << 20)
	addr, stop := serveUntil(t, Options{Exports: exporting(device)})
	for _, m := range modes {
		for _, cut := range []int{1, 20, 27, 40, 4096} {
			c := connected(t, addr, m)
			q := c.encode(writeOf(0, pattern(8192), 0))
			c.write(q[:cut])
			c.closeWrite()
			c.closed()
		}
	}
	stop()
	if got := device.asked(); len(got) > 0 {
		t.Errorf("asked %q", got)
	}
}

// TestBadMagic: nothing behind it is obeyed.
func TestBadMagic(t *testing.T) {
	for _, m := range modes {
		device := newFullDevice(4096)
		addr, stop := serveUntil(t, Options{Exports: exporting(device)})
		c := connected(t, addr, m)
		bad := c.encode(writeOf(0, pattern(512), 0))
		bad[3]++
		c.write(append(bad, c.encode(writeOf(0, pattern(512), 0))...))
		if b, _ := io.ReadAll(c); len(b) > 0 {
			t.Errorf("%s: %x was answered", m, b)
		}
		stop()
		if got := device.asked(); len(got) > 0 {
			t.Errorf("%s: asked %q", m, got)
		}
	}
}

// TestTooLongPayload is answered, then the connection ends; it is not skipped.
func TestTooLongPayload(t *testing.T) {
	device := newFullDevice(4096)
	addr := serve(t, Options{Exports: exporting(device)})
	for m, lengths := range map[mode][]uint64{
		simple: {MaxPayload + 1, math.MaxUint32}, structured: {math.MaxUint32},
		extended: {MaxPayload + 1, 1 << 40, math.MaxUint64},
	} {
		for _, n := range lengths {
			c := connected(t, addr, m)
			q := command{kind: cmdWrite, cookie: 5, length: n, payload: pattern(1 << 20)}
			c.send(q)
			if code, _ := c.collect(q, 0); code != errnoENOSPC {
				t.Errorf("%s: %d bytes: error %d", m, n, code)
			}
			c.closed()
		}
	}
	// Where only the length is wrong.
	addr = serve(t, Options{Exports: exporting(newHugeDevice())})
	c := connected(t, addr, simple)
	q := command{kind: cmdWrite, length: MaxPayload + 1}
	if code, _ := c.ask(q); code != 22 {
		t.Errorf("error %d", code)
	}
	c.closed()
}

func TestLargestPayload(t *testing.T) {
	device := newPlainDevice(MaxPayload)
	addr := serve(t, Options{Exports: exporting(device)})
	c := connected(t, addr, extended)
	data := bytes.Repeat(pattern(1<<20), MaxPayload>>20)
	c.must(writeOf(0, data, 0))
	if got := c.must(command{kind: cmdRead, flags: cmdFlagDF, length: MaxPayload}); !bytes.Equal(got, data) {
		t.Error("data differ")
	}
}

// TestBytesInFlightAreBounded: what exceeds the budget of all connections waits
// and is then served; another connection's reserve does not wait.
func TestBytesInFlightAreBounded(t *testing.T) {
	device := newPlainDevice(MaxPayload)
	gate := newGate()
	device.block = func(ctx context.Context, off int64) error {
		if off == 0 {
			return gate.block(ctx, off)
		}
		return nil
	}
	addr := serve(t, Options{Exports: exporting(device), MaxInFlight: MaxPayload + requestOverhead})
	greedy, modest := connected(t, addr, simple), connected(t, addr, simple)
	large := command{kind: cmdRead, cookie: 1, length: MaxPayload}
	greedy.send(large)
	<-gate.entered
	for range 100 {
		modest.must(command{kind: cmdRead, offset: 512, length: 128 << 10})
	}
	second := command{kind: cmdRead, cookie: 2, offset: 4096, length: 2 << 20}
	modest.send(second)
	if got := device.asked(); len(got) != 100 {
		t.Errorf("%d requests were started", len(got))
	}
	close(gate.open)
	greedy.collect(large, MaxPayload)
	modest.collect(second, 2<<20)
	if got := device.asked(); !slices.Contains(got[100:], "read 4096+2097152") {
		t.Errorf("asked %q", got[100:])
	}
}

// TestGarbage: whatever is sent in whatever state, others are served.
func TestGarbage(t *testing.T) {
	device := newFullDevice(1 << 20)
	addr := serve(t, Options{Exports: exporting(device), WriteTimeout: time.Second})
	good := connected(t, addr, structured)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	garbage := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	for i := range 200 {
		c := dial(t, addr)
		switch i % 4 {
		case 1:
			c.greet(3)
		case 2:
			c.greet(3)
			c.write(optionHeader(random.Uint32N(12), random.Uint32N(100)))
		case 3:
			c.greet(3)
			c.begin(modes[random.IntN(3)])
			q := c.encode(command{kind: uint16(random.IntN(9)), flags: uint16(random.IntN(64))})
			c.write(append(q[:16], garbage(12)...))
		}
		// The server may hang up while we write.
		_, _ = c.Write(garbage(random.IntN(5000)))
		c.closeWriteIfOpen()
		_, _ = io.Copy(io.Discard, c)
		c.Close()
	}
	good.alive()
}

func (c *client) closeWriteIfOpen() { _ = c.Conn.(*net.TCPConn).CloseWrite() }

func TestUnixSocket(t *testing.T) {
	s, err := NewServer(Options{Exports: exporting(newFullDevice(4096))})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "nbd")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, conn)
	c.greet(3)
	c.begin(extended)
	c.must(writeOf(0, pattern(4096), cmdFlagFUA))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
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

func TestBuffers(t *testing.T) {
	var pool buffers
	for _, n := range []int{1, 4095, 4096, 4097, 8192, 1<<20 + 1, MaxPayload} {
		b := pool.get(n)
		if len(b.data) != n || cap(b.data) < n || cap(b.data) >= 2*n && cap(b.data) > 4096 {
			t.Errorf("get(%d): length %d, capacity %d", n, len(b.data), cap(b.data))
		}
		pool.put(b)
		if b := pool.get(n); len(b.data) != n {
			t.Errorf("get(%d) again: length %d", n, len(b.data))
		}
	}
	pool.put(nil)
}
