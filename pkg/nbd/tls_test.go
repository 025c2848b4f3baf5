package nbd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// authority is a CA for tests.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, key := a.sign(template, template, nil)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, a.key = cert, key
	a.pool.AddCert(cert)
	return a
}

func (a *authority) sign(template, parent *x509.Certificate, by *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	return der, key
}

// issue returns a certificate for a server or a client called localhost.
func (a *authority) issue() tls.Certificate {
	a.t.Helper()
	der, key := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"},
		DNSNames:  []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// write leaves the files that libnbd looks for in a directory.
func (a *authority) write(cert tls.Certificate) (dir string) {
	a.t.Helper()
	dir = a.t.TempDir()
	key, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		a.t.Fatal(err)
	}
	for name, block := range map[string]pem.Block{
		"ca-cert.pem":     {Type: "CERTIFICATE", Bytes: a.cert.Raw},
		"client-cert.pem": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]},
		"client-key.pem":  {Type: "EC PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return dir
}

// secure upgrades the client's connection.
func (c *client) secure(a *authority, certs ...tls.Certificate) error {
	c.t.Helper()
	c.acked(optStartTLS, nil)
	conn := tls.Client(c.Conn, &tls.Config{RootCAs: a.pool, ServerName: "localhost", Certificates: certs})
	c.Conn = conn
	return conn.Handshake()
}

func TestTLS(t *testing.T) {
	a := newAuthority(t)
	device := newFullDevice(1 << 20)
	addr := serve(t, Options{Exports: exporting(device),
		TLS: &tls.Config{Certificates: []tls.Certificate{a.issue()}}})
	for _, m := range modes {
		c := greeted(t, addr)
		// What was agreed before does not count afterwards.
		c.acked(optExtendedHeaders, nil)
		c.acked(optSetMetaContext, metaData("disk", contextAllocation))
		if got := c.option(optStartTLS, []byte{1}); !reflect.DeepEqual(got, one(repErrInvalid)) {
			t.Errorf("STARTTLS with data: %+v", got)
		}
		if err := c.secure(a); err != nil {
			t.Fatal(err)
		}
		if got := c.option(optStartTLS, nil); !reflect.DeepEqual(got, one(repErrInvalid)) {
			t.Errorf("second STARTTLS: %+v", got)
		}
		if got := c.option(optSetMetaContext, metaData("disk")); !reflect.DeepEqual(got, one(repErrInvalid)) {
			t.Errorf("structured replies outlived STARTTLS: %+v", got)
		}
		c.begin(m)
		c.must(writeOf(0, pattern(1<<20), cmdFlagFUA))
		if got := c.must(command{kind: cmdRead, length: 1 << 20}); !reflect.DeepEqual(got, pattern(1<<20)) {
			t.Error("data differ")
		}
		c.disconnect()
	}
	// TLS is only offered.
	connected(t, addr, simple).alive()
}

// TestForcedTLS: without TLS only STARTTLS and ABORT are answered.
func TestForcedTLS(t *testing.T) {
	a := newAuthority(t)
	addr := serve(t, Options{Exports: exporting(newFullDevice(4096)), RequireTLS: true,
		TLS: &tls.Config{Certificates: []tls.Certificate{a.issue()}}})
	c := greeted(t, addr)
	for _, option := range []uint32{optList, 4, optInfo, optGo, optStructuredReply,
		optListMetaContext, optSetMetaContext, optExtendedHeaders, 99} {
		if got := c.option(option, []byte("some data")); !reflect.DeepEqual(got, one(repErrTLSReqd)) {
			t.Errorf("option %d: %+v", option, got)
		}
	}
	if err := c.secure(a); err != nil {
		t.Fatal(err)
	}
	c.begin(structured)
	c.alive()

	c = greeted(t, addr)
	c.sendOption(optExportName, nil)
	c.closed()

	c = greeted(t, addr)
	c.acked(optAbort, nil)
	c.closed()
}

