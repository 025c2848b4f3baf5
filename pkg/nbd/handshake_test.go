package nbd

import (
	"bytes"
	"context"
	"io"
	"math"
	"net"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestClientFlags(t *testing.T) {
	addr := serve(t, Options{Exports: exporting(newPlainDevice(4096))})
	for _, tc := range []struct {
		flags uint32
		ok    bool
	}{{0, true}, {1, true}, {2, true}, {3, true}, {4, false}, {1 << 31, false}} {
		c := dial(t, addr)
		c.greet(tc.flags)
		if !tc.ok {
			c.closed()
			continue
		}
		// Also a client without fixed newstyle is served.
		c.sendOption(optExportName, []byte("disk"))
		if tc.flags&2 == 0 {
			if got := c.read(134); !bytes.Equal(got[10:], make([]byte, 124)) {
				t.Errorf("flags %d: padding %x", tc.flags, got[10:])
			}
		} else {
			c.read(10)
		}
		c.alive()
	}
}

// one is the reply of an option that fails.
func one(kind uint32) []optionReply { return []optionReply{{kind: kind}} }

func acks(before ...optionReply) []optionReply {
	return append(before, optionReply{kind: repAck})
}

// plainInfo describes a plainDevice of 4096 bytes.
var plainInfo = optionReply{repInfo, "\x00\x00" + "\x00\x00\x00\x00\x00\x00\x10\x00" + "\x01\x0d"}

func allocationReply(id string) optionReply {
	return optionReply{repMetaContext, id + contextAllocation}
}

// step is an option and the replies to it.
type step struct {
	option uint32
	data   []byte
	want   []optionReply // nil for any
}

const (
	listedID   = "\x00\x00\x00\x00"
	selectedID = "\x00\x00\x00\x01"
)

var longName = strings.Repeat("n", maxString+1)

func serverReply(s string) optionReply { return optionReply{repServer, s} }

func infoReply(s string) optionReply { return optionReply{repInfo, s} }

// exportOptions are those that list, describe and choose exports.
var exportOptions = map[string][]step{
	"list": {{optList, nil, acks(
		serverReply("\x00\x00\x00\x04diska device for tests"),
		serverReply("\x00\x00\x00\x05other"))}},
	"list with data": {{optList, []byte{1}, one(repErrInvalid)}, {optAbort, nil, acks()}},
	"peek":           {{4, nil, one(repErrUnsup)}},
	"unknown":        {{99, make([]byte, 70000), one(repErrUnsup)}, {optAbort, nil, acks()}},
	"abort":          {{optAbort, []byte("ignored"), acks()}},
	"starttls":       {{optStartTLS, nil, one(repErrUnsup)}},
	"info":           {{optInfo, infoData("other"), acks(plainInfo)}},
	"info all": {{optInfo, infoData("other", 3, 1, 2, 0, 77, 3), acks(plainInfo,
		infoReply("\x00\x03\x00\x00\x00\x01\x00\x00\x10\x00\x02\x00\x00\x00"),
		infoReply("\x00\x01other"))}},
	"info describes": {{optInfo, infoData("disk", infoDescription), acks(
		infoReply("\x00\x00"+"\x00\x00\x00\x00\x00\x10\x00\x00"+"\x0d\x6d"),
		infoReply("\x00\x02a device for tests"))}},
	"info unknown":    {{optInfo, infoData("no"), one(repErrUnknown)}},
	"go unknown":      {{optGo, infoData("no"), one(repErrUnknown)}, {optAbort, nil, acks()}},
	"info empty":      {{optInfo, nil, one(repErrInvalid)}, {optAbort, nil, acks()}},
	"go empty":        {{optGo, nil, one(repErrInvalid)}, {optAbort, nil, acks()}},
	"info short":      {{optInfo, infoData("other", 1)[:11], one(repErrInvalid)}},
	"info trailing":   {{optInfo, append(infoData("other"), 0), one(repErrInvalid)}},
	"info overrun":    {{optInfo, []byte("\x00\x00\x00\x09other\x00\x00"), one(repErrInvalid)}},
	"info wraps":      {{optInfo, []byte("\xff\xff\xff\xffother\x00\x00"), one(repErrInvalid)}},
	"info count":      {{optInfo, []byte("\x00\x00\x00\x05other\xff\xff"), one(repErrInvalid)}},
	"info long name":  {{optInfo, infoData(longName), one(repErrInvalid)}},
	"info NUL":        {{optInfo, infoData("a\x00b"), one(repErrInvalid)}},
	"info not UTF-8":  {{optInfo, infoData("a\xffb"), one(repErrInvalid)}},
	"info, then go":   {{optInfo, infoData("no"), one(repErrUnknown)}, {optGo, infoData("other"), acks(plainInfo)}},
	"no leak of info": {{optInfo, infoData("disk", 1, 2, 3), nil}, {optGo, infoData("other"), acks(plainInfo)}},
	"info equals go":  {{optInfo, infoData("other"), acks(plainInfo)}, {optGo, infoData("other"), acks(plainInfo)}},
}

// replyOptions are those that choose a way to reply.
var replyOptions = map[string][]step{
	"structured":        {{optStructuredReply, nil, acks()}, {optStructuredReply, nil, acks()}},
	"structured, data":  {{optStructuredReply, []byte{0}, one(repErrInvalid)}},
	"extended":          {{optExtendedHeaders, nil, acks()}, {optExtendedHeaders, nil, one(repErrInvalid)}},
	"extended, data":    {{optExtendedHeaders, []byte{0}, one(repErrInvalid)}},
	"structured is old": {{optExtendedHeaders, nil, acks()}, {optStructuredReply, nil, one(repErrExtHeaderReqd)}},
	"DF needs structured": {{optStructuredReply, nil, acks()}, {optGo, infoData("other"), acks(
		optionReply{repInfo, plainInfo.data[:10] + "\x01\x8d"})}},
}

// contextOptions are those about metadata contexts.
var contextOptions = map[string][]step{
	"contexts":          {{optListMetaContext, metaData("disk"), acks(allocationReply(listedID))}},
	"contexts wildcard": {{optListMetaContext, metaData("disk", "base:"), acks(allocationReply(listedID))}},
	"contexts named":    {{optListMetaContext, metaData("", "x:y", "base:allocation", "base:"), acks(allocationReply(listedID))}},
	"contexts foreign":  {{optListMetaContext, metaData("disk", "x:", "base:alloc", "qemu:dirty"), acks()}},
	"contexts unknown":  {{optListMetaContext, metaData("no"), one(repErrUnknown)}},
	"contexts overrun":  {{optListMetaContext, append(metaData("disk", "a"), 1), one(repErrInvalid)}},
	"contexts few":      {{optListMetaContext, metaData("disk", "abc")[:14], one(repErrInvalid)}},
	"contexts count":    {{optListMetaContext, []byte("\x00\x00\x00\x04disk\xff\xff\xff\xff"), one(repErrInvalid)}},
	"contexts long":     {{optListMetaContext, metaData("disk", longName), one(repErrInvalid)}},
	"contexts empty":    {{optListMetaContext, nil, one(repErrInvalid)}},
	"set, simple":       {{optSetMetaContext, metaData("disk", contextAllocation), one(repErrInvalid)}},
	"set": {{optStructuredReply, nil, acks()},
		{optSetMetaContext, metaData("disk", contextAllocation, "x:y", contextAllocation), acks(allocationReply(selectedID))}},
	"set nothing": {{optStructuredReply, nil, acks()},
		{optSetMetaContext, metaData("disk"), acks()},
		{optSetMetaContext, metaData("disk", "base:"), acks()}},
	"set unknown": {{optStructuredReply, nil, acks()},
		{optSetMetaContext, metaData("no", contextAllocation), one(repErrUnknown)},
		{optSetMetaContext, []byte{1}, one(repErrInvalid)}},
}

func TestOptions(t *testing.T) {
	exports := exporting(newFullDevice(1 << 20))
	addr := serve(t, Options{Exports: exports})
	for _, table := range []map[string][]step{exportOptions, replyOptions, contextOptions} {
		for name, steps := range table {
			t.Run(name, func(t *testing.T) { takeSteps(greeted(t, addr), steps) })
		}
	}
}

func takeSteps(c *client, steps []step) {
	c.t.Helper()
	for _, s := range steps {
		got := c.option(s.option, s.data)
		if s.want != nil && !reflect.DeepEqual(got, s.want) {
			c.t.Fatalf("option %d %q:\ngot  %+v\nwant %+v", s.option, s.data, got, s.want)
		}
		if s.option == optAbort {
			c.closed()
		}
	}
}

func TestFlagsTellTheAbilities(t *testing.T) {
	type trimOnly struct {
		Device
		Trimmer
	}
	full := newFullDevice(4096)
	const always = flagHasFlags | flagSendFlush | flagSendFUA | flagCanMultiConn
	for _, tc := range []struct {
		device               Device
		readOnly, structured bool
		want                 uint16
	}{
		{full.plainDevice, false, false, always},
		{full.plainDevice, true, false, always | flagReadOnly},
		{full.plainDevice, false, true, always | flagSendDF},
		{trimOnly{full.plainDevice, full}, false, false, always | flagSendTrim},
		{full, true, false, always | flagReadOnly | flagSendCache},
		{full, false, false, always | flagSendTrim | flagSendWriteZeroes | flagSendFastZero | flagSendCache},
	} {
		if got := newExport("", tc.device, tc.readOnly).flags(tc.structured); got != tc.want {
			t.Errorf("%T read-only=%t structured=%t: flags %#x, want %#x",
				tc.device, tc.readOnly, tc.structured, got, tc.want)
		}
	}
}

type sizer struct {
	Device
	size int
}

func (s sizer) PreferredBlockSize() int { return s.size }

func TestPreferredBlockSizeIsLegal(t *testing.T) {
	for size, want := range map[int]uint32{
		0: 4096, -1: 4096, 512: 4096, 4096: 4096, 5000: 4096, 65536: 65536,
		1<<20 + 1: 1 << 20, math.MaxInt: 32 << 20,
	} {
		if got := preferredBlockSize(sizer{size: size}); got != want {
			t.Errorf("%d: %d, want %d", size, got, want)
		}
	}
}

// TestSelectionIsOfOneExport: base:allocation is void when another export is
// chosen than it was selected for, and when a later selection failed.
func TestSelectionIsOfOneExport(t *testing.T) {
	addr := serve(t, Options{Exports: exporting(newFullDevice(4096))})
	for name, tc := range map[string]struct {
		options [][]byte
		export  string
		code    uint32
	}{
		"same":     {[][]byte{metaData("disk", contextAllocation)}, "disk", 0},
		"other":    {[][]byte{metaData("disk", contextAllocation)}, "other", 22},
		"replaced": {[][]byte{metaData("disk", contextAllocation), metaData("disk", "x:y")}, "disk", 22},
		"failed":   {[][]byte{metaData("disk", contextAllocation), {1}}, "disk", 22},
		"again":    {[][]byte{{1}, metaData("disk", contextAllocation)}, "disk", 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := greeted(t, addr)
			c.acked(optStructuredReply, nil)
			c.structured = true
			for _, data := range tc.options {
				c.option(optSetMetaContext, data)
			}
			c.acked(optGo, infoData(tc.export))
			if code, _ := c.ask(command{kind: cmdBlockStatus, length: 512}); code != tc.code {
				t.Errorf("error %d, want %d", code, tc.code)
			}
			c.alive()
		})
	}
}

