package nbd

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"unicode/utf8"
)

func FuzzParseInfo(f *testing.F) {
	for _, b := range [][]byte{
		nil, infoData(""), infoData("disk"), infoData("disk", 0, 1, 2, 3, 99),
		infoData("a\x00"), infoData("\xff"), []byte("\xff\xff\xff\xff\x00\x00"),
		[]byte("\x00\x00\x00\x00\xff\xff"), append(infoData("x"), 7),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		name, kinds, ok := parseInfo(data)
		if !ok {
			return
		}
		if !utf8.ValidString(name) || len(name) > maxString || bytes.IndexByte([]byte(name), 0) >= 0 {
			t.Errorf("name %q", name)
		}
		if len(kinds) == 0 || len(kinds) > 4 || kinds[0] != infoExport {
			t.Errorf("kinds %v", kinds)
		}
		if n := (len(data) - 6 - len(name)) / 2; !bytes.HasPrefix(data, infoData(name)[:4+len(name)]) ||
			len(data) != len(infoData(name))+2*n {
			t.Errorf("%q was read as %q", data, name)
		}
	})
}

func FuzzParseQueries(f *testing.F) {
	for _, b := range [][]byte{
		nil, metaData(""), metaData("disk", "base:"), metaData("d", "base:allocation", "x:y", ""),
		[]byte("\x00\x00\x00\x00\xff\xff\xff\xff"), append(metaData("d", "x"), 1), metaData("d", "abc")[:12],
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// What is accepted is read in one way only: it encodes to itself.
		if name, queries, ok := parseQueries(data); ok && !bytes.Equal(metaData(name, queries...), data) {
			t.Errorf("%q was read as %q %q", data, name, queries)
		}
	})
}

func FuzzRequest(f *testing.F) {
	c := &client{}
	for _, ext := range []bool{false, true} {
		c.extended = ext
		for kind := range uint16(10) {
			f.Add(c.encode(command{kind: kind, flags: kind, cookie: 9, offset: 512, length: 4096}), ext)
			f.Add(c.encode(command{kind: kind, offset: 1<<64 - 1, length: 1<<64 - 1}), ext)
		}
	}
	device := newFullDevice(1 << 20)
	f.Fuzz(func(t *testing.T, b []byte, ext bool) {
		if len(b) < extendedRequestSize {
			b = append(b, make([]byte, extendedRequestSize-len(b))...)
		}
		req, err := decodeRequest(b, ext)
		if err != nil {
			return
		}
		s := &session{export: newExport("", device, false), structured: true, extended: ext, allocation: true}
		size := req.payloadSize(ext)
		if s.validate(&req) != nil {
			return
		}
		// What is valid is within the device, and its memory is bounded.
		if req.kind != cmdFlush && (req.offset > 1<<20 || req.offset+req.length > 1<<20) {
			t.Errorf("%+v is out of range", req)
		}
		if size > 1<<20 || req.budget() > requestOverhead+1<<20 {
			t.Errorf("%+v needs %d", req, req.budget())
		}
	})
}

// FuzzConnection plays a client that sends anything. The server must neither
// panic nor hang, and change nothing beyond its device.
func FuzzConnection(f *testing.F) {
	start := []byte{0, 0, 0, 3}
	opt := func(b []byte, option uint32, data []byte) []byte {
		return append(append(b, optionHeader(option, uint32(len(data)))...), data...)
	}
	f.Add(start)
	f.Add(opt(start, optList, nil))
	for _, ext := range []bool{false, true} {
		c := &client{extended: ext}
		b := bytes.Clone(start)
		if ext {
			b = opt(b, optExtendedHeaders, nil)
			b = opt(b, optSetMetaContext, metaData("disk", contextAllocation))
		}
		b = opt(b, optGo, infoData("disk", 1, 2, 3))
		for kind := range uint16(9) {
			q := command{kind: kind, offset: 7, length: 600}
			if kind == cmdWrite {
				q.payload = pattern(600)
			}
			if kind != cmdDisc {
				b = append(b, c.encode(q)...)
			}
		}
		f.Add(b)
		f.Add(append(b, c.encode(command{kind: cmdDisc})...))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		synctest.Test(t, func(t *testing.T) { playClient(t, input) })
	})
}

func playClient(t *testing.T, input []byte) {
	s, err := NewServer(Options{Exports: exporting(newFullDevice(4096))})
	if err != nil {
		t.Fatal(err)
	}
	l := newPipeListener()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	client, server := net.Pipe()
	l.conns <- server
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, client)
	}()
	_, _ = client.Write(input) // fails where the server has hung up
	client.Close()
	<-read
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