// TestClientCertificates: one of the CA is let in, none or a foreign one not.
func TestClientCertificates(t *testing.T) {
	a, foreign := newAuthority(t), newAuthority(t)
	addr := serve(t, Options{Exports: exporting(newFullDevice(4096)), RequireTLS: true, TLS: &tls.Config{
		Certificates: []tls.Certificate{a.issue()}, ClientCAs: a.pool,
		ClientAuth: tls.RequireAndVerifyClientCert,
	}})
	c := greeted(t, addr)
	if err := c.secure(a, a.issue()); err != nil {
		t.Fatal(err)
	}
	c.begin(simple)
	c.alive()
	for name, certs := range map[string][]tls.Certificate{"none": nil, "foreign": {foreign.issue()}} {
		c := greeted(t, addr)
		_ = c.secure(a, certs...) // TLS 1.3 tells the client when it reads
		c.sendOption(optList, nil)
		if n, err := c.Read(make([]byte, 100)); err == nil {
			t.Errorf("%s: %d bytes were sent", name, n)
		}
	}
}

// TestOldTLSIsRefused: below 1.2, whatever the configuration says.
func TestOldTLSIsRefused(t *testing.T) {
	a := newAuthority(t)
	addr := serve(t, Options{Exports: exporting(newFullDevice(4096)),
		TLS: &tls.Config{Certificates: []tls.Certificate{a.issue()}, MinVersion: tls.VersionTLS10}})
	c := greeted(t, addr)
	c.acked(optStartTLS, nil)
	conn := tls.Client(c.Conn, &tls.Config{RootCAs: a.pool, ServerName: "localhost",
		MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err := conn.Handshake(); err == nil {
		t.Error("TLS 1.1 is accepted")
	}
}

// TestPlaintextBehindSTARTTLS: what somebody between slips in unencrypted is
// not obeyed later.
func TestPlaintextBehindSTARTTLS(t *testing.T) {
	a := newAuthority(t)
	addr := serve(t, Options{Exports: exporting(newFullDevice(4096)),
		TLS: &tls.Config{Certificates: []tls.Certificate{a.issue()}}})
	c := greeted(t, addr)
	c.write(append(optionHeader(optStartTLS, 0), optionHeader(optList, 0)...))
	c.optionReplies(optStartTLS)
	conn := tls.Client(c.Conn, &tls.Config{RootCAs: a.pool, ServerName: "localhost"})
	if err := conn.Handshake(); err == nil {
		t.Error("the handshake went on")
	}
}

// TestHelloBehindSTARTTLS: a client that does not wait for the ACK is served.
func TestHelloBehindSTARTTLS(t *testing.T) {
	a := newAuthority(t)
	addr := serve(t, Options{Exports: exporting(newFullDevice(4096)),
		TLS: &tls.Config{Certificates: []tls.Certificate{a.issue()}}})
	c := greeted(t, addr)
	eager := &eagerConn{Conn: c.Conn, plain: &client{t: t, Conn: c.Conn}, prefix: optionHeader(optStartTLS, 0)}
	conn := tls.Client(eager, &tls.Config{RootCAs: a.pool, ServerName: "localhost"})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.Conn = conn
	c.begin(simple)
	c.alive()
}

// eagerConn sends prefix and the first TLS message in one write, and reads the
// option's reply before the first TLS message.
type eagerConn struct {
	net.Conn
	plain  *client
	prefix []byte
	acked  bool
}

func (e *eagerConn) Write(p []byte) (int, error) {
	head := len(e.prefix)
	p, e.prefix = append(e.prefix, p...), nil
	n, err := e.Conn.Write(p)
	return n - head, err
}

func (e *eagerConn) Read(p []byte) (int, error) {
	if !e.acked {
		e.acked = true
		e.plain.optionReplies(optStartTLS)
	}
	return e.Conn.Read(p)
}
