package daemon

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"rozobox/pkg/chunkrpc"
)

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nbd.sock")
	l, err := listenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	if _, err := listenUnix(path); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("listening twice: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as after kill -9
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = listenUnix(path); err != nil {
		t.Fatalf("over a dead socket: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// A path that was mistyped must not cost a file.
func TestUnixSocketReplacesNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(path); err == nil {
		t.Error("listened in place of a file")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "mine" {
		t.Errorf("the file is %q, %v", text, err)
	}
}

// pipes is a listener whose clients are the far ends of pipes.
type pipes struct {
	net.Listener
	conns chan net.Conn
}

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func TestI9AdminConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := pipes{conns: make(chan net.Conn, 3)}
		l := limit(inner, 2)
		accepted := make(chan net.Conn, 3)
		go func() {
			defer close(accepted)
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				accepted <- c
			}
		}()
		for range 3 {
			c, _ := net.Pipe()
			inner.conns <- c
		}
		close(inner.conns)
		synctest.Wait()
		if n := len(accepted); n != 2 {
			t.Errorf("%d connections at once, want 2", n)
		}
		for c := range accepted { // each gives its turn to the next
			c.Close()
			c.Close()
		}
		if n := len(l.(*limited).slots); n != 0 {
			t.Errorf("%d turns are not given back", n)
		}
	})
}

func TestNBDTLS(t *testing.T) {
	dir := t.TempDir()
	ca, err := newCA("lab")
	if err != nil {
		t.Fatal(err)
	}
	tr := tree{}
	if err := tr.addPart(ca, chunkrpc.RoleGateway, "lab", "g"); err != nil {
		t.Fatal(err)
	}
	if err := tr.write(dir); err != nil {
		t.Fatal(err)
	}
	n := NBD{TLS: tlsOff}
	if config, err := n.tlsConfig(); config != nil || err != nil {
		t.Errorf("off: %v, %v", config, err)
	}
	n = NBD{TLS: tlsRequired, Certificate: filepath.Join(dir, "g", "g.crt"), Key: filepath.Join(dir, "g", "g.key")}
	config, err := n.tlsConfig()
	if err != nil || config.ClientAuth != tls.NoClientCert {
		t.Errorf("without client certificates: %+v, %v", config, err)
	}
	n.ClientCA = filepath.Join(dir, "g", "ca.crt")
	config, err = n.tlsConfig()
	if err != nil || config.ClientAuth != tls.RequireAndVerifyClientCert || config.ClientCAs == nil {
		t.Errorf("with client certificates: %+v, %v", config, err)
	}
	n.ClientCA = filepath.Join(dir, "none")
	if _, err := n.tlsConfig(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing CA: %v", err)
	}
}
