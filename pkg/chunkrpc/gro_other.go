//go:build !linux

package chunkrpc

import "net"

// group leaves the socket as it is: only Linux groups what is received.
func group(udp udpConn) net.PacketConn { return udp }
