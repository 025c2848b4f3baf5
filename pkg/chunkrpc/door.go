package chunkrpc

import (
	"log/slog"
	"net"
	"sync"
	"time"
)

// door bounds the connections that have not proved who they are, and tells
// the log about those that fail to.
type door struct {
	log *slog.Logger

	mu      sync.Mutex // guards all below; never kept while waiting
	waiting int
	hosts   map[string]int // of waiting
	logged  time.Time
	silent  int // failures since logged that were not
}

// handshake is one connection at the door. It leaves or fails, once.
type handshake struct {
	door *door
	addr net.Addr
	once sync.Once
	stop func() bool // over QUIC: ends the wait for its failure
}

func newDoor(log *slog.Logger) *door {
	return &door{log: log, hosts: make(map[string]int)}
}

// crowded tells whether newcomers must prove their address first: QUIC's Retry,
// which costs them a round trip and the server next to nothing.
func (d *door) crowded(net.Addr) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting >= retryHandshakes
}

// enter is called for each newcomer.
func (d *door) enter(addr net.Addr) (*handshake, error) {
	host := hostOf(addr)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting >= maxHandshakes || d.hosts[host] >= maxHandshakesPerHost {
		return nil, errBusy
	}
	d.waiting++
	d.hosts[host]++
	return &handshake{door: d, addr: addr}, nil
}

// leave is called when the handshake has succeeded.
func (h *handshake) leave() { h.once.Do(h.release) }

func (h *handshake) fail(cause error) {
	h.once.Do(func() {
		h.release()
		h.door.report(h.addr, cause)
	})
}

func (h *handshake) release() {
	d, host := h.door, hostOf(h.addr)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting--
	if d.hosts[host]--; d.hosts[host] == 0 {
		delete(d.hosts, host)
	}
}

// report logs a failed handshake, but not each of a flood.
func (d *door) report(addr net.Addr, cause error) {
	d.mu.Lock()
	now, silent := time.Now(), d.silent
	if now.Sub(d.logged) < logEvery {
		d.silent++
		d.mu.Unlock()
		return
	}
	d.logged, d.silent = now, 0
	d.mu.Unlock()
	d.log.Warn("connection refused: the handshake failed",
		"peer", addr, "error", cause, "others", silent)
}

func hostOf(addr net.Addr) string {
	switch addr := addr.(type) {
	case *net.UDPAddr:
		return addr.IP.String()
	case *net.TCPAddr:
		return addr.IP.String()
	}
	return addr.String()
}
