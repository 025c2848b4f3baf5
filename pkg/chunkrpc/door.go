package chunkrpc

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
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

// handshake is one connection at the door. It leaves once.
type handshake struct {
	door *door
	addr net.Addr
	once sync.Once
	stop func() bool // ends the wait for its failure
}

type handshakeKey struct{}

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

// enter is called for each first packet of a connection.
func (d *door) enter(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	host := hostOf(info.RemoteAddr)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting >= maxHandshakes || d.hosts[host] >= maxHandshakesPerHost {
		return nil, errBusy
	}
	d.waiting++
	d.hosts[host]++
	h := &handshake{door: d, addr: info.RemoteAddr}
	ctx = context.WithValue(ctx, handshakeKey{}, h)
	h.stop = context.AfterFunc(ctx, func() { h.fail(context.Cause(ctx)) })
	return ctx, nil
}

// leave is called when the handshake has succeeded.
func (d *door) leave(ctx context.Context) {
	if h, ok := ctx.Value(handshakeKey{}).(*handshake); ok {
		h.stop()
		h.once.Do(h.release)
	}
}

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
		"peer", addr, "cause", cause, "others", silent)
}

func hostOf(addr net.Addr) string {
	if udp, ok := addr.(*net.UDPAddr); ok {
		return udp.IP.String()
	}
	return addr.String()
}
