//go:build !linux

package nbd

import "net"

// tune leaves the socket as the net package makes it: without delay, with
// keepalive.
func tune(net.Conn) error { return nil }

// hungUp cannot be known here before the stream has been read to its end.
func hungUp(net.Conn) bool { return false }
