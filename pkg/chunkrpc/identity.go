package chunkrpc

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/quic-go/quic-go"
)

// Role says what a certificate's owner is in its cluster.
type Role string

// The roles. A gateway may ask a node for everything, a monitor for Hello and
// Stat. A node serves; it may not yet ask another node for anything.
const (
	RoleGateway Role = "gateway"
	RoleNode    Role = "node"
	RoleMonitor Role = "monitor"
)

// scheme of the URI in a certificate.
const scheme = "rozobox"

// maxName bounds a cluster's name and an id, as chunk.NodeID does.
const maxName = 64

// Identity is who a peer is. It stands in its certificate as the one URI SAN
// rozobox://<cluster>/<role>/<id>; nothing else in the certificate counts, and
// the address from which a peer speaks does not either.
type Identity struct {
	Cluster string
	Role    Role
	ID      string
}

// String returns the identity as it stands in the certificate.
func (i Identity) String() string { return i.URI().String() }

// URI returns the URI SAN of the identity's certificate.
func (i Identity) URI() *url.URL {
	return &url.URL{Scheme: scheme, Host: i.Cluster, Path: "/" + string(i.Role) + "/" + i.ID}
}

// Validate reports what is wrong with the identity. The names are 1 to 64
// bytes of letters, digits, '.', '_' and '-', and a cluster's name is a valid
// host name besides.
func (i Identity) Validate() error {
	if !validName(i.Cluster) || slices.Contains(strings.Split(i.Cluster, "."), "") {
		return fmt.Errorf("cluster name %q is not valid", i.Cluster)
	}
	switch i.Role {
	case RoleGateway, RoleNode, RoleMonitor:
	default:
		return fmt.Errorf("role %q is unknown", i.Role)
	}
	if !validName(i.ID) {
		return fmt.Errorf("%s id %q is not valid", i.Role, i.ID)
	}
	return nil
}

func validName(s string) bool {
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			r == '.' || r == '_' || r == '-')
	}
	return len(s) > 0 && len(s) <= maxName && !strings.ContainsFunc(s, bad)
}

// IdentityOf returns the identity that a certificate states. It does not check
// who signed it.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 {
		return Identity{}, fmt.Errorf("certificate has %d URIs, not one", len(cert.URIs))
	}
	uri := cert.URIs[0]
	parts := strings.Split(uri.Path, "/")
	if len(parts) != 3 || parts[0] != "" {
		return Identity{}, fmt.Errorf("certificate's URI %q is not %s://cluster/role/id", uri, scheme)
	}
	id := Identity{Cluster: uri.Host, Role: Role(parts[1]), ID: parts[2]}
	if err := id.Validate(); err != nil {
		return Identity{}, fmt.Errorf("certificate's URI %q: %w", uri, err)
	}
	// Whatever else a URL may carry (a user, a query, escapes) shows here.
	if uri.String() != id.String() {
		return Identity{}, fmt.Errorf("certificate's URI %q is not %s", uri, id)
	}
	return id, nil
}

// Credentials prove an identity to peers of the same cluster. A node's
// certificate is for server authentication, the others' are for clients.
type Credentials struct {
	Identity    Identity
	Certificate tls.Certificate
	CA          *x509.CertPool // the cluster's own, and nothing else
}

// check reports why the credentials cannot serve one of the roles. It catches
// mixed up files before a peer has to.
func (c *Credentials) check(roles ...Role) error {
	if len(c.Certificate.Certificate) == 0 || c.CA == nil {
		return errors.New("credentials lack a certificate or the cluster's CA")
	}
	leaf, err := x509.ParseCertificate(c.Certificate.Certificate[0])
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	id, err := IdentityOf(leaf)
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	if id != c.Identity {
		return fmt.Errorf("credentials: the certificate says %s, not %s", id, c.Identity)
	}
	if !slices.Contains(roles, id.Role) {
		return fmt.Errorf("credentials: %s has the wrong role here", id)
	}
	return nil
}

// serverTLS refuses peers without a valid certificate during the handshake.
// What a valid one allows is judged after it, where a refusal can say why.
func (c *Credentials) serverTLS() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{alpn},
		Certificates:           []tls.Certificate{c.Certificate},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              c.CA,
		SessionTicketsDisabled: true, // every connection proves itself anew
	}
}

// clientTLS accepts exactly the wanted node, whatever its address is.
func (c *Credentials) clientTLS(want Identity) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{alpn},
		Certificates: []tls.Certificate{c.Certificate},
		// The standard check insists on a host name, which these certificates
		// do not have. VerifyConnection does all the rest of it.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			return verifyNode(state.PeerCertificates, c.CA, want)
		},
	}
}

func verifyNode(chain []*x509.Certificate, ca *x509.CertPool, want Identity) error {
	if len(chain) == 0 {
		return errors.New("peer has no certificate")
	}
	opts := x509.VerifyOptions{
		Roots:         ca,
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, cert := range chain[1:] {
		opts.Intermediates.AddCert(cert)
	}
	if _, err := chain[0].Verify(opts); err != nil {
		return err
	}
	got, err := IdentityOf(chain[0])
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("peer is %s, wanted %s", got, want)
	}
	return nil
}

// resetKey is the same after every restart of the same node, so that the new
// process can tell the peers of the old one, at their first packet, that their
// connection is gone. Only the owner of the private key can compute it.
func (c *Credentials) resetKey() (*quic.StatelessResetKey, error) {
	secret, err := x509.MarshalPKCS8PrivateKey(c.Certificate.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	var key quic.StatelessResetKey
	derived, err := hkdf.Key(sha256.New, secret, nil, "rozobox stateless reset", len(key))
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	copy(key[:], derived)
	return &key, nil
}
