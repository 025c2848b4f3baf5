package daemon

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"rozobox/pkg/chunkrpc"
	"rozobox/pkg/metrics"
	"rozobox/pkg/metrics/host"
	"rozobox/pkg/nbd/attach"
)

// startDemo runs a whole cluster in dir: certificates, QUIC, cards, NBD. stop
// ends it as Ctrl-C does; it is called in any case.
func startDemo(t *testing.T, dir string) (info DemoInfo, stop func()) {
	t.Helper()
	return startDemoOver(t, "", dir)
}

func startDemoOver(
	t *testing.T, over chunkrpc.Transport, dir string,
) (info DemoInfo, stop func()) {
	t.Helper()
	return startDemoWith(t, DemoOptions{Dir: dir, Transport: over})
}

// startDemoWith fills in what all demos of tests have.
func startDemoWith(t testing.TB, opts DemoOptions) (info DemoInfo, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan DemoInfo, 1), make(chan error, 1)
	opts.NBD, opts.Logger = loopback+":0", slog.New(slog.DiscardHandler)
	opts.Size = cmp.Or(opts.Size, 8*mib)
	opts.Ready = func(info DemoInfo) { ready <- info }
	go func() { done <- Demo(ctx, opts) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("demo: %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case info = <-ready:
	case err := <-done:
		done <- nil
		t.Fatalf("demo: %v", err)
	}
	return info, stop
}

// Commands of NBD, as on the wire.
const (
	nbdRead  = 0
	nbdWrite = 1
	nbdFlush = 3
)

func requestHeader(command uint16, off, length int) []byte {
	req := binary.BigEndian.AppendUint32(nil, 0x25609513)
	req = binary.BigEndian.AppendUint32(req, uint32(command))
	req = binary.BigEndian.AppendUint64(req, 1) // cookie
	req = binary.BigEndian.AppendUint64(req, uint64(off))
	return binary.BigEndian.AppendUint32(req, uint32(length))
}

// disk is a plain NBD client: one request at a time.
type disk struct {
	t    *testing.T
	conn net.Conn
}

func openDisk(t *testing.T, info DemoInfo) *disk {
	t.Helper()
	conn, export, err := attach.Dial(t.Context(), info.NBD.String(), demoName)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if export.Size != info.Volume.SizeBytes {
		t.Errorf("export of %d bytes, volume of %d", export.Size, info.Volume.SizeBytes)
	}
	return &disk{t, conn}
}

// do sends a command and returns the n bytes that are read.
func (d *disk) do(command uint16, off, length int, data []byte) []byte {
	d.t.Helper()
	if _, err := d.conn.Write(append(requestHeader(command, off, length), data...)); err != nil {
		d.t.Fatal(err)
	}
	reply := make([]byte, 16)
	if command == nbdRead {
		reply = make([]byte, 16+length)
	}
	if _, err := io.ReadFull(d.conn, reply); err != nil {
		d.t.Fatal(err)
	}
	if code := binary.BigEndian.Uint32(reply[4:]); code != 0 {
		d.t.Fatalf("command %d at %d: error %d", command, off, code)
	}
	return reply[16:]
}

func (d *disk) read(off, n int) []byte     { return d.do(nbdRead, off, n, nil) }
func (d *disk) write(off int, data []byte) { d.do(nbdWrite, off, len(data), data) }
func (d *disk) flush()                     { d.do(nbdFlush, 0, 0, nil) }
func random(seed uint64, n int) (p []byte) {
	source := rand.New(rand.NewPCG(seed, seed))
	for range n {
		p = append(p, byte(source.Uint32()))
	}
	return p
}

