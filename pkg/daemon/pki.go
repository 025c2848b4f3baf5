package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"rozobox/pkg/chunkrpc"
)

// Certificates are valid from the beginning of Unix time to the last moment
// that X.509 can say, which RFC 5280 defines as "no end". A Raspberry Pi has
// no clock of its own and may start in 1970, and a storage cluster that stops
// on a calendar day loses more than it guards: what is trusted is the CA's
// key, and a new CA replaces all of it.
var (
	validFrom  = time.Unix(0, 0).UTC()
	validUntil = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// serialBits is the size of random certificate serial numbers; the standard
// asks for at least 64 unpredictable bits and at most 159.
const serialBits = 128

// pair is a certificate with its private key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newCA makes a cluster's own certificate authority.
func newCA(cluster string) (pair, error) {
	return sign(pair{}, &x509.Certificate{
		Subject:               pkix.Name{CommonName: cluster + " CA", Organization: []string{"Rozobox"}},
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true, // it signs processes, never another CA
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	})
}

// issue makes the certificate of one process: its one URI says who it is, and
// it serves for both ends of a connection.
func (ca pair) issue(id chunkrpc.Identity) (pair, error) {
	return sign(ca, &x509.Certificate{
		Subject:     pkix.Name{CommonName: id.ID, Organization: []string{"Rozobox"}},
		URIs:        []*url.URL{id.URI()},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

// sign fills in what all certificates share and has ca sign it; the zero ca
// makes it sign itself. ECDSA P-256 is the one curve that every TLS has.
func sign(ca pair, template *x509.Certificate) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return pair{}, fmt.Errorf("make a serial number: %w", err)
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = serial, validFrom, validUntil
	if ca.cert == nil {
		ca = pair{cert: template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return pair{}, fmt.Errorf("make a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	return pair{cert: cert, key: key}, err
}

func (p pair) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})
}

func (p pair) keyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// loadCA reads what newCA made from its folder.
func loadCA(dir string) (pair, error) {
	c, err := loadPair(filepath.Join(dir, caCert), filepath.Join(dir, caKey))
	if err != nil {
		return pair{}, err
	}
	key, ok := c.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !c.Leaf.IsCA {
		return pair{}, fmt.Errorf("%s: not the CA that init made", dir)
	}
	return pair{cert: c.Leaf, key: key}, nil
}

// load reads a process's credentials and checks that they are those of the
// role and id that its configuration file claims.
func (f Files) load(cluster string, role chunkrpc.Role, id string) (chunkrpc.Credentials, error) {
	want := chunkrpc.Identity{Cluster: cluster, Role: role, ID: id}
	cert, err := loadPair(f.Certificate, f.Key)
	if err != nil {
		return chunkrpc.Credentials{}, err
	}
	got, err := chunkrpc.IdentityOf(cert.Leaf)
	if err != nil {
		return chunkrpc.Credentials{}, fmt.Errorf("%s: %w", f.Certificate, err)
	}
	if got != want {
		return chunkrpc.Credentials{}, fmt.Errorf("%s: is the certificate of %s, but the "+
			"configuration is that of %s", f.Certificate, got.URI(), want.URI())
	}
	pool, err := loadPool(f.CA)
	return chunkrpc.Credentials{Identity: want, Certificate: cert, CA: pool}, err
}

func (c *ChunkserverConfig) credentials() (chunkrpc.Credentials, error) {
	return c.load(c.Cluster, chunkrpc.RoleNode, c.ID)
}

func (c *GatewayConfig) credentials() (chunkrpc.Credentials, error) {
	return c.load(c.Cluster, chunkrpc.RoleGateway, c.ID)
}

func (c *MonitorConfig) credentials() (chunkrpc.Credentials, error) {
	return c.load(c.Cluster, chunkrpc.RoleMonitor, c.ID)
}

// loadPair reads a certificate and its key, and refuses a key that others on
// this machine can read.
func loadPair(cert, key string) (tls.Certificate, error) {
	info, err := os.Stat(key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("read private key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return tls.Certificate{}, fmt.Errorf("%s: mode %04o lets others use this private key; "+
			"run: chmod 600 %s", key, info.Mode().Perm(), key)
	}
	c, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("load %s with %s: %w", cert, key, err)
	}
	return c, nil
}

var errNoCertificate = errors.New("no PEM certificate in it")

func loadPool(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read CA certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: %w", path, errNoCertificate)
	}
	return pool, nil
}

// The values of nbd.tls.
const (
	tlsOff      = "off"
	tlsAllowed  = "allowed"
	tlsRequired = "required"
)

// tlsConfig returns what NBD clients are offered; nil for no TLS.
func (n *NBD) tlsConfig() (*tls.Config, error) {
	if n.TLS == tlsOff {
		return nil, nil
	}
	cert, err := loadPair(n.Certificate, n.Key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	if n.ClientCA != "" {
		config.ClientAuth = tls.RequireAndVerifyClientCert
		if config.ClientCAs, err = loadPool(n.ClientCA); err != nil {
			return nil, err
		}
	}
	return config, nil
}