func TestExportNameHangsUp(t *testing.T) {
	addr := serve(t, Options{Exports: exporting(newPlainDevice(4096))})
	for name, send := range map[string]func(c *client){
		"unknown": func(c *client) { c.sendOption(optExportName, []byte("no")) },
		"long":    func(c *client) { c.sendOption(optExportName, make([]byte, maxString+1)) },
		"extended": func(c *client) {
			c.acked(optExtendedHeaders, nil)
			c.sendOption(optExportName, nil)
		},
		"bad magic": func(c *client) { c.write([]byte("IHAVEOPTimistic.")) },
	} {
		t.Run(name, func(t *testing.T) {
			c := greeted(t, addr)
			send(c)
			c.closed()
		})
	}
}

// TestGoNBDClient plays what the client of go-nbd sends: no flags, a GO whose
// length does not count its data.
func TestGoNBDClient(t *testing.T) {
	addr := serve(t, Options{Exports: exporting(newFullDevice(4096))})
	c := dial(t, addr)
	c.greet(0)
	c.write(append(optionHeader(optGo, 0), infoData("disk")...))
	if got := c.optionReplies(optGo); len(got) != 2 || got[1].kind != repAck {
		t.Fatalf("replies %+v", got)
	}
	c.alive()

	c = dial(t, addr)
	c.greet(0)
	c.write(append(optionHeader(optGo, 0), 0xff, 0xff, 0xff, 0xff))
	c.closed()
}

