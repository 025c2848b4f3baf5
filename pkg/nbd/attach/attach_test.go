package attach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fakeKernel behaves as drivers/block/nbd.c does: it takes over connections,
// counts the dead, and ignores what it has no use for.
type fakeKernel struct {
	mu     sync.Mutex // guards all below
	device *setup     // nil: not connected
	alive  int
	total  int
	events chan int
	calls  []string
}

func newFakeKernel() *fakeKernel { return &fakeKernel{events: make(chan int, 16)} }

func (k *fakeKernel) connect(s setup, conns []net.Conn) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.device != nil {
		return syscall.EBUSY
	}
	k.device, k.alive, k.total = &s, len(conns), len(conns)
	return nil
}

func (k *fakeKernel) reconfigure(_ uint32, identifier string, conns []net.Conn) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.device == nil || k.device.identifier != identifier {
		return syscall.EINVAL
	}
	k.alive = min(k.alive+len(conns), k.total)
	k.calls = append(k.calls, fmt.Sprintf("reconfigure with %d", len(conns)))
	return nil
}

func (k *fakeKernel) disconnect(uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.device = nil
	return nil
}

func (k *fakeKernel) connected(uint32) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.device != nil, nil
}

func (k *fakeKernel) identifier(uint32) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.device.identifier, nil
}

func (k *fakeKernel) waitDead(_ uint32, d time.Duration) (int, error) {
	select {
	case n := <-k.events:
		return n, nil
	case <-time.After(d):
		return 0, nil
	}
}

func (k *fakeKernel) raiseRequestSize(_ uint32, kib int) error { return nil }
func (k *fakeKernel) close() error                             { return nil }

// kill lets n sockets die.
func (k *fakeKernel) kill(n int) {
	k.mu.Lock()
	k.alive -= n
	k.mu.Unlock()
	for range n {
		k.events <- 1
	}
}

func (k *fakeKernel) sockets() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.alive
}

// fakeNet has servers by address; one that is nil refuses.
type fakeNet struct {
	mu      sync.Mutex // guards all below
	servers map[string]*exportServer
	dials   []string
}

func (n *fakeNet) dial(_ context.Context, addr string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dials = append(n.dials, addr)
	server := n.servers[addr]
	if server == nil {
		return nil, syscall.ECONNREFUSED
	}
	client, conn := net.Pipe()
	go func() {
		defer conn.Close()
		server.serve(conn)
	}()
	return client, nil
}

func (n *fakeNet) set(addr string, server *exportServer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.servers[addr] = server
}

const multiConn = 1 | FlagFlush | FlagFUA | FlagCanMultiConn

func photos(incarnation int) *exportServer {
	return &exportServer{
		name: "photos", size: 1 << 30, flags: multiConn,
		description: fmt.Sprintf("volume=ab incarnation=%d", incarnation),
	}
}

// watched attaches server's export in a bubble and hands test what the watch
// works with; the watch's result comes from done.
func watched(t *testing.T, server *exportServer, test func(t *testing.T, k *fakeKernel, n *fakeNet, stop func(), done <-chan error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k := newFakeKernel()
		n := &fakeNet{servers: map[string]*exportServer{"a": server}}
		ctx, cancel := context.WithCancel(t.Context())
		opts := Options{Device: "/dev/nbd3", Volume: "photos", Servers: []string{"a", "b"}}
		done := make(chan error, 1)
		go func() { done <- run(ctx, opts, k, n.dial) }()
		synctest.Wait()
		defer cancel() // also when test gives up
		test(t, k, n, cancel, done)
	})
}

// result is how the watch ended; it must, within a minute of fake time.
func result(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		t.Fatal("the watch goes on")
		return nil
	}
}

func TestAttachGivesTheKernelWhatItNeeds(t *testing.T) {
	watched(t, photos(1), func(t *testing.T, k *fakeKernel, n *fakeNet, stop func(), done <-chan error) {
		d := k.device
		if d == nil {
			t.Fatalf("not connected: %v", <-done)
		}
		if d.index != 3 || d.size != 1<<30 || d.flags != multiConn || d.blockSize != 4096 ||
			d.timeout != DefaultTimeout || d.deadConnTimeout != DefaultDeadConnTimeout {
			t.Errorf("device %+v", d)
		}
		if k.sockets() != DefaultConnections {
			t.Errorf("%d connections, want %d", k.sockets(), DefaultConnections)
		}
		stop()
		if err := result(t, done); err != nil || k.device == nil {
			t.Errorf("after the watch was stopped: error %v, device %v; want it attached", err, k.device)
		}
	})
}

func TestAttachUsesOneConnectionWhereSeveralAreNotSafe(t *testing.T) {
	server := photos(1)
	server.flags &^= FlagCanMultiConn
	watched(t, server, func(t *testing.T, k *fakeKernel, n *fakeNet, stop func(), done <-chan error) {
		if k.sockets() != 1 {
			t.Errorf("%d connections, want 1", k.sockets())
		}
		stop()
		<-done
	})
}

