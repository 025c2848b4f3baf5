package attach

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"testing"

	"rozobox/pkg/nbd"
)

// memory is a device that refuses what lies in its second half.
type memory struct {
	mu   sync.Mutex // guards data
	data []byte
}

func (m *memory) Size() int64 { return int64(len(m.data)) }

func (m *memory) ReadAt(_ context.Context, p []byte, off int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off >= m.Size()/2 {
		return nbd.ErrNoSpace
	}
	copy(p, m.data[off:])
	return nil
}

func (m *memory) WriteAt(_ context.Context, p []byte, off int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	copy(m.data[off:], p)
	return nil
}

func (m *memory) Flush(context.Context) error { return nil }

// Names implements nbd.Exports.
func (m *memory) Names() []string { return []string{"film"} }

// Export implements nbd.Exports.
func (m *memory) Export(string) (nbd.Device, bool) { return m, true }

func openClient(t *testing.T) *Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := nbd.NewServer(nbd.Options{Exports: &memory{data: make([]byte, 1<<20)}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	c, export, err := Open(t.Context(), l.Addr().String(), "film")
	if err != nil || export.Size != 1<<20 {
		t.Fatal(export, err)
	}
	t.Cleanup(c.Close)
	return c
}

// Replies come in any order, each to its own request.
func TestClientKeepsRequestsApart(t *testing.T) {
	c := openClient(t)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			want := bytes.Repeat([]byte{byte(i)}, 8192)
			got := make([]byte, len(want))
			off := int64(i * len(want))
			err := errors.Join(c.Write(want, off, CommandFUA), c.Read(got, off), c.Flush())
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("request %d: %v, right: %v", i, err, bytes.Equal(got, want))
			}
		})
	}
	all.Wait()
}

func TestClientTellsWhatTheServerSays(t *testing.T) {
	c := openClient(t)
	if err := c.Read(make([]byte, 512), 1<<19); err != WireError(syscall.ENOSPC) {
		t.Errorf("refused with %v", err)
	}
	if err := c.Read(make([]byte, 512), 0); err != nil {
		t.Errorf("after that: %v", err)
	}
	c.Break()
	for range 2 {
		if err := c.Flush(); !errors.Is(err, ErrBroken) {
			t.Errorf("on a connection that is broken: %v", err)
		}
	}
}