// The whole way down and up: NBD, volume, stripes, QUIC, cards; again after a
// stop, on whatever ports are free then, and over TCP.
func TestDemoKeepsWhatWasWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	info, stop := startDemo(t, dir)
	d := openDisk(t, info)
	blank := make([]byte, 300<<10)
	if got := d.read(4096, len(blank)); !bytes.Equal(got, blank) {
		t.Error("a new volume does not read as zeroes")
	}
	data := random(1, 300<<10)
	d.write(5000, data)
	if got := d.read(5000, len(data)); !bytes.Equal(got, data) {
		t.Error("read something else than was written")
	}
	d.flush()
	client, err := NewClient(info.Config)
	if err != nil {
		t.Fatal(err)
	}
	status, err := client.Status(t.Context())
	if err != nil || status.Health != Healthy || len(status.Nodes) != DefaultDemoNodes {
		t.Errorf("status %+v, %v", status, err)
	}
	if v := status.Volumes[0]; v.Name != demoName || v.StoredBytes < uint64(len(data))*6/4 {
		t.Errorf("volume %+v", v)
	}
	stop()
	info, _ = startDemoOver(t, chunkrpc.TLS, dir)
	if info.Volume.Incarnation != 0 {
		t.Errorf("a clean stop raised the incarnation to %d", info.Volume.Incarnation)
	}
	if got := openDisk(t, info).read(5000, len(data)); !bytes.Equal(got, data) {
		t.Error("the data is gone after a restart")
	}
}

// Ctrl-C while a client writes: its connection ends, and what was flushed
// stays.
func TestDemoStopsUnderLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	info, stop := startDemo(t, dir)
	d := openDisk(t, info)
	data := random(2, 64<<10)
	d.write(0, data)
	d.flush()
	busy := openDisk(t, info)
	var load sync.WaitGroup
	load.Go(func() {
		for { // until the gateway hangs up
			req := binary.BigEndian.AppendUint32(nil, 0x25609513)
			req = binary.BigEndian.AppendUint32(req, nbdRead)
			req = append(req, make([]byte, 16)...)
			req = binary.BigEndian.AppendUint32(req, 512)
			if _, err := busy.conn.Write(req); err != nil {
				return
			}
		}
	})
	load.Go(func() { _, _ = io.Copy(io.Discard, busy.conn) })
	stop()
	load.Wait()
	info, _ = startDemo(t, dir)
	if got := openDisk(t, info).read(0, len(data)); !bytes.Equal(got, data) {
		t.Error("flushed data is gone")
	}
}

func TestDemoRefusals(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	if err := Init(InitOptions{Dir: dir, Name: "lab", Nodes: demoNodes(6)}); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free := loopback + ":0"
	for want, o := range map[string]DemoOptions{
		`has the cluster "lab" of 6 nodes`: {Dir: dir, Size: mib, NBD: free},
		`bad transport "udp"`:              {Transport: "udp", Size: mib, NBD: free},
		"2 nodes":                          {Nodes: 2, Size: mib, NBD: free},
		"65 nodes":                         {Nodes: 65, Size: mib, NBD: free},
		"size 1000":                        {Nodes: 3, Size: 1000, NBD: free},
		"address already in use":           {Nodes: 3, Size: mib, NBD: taken.Addr().String()},
		"bad address":                      {Nodes: 3, Size: mib, NBD: "x"},
	} {
		if o.Dir == "" {
			o.Dir = filepath.Join(t.TempDir(), "new")
		}
		o.Logger = slog.New(slog.DiscardHandler)
		ctx, cancel := context.WithTimeout(t.Context(), demoPatience)
		if err := Demo(ctx, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		cancel()
	}
}

// A monitor sees what the cards say of themselves, and what the gateway adds.
func TestWatchADemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	info, _ := startDemo(t, dir)
	monitor, err := NewClient(filepath.Join(dir, monitorDir, monitorFile))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	pictures := monitor.Watch(ctx, nil)
	p := await(t, pictures, "all there is", func(p metrics.Cluster) bool {
		silent := func(c metrics.Card) bool { return c.Host == nil }
		return p.Gateway != nil && len(p.Cards) == DefaultDemoNodes && !slices.ContainsFunc(p.Cards, silent)
	})
	if p.Name != demoName || p.Gateway.Health != Healthy || len(p.Volumes) != 1 || len(p.Events) == 0 {
		t.Errorf("picture %+v", p)
	}
	for _, c := range p.Cards {
		if c.Sync != metrics.In || c.CapacityBytes == 0 || c.Host == nil || c.Host.MemoryBytes == 0 {
			t.Errorf("card %+v, host %+v", c, c.Host)
		}
	}
	d := openDisk(t, info)
	await(t, pictures, "cards that work", func(p metrics.Cluster) bool {
		d.write(0, make([]byte, 512))
		working := 0
		for _, c := range p.Cards {
			if c.State == metrics.Working {
				working++
			}
		}
		return working == DefaultDataChunks+DefaultParityChunks // of one block
	})
	await(t, pictures, "writes", func(p metrics.Cluster) bool {
		d.write(0, make([]byte, 512))
		return p.Gateway.WritesPerSecond > 0
	})
	p = await(t, pictures, "the stripe", func(p metrics.Cluster) bool {
		d.read(0, 512)
		return p.Stripe != nil
	})
	if s := p.Stripe; s.Volume != demoName || s.Block != 0 || len(s.Chunks) < 6 {
		t.Errorf("stripe %+v", s)
	}
	cancel()
	for range pictures { // to the end, which comes
	}
}