func TestWatchReplacesDeadConnections(t *testing.T) {
	watched(t, photos(1), func(t *testing.T, k *fakeKernel, n *fakeNet, stop func(), done <-chan error) {
		k.kill(1)
		synctest.Wait()
		if k.sockets() != 4 {
			t.Errorf("%d sockets after one died, want 4", k.sockets())
		}
		n.set("a", nil)
		k.kill(4)
		time.Sleep(time.Minute)
		if k.sockets() != 0 {
			t.Errorf("%d sockets while no server answers", k.sockets())
		}
		n.set("b", photos(1)) // the gateway came back on another machine
		time.Sleep(2 * pollInterval)
		if k.sockets() != 4 {
			t.Errorf("%d sockets after a server came back, want 4", k.sockets())
		}
		stop()
		<-done
	})
}

// Replied writes may be gone: the file system must not go on as if nothing
// had happened.
func TestWatchRefusesAnotherIncarnation(t *testing.T) {
	for name, change := range map[string]func(*exportServer){
		"incarnation": func(s *exportServer) { s.description = "volume=ab incarnation=2" },
		"volume":      func(s *exportServer) { s.description = "volume=cd incarnation=1" },
		"size":        func(s *exportServer) { s.size = 1 << 31 },
		"read-only":   func(s *exportServer) { s.flags |= FlagReadOnly },
	} {
		watched(t, photos(1), func(t *testing.T, k *fakeKernel, n *fakeNet, stop func(), done <-chan error) {
			changed := photos(1)
			change(changed)
			n.set("a", changed)
			k.kill(4)
			err := result(t, done)
			if !errors.Is(err, ErrChanged) || len(k.calls) > 0 {
				t.Errorf("%s: error %v, kernel calls %v; want ErrChanged and none", name, err, k.calls)
			}
			if err != nil && !strings.Contains(err.Error(), "incarnation=1") {
				t.Errorf("%s: the error does not say why: %v", name, err)
			}
		})
	}
}

// A server that learnt more between two versions is still the same export.
func TestWatchIgnoresFlagsThatTheKernelDoes(t *testing.T) {
	watched(t, photos(1), func(t *testing.T, k *fakeKernel, n *fakeNet, stop func(), done <-chan error) {
		newer := photos(1)
		newer.flags |= 1 << 10 // CACHE
		n.set("a", newer)
		k.kill(2)
		synctest.Wait()
		if k.sockets() != 4 {
			t.Errorf("%d sockets, want 4", k.sockets())
		}
		stop()
		<-done
	})
}

func TestWatchEndsWhenDetached(t *testing.T) {
	watched(t, photos(1), func(t *testing.T, k *fakeKernel, n *fakeNet, stop func(), done <-chan error) {
		if err := detach(k, "/dev/nbd3", 3, false, func(string) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if err := result(t, done); err != nil {
			t.Errorf("the watch ended with %v", err)
		}
	})
}

func TestDetachLeavesADeviceInUse(t *testing.T) {
	inUse := func(string) error { return ErrInUse }
	k := newFakeKernel()
	if err := detach(k, "/dev/nbd3", 3, false, inUse); err == nil {
		t.Error("a device that is not attached was detached")
	}
	k.device = &setup{}
	if err := detach(k, "/dev/nbd3", 3, false, inUse); !errors.Is(err, ErrInUse) || k.device == nil {
		t.Errorf("error %v, device %v; want ErrInUse, and it attached", err, k.device)
	}
	if err := detach(k, "/dev/nbd3", 3, true, inUse); err != nil || k.device != nil {
		t.Errorf("by force: error %v, device %v", err, k.device)
	}
}

// The process that watched was killed, and all connections died meanwhile.
func TestWatchIsTakenOver(t *testing.T) {
	watched(t, photos(1), func(t *testing.T, k *fakeKernel, n *fakeNet, stop func(), done <-chan error) {
		stop()
		<-done
		k.alive = 0
		again := Options{Device: "/dev/nbd3", Volume: "photos", Servers: []string{"a"}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, again, k, n.dial) }()
		synctest.Wait()
		if k.sockets() != 4 {
			t.Errorf("%d sockets after the watch was taken over, want 4", k.sockets())
		}
		cancel()
		<-ended
	})
}

func TestAttachRefusesADeviceOfAnotherExport(t *testing.T) {
	watched(t, photos(1), func(t *testing.T, k *fakeKernel, n *fakeNet, stop func(), done <-chan error) {
		stop()
		<-done
		n.set("a", photos(2))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := run(ctx, Options{Device: "/dev/nbd3", Volume: "photos", Servers: []string{"a"}}, k, n.dial)
		if !errors.Is(err, ErrInUse) {
			t.Errorf("error %v, want ErrInUse", err)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{
		{Device: "/dev/sda"}, {Device: "/dev/nbd"}, {Device: "/dev/nbd-1"}, {},
		{Device: "/dev/nbd0", Connections: maxConnections + 1},
		{Device: "/dev/nbd0", Connections: -1},
		{Device: "/dev/nbd0", Timeout: time.Millisecond},
		{Device: "/dev/nbd0", BlockSize: 1000},
		{Device: "/dev/nbd0", BlockSize: 8192},
	} {
		n := &fakeNet{}
		if err := run(t.Context(), o, newFakeKernel(), n.dial); err == nil || len(n.dials) > 0 {
			t.Errorf("%+v: error %v after %d dials, want an error before the first", o, err, len(n.dials))
		}
	}
}