// TestHugeOptionCostsNothing: a length beyond the limit ends the connection
// before anything is allocated, and one within it is allocated as it arrives.
func TestHugeOptionCostsNothing(t *testing.T) {
	addr := serve(t, Options{Exports: exporting(newPlainDevice(4096)), HandshakeTimeout: time.Hour})
	for _, length := range []uint32{maxOption + 1, 1 << 31, math.MaxUint32} {
		c := greeted(t, addr)
		c.write(optionHeader(optInfo, length))
		c.closed()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 20 {
		greeted(t, addr).write(optionHeader(optInfo, maxOption))
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 20*(readBuffer+32<<10) {
		t.Errorf("20 promises of 1 MiB allocated %d bytes", grown)
	}
}

// pipeListener accepts the server's ends of pipes, for tests in a bubble.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (l *pipeListener) dial(t *testing.T) *client {
	client, server := net.Pipe()
	l.conns <- server
	return newClient(t, client)
}

// bubble runs f in a synctest bubble with a server; stop ends the server.
func bubble(t *testing.T, opts Options, f func(t *testing.T, l *pipeListener, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, err := NewServer(opts)
		if err != nil {
			t.Fatal(err)
		}
		l := newPipeListener()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx, l) }()
		f(t, l, cancel)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestStalledHandshakeIsEnded(t *testing.T) {
	stalls := map[string]func(c *client){
		"silent":    func(*client) {},
		"flags":     func(c *client) { c.greet(1) },
		"in option": func(c *client) { c.greet(1); c.write(optionHeader(optInfo, 100)) },
		"no reading": func(c *client) {
			c.greet(1)
			c.sendOption(optList, nil)
		},
	}
	for name, stall := range stalls {
		t.Run(name, func(t *testing.T) {
			opts := Options{Exports: exporting(newPlainDevice(4096))}
			bubble(t, opts, func(t *testing.T, l *pipeListener, _ func()) {
				c := l.dial(t)
				c.SetDeadline(time.Time{})
				begin := time.Now()
				stall(c)
				synctest.Wait()
				time.Sleep(defaultHandshake - time.Millisecond)
				synctest.Wait()
				// Others are not delayed.
				other := l.dial(t)
				other.greet(3)
				other.begin(simple)
				if _, err := io.Copy(io.Discard, c); err != nil {
					t.Error(err)
				}
				if took := time.Since(begin); took != defaultHandshake {
					t.Errorf("the connection lasted %v", took)
				}
				other.alive()
			})
		})
	}
}

// TestHandshakesAreFew: the oldest of too many half-open connections gives way.
func TestHandshakesAreFew(t *testing.T) {
	addr := serve(t, Options{Exports: exporting(newPlainDevice(4096)), MaxHandshakes: 2})
	served := connected(t, addr, simple)
	first, second, third := greeted(t, addr), greeted(t, addr), greeted(t, addr)
	first.closed()
	second.acked(optList, nil)
	third.begin(simple)
	third.alive()
	served.alive()
}

// TestServedClientsAreNoHandshakes: from the reply that names its export a
// client is served, and no newer one ends it.
func TestServedClientsAreNoHandshakes(t *testing.T) {
	for _, choice := range []struct {
		option uint32
		data   []byte
		reply  int // bytes
	}{
		{optGo, infoData(""), 20 + 12 + 20},
		{optExportName, nil, 8 + 2},
	} {
		opts := Options{Exports: exporting(newPlainDevice(4096)), MaxHandshakes: 1}
		bubble(t, opts, func(t *testing.T, l *pipeListener, _ func()) {
			served := l.dial(t)
			served.greet(3)
			served.sendOption(choice.option, choice.data)
			served.read(1) // the rest waits for its reader
			l.dial(t).greet(3)
			served.read(choice.reply - 1)
			served.alive()
		})
	}
}

func TestConnectionsAreFew(t *testing.T) {
	addr := serve(t, Options{Exports: exporting(newPlainDevice(4096)), MaxConnections: 1})
	c := connected(t, addr, simple)
	dial(t, addr).closed()
	c.alive()
}

func TestOptionsDuringShutdown(t *testing.T) {
	for option, want := range map[uint32][]optionReply{
		optList: one(repErrShutdown), optGo: one(repErrShutdown), 99: one(repErrShutdown),
		optAbort: acks(), optExportName: nil,
	} {
		addr, stop := serveUntil(t, Options{Exports: exporting(newPlainDevice(4096))})
		c := greeted(t, addr)
		c.acked(optList, nil)
		stopped := make(chan struct{})
		go func() { defer close(stopped); stop() }()
		waitRefused(t, addr)
		if want == nil {
			c.sendOption(option, nil)
		} else if got := c.option(option, nil); !reflect.DeepEqual(got, want) {
			t.Errorf("option %d: %+v, want %+v", option, got, want)
		}
		c.closed()
		<-stopped
	}
}

// waitRefused waits until nobody listens at addr any more.
func waitRefused(t *testing.T, addr string) {
	t.Helper()
	for {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		c.Close()
	}
}

func TestBadOptionsOfTheServer(t *testing.T) {
	exports := exporting(newPlainDevice(0))
	for _, opts := range []Options{
		{},
		{Exports: exports, RequireTLS: true},
		{Exports: exports, MaxInFlight: MaxPayload},
		{Exports: exports, MaxInFlightPerConn: 1},
	} {
		if _, err := NewServer(opts); err == nil {
			t.Errorf("%+v is accepted", opts)
		}
	}
}