// Without a gateway, status asks the nodes, with either certificate.
func TestStatusWithoutGateway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	info, stop := startDemo(t, dir)
	gateway, err := NewClient(info.Config)
	if err != nil {
		t.Fatal(err)
	}
	monitor, err := NewClient(filepath.Join(dir, monitorDir, monitorFile))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	ctx, cancel := context.WithCancel(context.Background())
	var nodes sync.WaitGroup
	defer nodes.Wait()
	defer cancel()
	for _, n := range gateway.nodes[1:] { // one card stays away
		config, err := LoadChunkserver(filepath.Join(dir, n.ID, chunkserverFile))
		if err != nil {
			t.Fatal(err)
		}
		node, err := openChunkserver(config, host.New(boottime), nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		nodes.Go(func() {
			if err := node.run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	for _, client := range []*Client{gateway, monitor} {
		watching, end := context.WithCancel(ctx)
		pictures := client.Watch(watching, nil)
		p := await(t, pictures, "a card that is away", func(p metrics.Cluster) bool {
			return p.Cards[0].State == metrics.Unavailable && p.Cards[1].State == metrics.Idle
		})
		if p.Gateway != nil || p.Cards[1].Sync != metrics.Unknown || p.Cards[0].Why == "" {
			t.Errorf("picture %+v", p)
		}
		end()
		for range pictures {
		}
		status, err := client.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%+v", status)
		if status.Health != Unavailable || status.Gateway.State != metrics.Unavailable || status.Gateway.Why == "" {
			t.Errorf("status %s", text)
		}
		if status.Nodes[0].State != metrics.Unavailable || status.Nodes[0].Why == "" || status.Nodes[1].State != metrics.Idle {
			t.Errorf("nodes %s", text)
		}
		if client == gateway && (len(status.Volumes) != 1 || status.Volumes[0].Name != demoName ||
			status.Volumes[0].State != stateWaiting || status.Nodes[1].Sync != "in") {
			t.Errorf("volumes %s", text)
		}
		if client == monitor && (len(status.Volumes) != 0 || status.Nodes[1].Sync != metrics.Unknown) {
			t.Errorf("a monitor knows %s", text)
		}
		var out bytes.Buffer
		if err := status.Print(&out); err != nil || !strings.Contains(out.String(), "unavailable") {
			t.Errorf("printed %q, %v", out.String(), err)
		}
	}
}

// Something else, another demo perhaps, has the usual address of the admin API.
func TestDemoTakesAnotherAdminAddress(t *testing.T) {
	if l, err := net.Listen("tcp", DefaultAdmin); err == nil {
		defer l.Close()
	}
	info, _ := startDemo(t, filepath.Join(t.TempDir(), "demo"))
	config, err := LoadGateway(info.Config)
	if err != nil {
		t.Fatal(err)
	}
	if config.Admin == DefaultAdmin {
		t.Errorf("the admin API is at %s, which is taken", config.Admin)
	}
}
