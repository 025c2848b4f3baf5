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
	"time"
)

// gate holds what enters it until it is opened, or its context ends.
type gate struct {
	entered chan int64 // offsets, in the order of arrival
	open    chan struct{}
	gaveUp  chan int64 // offsets of those whose context ended
}

// maxHeld is more than any test lets into a gate.
const maxHeld = 4 * maxWorkers

func newGate() *gate {
	return &gate{
		entered: make(chan int64, maxHeld), open: make(chan struct{}),
		gaveUp: make(chan int64, maxHeld),
	}
}

func (g *gate) block(ctx context.Context, off int64) error {
	g.entered <- off
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		g.gaveUp <- off
		return ctx.Err()
	}
}

// waitGaveUp waits until the contexts of n that entered have ended.
func (g *gate) waitGaveUp(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		select {
		case <-g.gaveUp:
		case <-time.After(testTimeout):
			t.Fatalf("only %d of %d requests were told to return", i, n)
		}
	}
}

// gated is a device whose requests wait in a gate.
func gated(size int) (*fullDevice, *gate) {
	device, gate := newFullDevice(size), newGate()
	device.block = gate.block
	return device, gate
}

func TestRepliesInAnyOrder(t *testing.T) {
	for _, m := range modes {
		device, gate := gated(1 << 20)
		device.block = func(ctx context.Context, off int64) error {
			if off == 0 {
				return gate.block(ctx, off)
			}
			return nil
		}
		c := connected(t, serve(t, Options{Exports: exporting(device)}), m)
		first := command{kind: cmdRead, cookie: 1, length: 512}
		c.send(first)
		<-gate.entered
		for i := range uint64(10) {
			c.must(command{kind: cmdRead, cookie: 2 + i, offset: 512, length: 512})
		}
		close(gate.open)
		if code, _ := c.collect(first, 512); code != 0 {
			t.Errorf("%s: error %d", m, code)
		}
	}
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
	device := newFullDevice(50 * 4096)
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
// is applied.
func TestDeadConnectionDropsItsRequests(t *testing.T) { testDeadConnection(t, 20) }

// testDeadConnection ends a connection while count writes are outstanding.
func testDeadConnection(t *testing.T, count int) {
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
	gate.waitGaveUp(t, min(count, maxWorkers))
	stop()
	if got := device.asked(); len(got) > 0 {
		t.Errorf("%d writes of a dead connection were applied", len(got))
	}
}

// TestWriteFailure ends the connection, unless the client has said DISC: then
// what it sent before is finished although nobody reads the replies.
func TestWriteFailure(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, disconnecting := range []bool{false, true} {
		c, _ := halfOpen(t, l, newFullDevice(4096))
		c.disconnecting.Store(disconnecting)
		c.writeFailed(io.ErrClosedPipe)
		if ended := c.ctx.Err() != nil; ended == disconnecting {
			t.Errorf("disconnecting=%t, ended=%t", disconnecting, ended)
		}
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
			c.ended()
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
	device := newHugeDevice()
	c := connected(t, serve(t, Options{Exports: exporting(device)}), extended)
	data := make([]byte, MaxPayload)
	data[0], data[MaxPayload-1] = 0xaa, 0xbb
	c.must(writeOf(0, data, 0))
	c.must(command{kind: cmdRead, flags: cmdFlagDF, length: MaxPayload})
	if got, want := device.asked(), []string{"write 0+67108864 aa...bb", "read 0+67108864"}; !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
}

// TestBytesInFlightAreBounded: what exceeds the budget of all connections waits
// and is then served; another connection's reserve does not wait.
func TestBytesInFlightAreBounded(t *testing.T) {
	device := newHugeDevice()
	gate := newGate()
	device.block = func(ctx context.Context, off int64) error {
		if off == 0 {
			return gate.block(ctx, off)
		}
		return nil
	}
	addr := serve(t, Options{Exports: exporting(device),
		MaxInFlight: MaxPayload + requestOverhead, QueueTimeout: time.Hour})
	greedy, modest := connected(t, addr, simple), connected(t, addr, simple)
	large := command{kind: cmdRead, cookie: 1, length: MaxPayload}
	greedy.send(large)
	<-gate.entered
	small := command{kind: cmdRead, offset: 512, length: 128 << 10}
	for range 100 { // far more than the reserve, all at once
		modest.send(small)
	}
	for range 100 {
		modest.collect(small, 128<<10)
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
