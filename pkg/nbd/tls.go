package nbd

import (
	"bufio"
	"crypto/tls"
	"net"
)

// secureConfig returns a copy of c that admits nothing below TLS 1.2.
func secureConfig(c *tls.Config) *tls.Config {
	if c == nil {
		return nil
	}
	c = c.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	return c
}

// readerConn is a connection some of whose bytes were read ahead into r. What
// a client, or somebody between, sent behind STARTTLS thus becomes part of the
// TLS handshake, which it will break, and never an option.
type readerConn struct {
	net.Conn
	r *bufio.Reader
}

func (c readerConn) Read(p []byte) (int, error) { return c.r.Read(p) }
