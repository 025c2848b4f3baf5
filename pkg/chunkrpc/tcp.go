package chunkrpc

import (
	"bufio"
	"context"
	"net"
)

// dialTCP makes a TCP connection that does not outlive its peer for ever.
func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: tcpKeepAlive(), Control: limitSilence}
	d.SetMultipathTCP(false) // on which some of that does not work
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return conn, err
}

// listenTCP takes an address of this machine. Accepted connections have the
// same settings.
func listenTCP(addr string) (net.Listener, error) {
	l := net.ListenConfig{KeepAliveConfig: tcpKeepAlive(), Control: limitSilence}
	l.SetMultipathTCP(false)
	return l.Listen(context.Background(), "tcp", addr)
}

// tcpKeepAlive has the kernel look after a TCP connection on which nothing is
// under way.
func tcpKeepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{
		Enable: true, Idle: tcpTimeout / 2, Interval: tcpTimeout / 6, Count: 3,
	}
}

// readAhead takes from the kernel what it has, several records of TLS in one
// call; TLS by itself takes hardly more than one.
type readAhead struct {
	net.Conn
	in *bufio.Reader
}

func newReadAhead(c net.Conn) readAhead { return readAhead{c, bufio.NewReaderSize(c, tcpReadSize)} }

func (c readAhead) Read(p []byte) (int, error) { return c.in.Read(p) }
