package chunkrpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
)

func TestIdentityComesBackFromItsCertificate(t *testing.T) {
	ca := newAuthority(t)
	for _, id := range []Identity{
		{"home", RoleGateway, "gw"}, {"a.b-c_d", RoleNode, "pi3"}, {"X", RoleMonitor, string(maxID)},
	} {
		creds := ca.issue(t, id, nil)
		leaf, err := x509.ParseCertificate(creds.Certificate.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if got, err := IdentityOf(leaf); err != nil || got != id {
			t.Errorf("%s became %s, %v", id, got, err)
		}
	}
}

func TestI8CertificatesWithAnotherURIHaveNoIdentity(t *testing.T) {
	for _, uri := range []string{
		"", "http://test/gateway/gw", "rozobox://test/gateway", "rozobox://test/gateway/gw/x",
		"rozobox://test/king/gw", "rozobox://test/gateway/", "rozobox:///gateway/gw",
		"rozobox://test:1/gateway/gw", "rozobox://me@test/gateway/gw", "rozobox://test/gateway/gw?a=b",
		"rozobox://test/gateway/gw#x", "rozobox://test/gateway/g%77", "rozobox://test/gateway/g%2fw",
		"rozobox:test/gateway/gw", "rozobox://test/gateway/g w", "rozobox://test../gateway/gw",
		"rozobox://test/gateway/" + strings.Repeat("x", maxName+1),
	} {
		cert := &x509.Certificate{}
		if uri != "" {
			u, err := url.Parse(uri)
			if err != nil {
				t.Fatal(err)
			}
			cert.URIs = []*url.URL{u}
		}
		if id, err := IdentityOf(cert); err == nil {
			t.Errorf("%q is %s", uri, id)
		}
	}
	two := Identity{"test", RoleGateway, "gw"}.URI()
	if id, err := IdentityOf(&x509.Certificate{URIs: []*url.URL{two, two}}); err == nil {
		t.Errorf("two URIs are %s", id)
	}
}

// Each of these peers gets nothing, and both sides say why.
func TestI8PeersThatTheServerRefuses(t *testing.T) {
	overBoth(t, func(t *testing.T, over Transport) {
		ca, other := newAuthority(t), newAuthority(t)
		gateway := Identity{"test", RoleGateway, "gw"}
		expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
		early := func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }
		server := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
		client := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
		for name, test := range map[string]struct {
			creds           Credentials
			clientSays, log string
		}{
			"none":          {Credentials{}, "certificate required", "didn't provide a certificate"},
			"another CA":    {other.issue(t, gateway, nil), "unknown certificate authority", "unknown authority"},
			"expired":       {ca.issue(t, gateway, expired), "expired certificate", "expired"},
			"not yet valid": {ca.issue(t, gateway, early), "expired certificate", "not yet valid"},
			"for servers":   {ca.issue(t, gateway, server), "bad certificate", "incompatible key usage"},
			"no URI": {ca.issue(t, gateway, func(c *x509.Certificate) { c.URIs = nil }),
				"has 0 URIs", "has 0 URIs"},
			"another cluster": {ca.issue(t, Identity{"office", RoleGateway, "gw"}, nil),
				"rozobox://office/gateway/gw is not of cluster test", "not of cluster test"},
			"a node": {ca.issue(t, Identity{"test", RoleNode, "pi4"}, client),
				"a node may not use a node", "a node may not use a node"},
		} {
			t.Run(name, func(t *testing.T) {
				log := newLines(t)
				s := serveWith(t, ServerOptions{
					Transport: over, Addr: "127.0.0.1:0", Credentials: ca.node(t, "pi3"),
					Store: chunktest.NewMemory("pi3"), Logger: log.logger(),
				})
				err := strangerSays(t, over, s.Addr(), test.creds)
				if err == nil || !strings.Contains(err.Error(), test.clientSays) {
					t.Errorf("client: %v, want %q", err, test.clientSays)
				}
				log.wait(t, test.log)
			})
		}
	})
}

// strangerSays dials without a Client's own check of what it has.
func strangerSays(t *testing.T, over Transport, addr net.Addr, creds Credentials) error {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	config := creds.clientTLS(Identity{})
	config.VerifyConnection = nil
	if creds.CA == nil {
		config.Certificates = nil
	}
	conn, err := dialAs(t, over, addr, config)
	if err != nil {
		return err
	}
	s, err := newSession(ctx, conn, "stranger", clientID{9})
	if err != nil {
		return err
	}
	defer s.end(errClosed)
	s.start(ctx)
	_, err = s.ask(ctx, laneControl, kindHello, nil)
	return err
}

func TestI8NodesThatTheClientRefuses(t *testing.T) {
	overBoth(t, func(t *testing.T, over Transport) {
		ca, other := newAuthority(t), newAuthority(t)
		node := Identity{"test", RoleNode, "pi3"}
		serverUse := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
		for name, test := range map[string]struct {
			creds Credentials
			want  string
		}{
			"another CA":      {other.issue(t, node, nil), "unknown authority"},
			"another node":    {ca.node(t, "pi4"), "peer is rozobox://test/node/pi4"},
			"another cluster": {ca.issue(t, Identity{"office", RoleNode, "pi3"}, nil), "peer is rozobox://office/node/pi3"},
			"a gateway":       {ca.issue(t, Identity{"test", RoleGateway, "pi3"}, serverUse), "peer is rozobox://test/gateway/pi3"},
			"expired": {ca.issue(t, node, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
				"expired"},
			"for clients": {ca.issue(t, node, func(c *x509.Certificate) {
				c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			}), "incompatible key usage"},
		} {
			t.Run(name, func(t *testing.T) {
				addr := impostor(t, over, test.creds, ca)
				gateway := ca.gateway(t, "gw")
				c := NewClient(ClientOptions{Node: "pi3", Transport: over, Addr: addr.String(), Credentials: gateway})
				defer c.Close()
				_, err := c.Hello(t.Context())
				if !errors.Is(err, chunk.ErrUnavailable) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("client: %v, want %q", err, test.want)
				}
				if err != nil && !strings.Contains(err.Error(), "node pi3 at "+addr.String()) {
					t.Errorf("client: %v does not name the node", err)
				}
			})
		}
	})
}

func TestMonitorsMayOnlyAskForHelloAndStat(t *testing.T) {
	overBoth(t, func(t *testing.T, over Transport) {
		ca := newAuthority(t)
		memory := chunktest.NewMemory("pi3")
		s := serve(t, over, ca, memory)
		term := grant(t, memory)
		m := dial(t, s, ca.issue(t, Identity{"test", RoleMonitor, "screen"}, nil))
		ctx := t.Context()
		if _, err := m.Hello(ctx); err != nil {
			t.Error(err)
		}
		if _, err := m.Stat(ctx); err != nil {
			t.Error(err)
		}
		calls := map[string]func(chunk.Store) error{
			"grant": func(s chunk.Store) error { _, err := s.Grant(ctx, term.Volume, 2, 2); return err },
			"beat":  func(s chunk.Store) error { _, err := s.Beat(ctx, term); return err },
			"superblock": func(s chunk.Store) error {
				_, err := s.Superblock(ctx, term.Volume)
				return err
			},
			"put superblock": func(s chunk.Store) error { return s.PutSuperblock(ctx, term, chunk.Superblock{}) },
			"write": func(s chunk.Store) error {
				_, err := s.Write(ctx, term, []chunk.Op{put(1, 1, make([]byte, chunk.MaxChunkSize))})
				return err
			},
			"read": func(s chunk.Store) error { _, err := s.Read(ctx, term, make([]chunk.Get, 1)); return err },
			"sync": func(s chunk.Store) error { _, err := s.Sync(ctx, term); return err },
			"list": func(s chunk.Store) error {
				_, _, err := s.List(ctx, term, chunk.ListRequest{Limit: 1})
				return err
			},
		}
		for name, call := range calls {
			for _, s := range []chunk.Store{m, m.Background()} {
				if err := call(s); !errors.Is(err, chunk.ErrInvalid) || !strings.Contains(err.Error(), "a monitor may not "+name) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		if n := len(memory.Unsynced()); n != 0 {
			t.Errorf("the monitor has changed the store: %d changes", n)
		}
		if _, err := memory.Beat(ctx, term); err != nil {
			t.Errorf("the monitor has ended a term: %v", err)
		}
	})
}

func TestMixedUpCredentialsAreNamed(t *testing.T) {
	ca := newAuthority(t)
	gateway, node := ca.gateway(t, "gw"), ca.node(t, "pi3")
	mixed := gateway
	mixed.Identity.ID = "other"
	for want, creds := range map[string]Credentials{
		"wrong role here":    gateway,
		"lack a certificate": {},
		"the certificate says rozobox://test/gateway/gw": mixed,
		"credentials: x509": {Certificate: tls.Certificate{Certificate: [][]byte{{1}}}, CA: ca.Pool()},
	} {
		if _, err := Listen(ServerOptions{Addr: "127.0.0.1:0", Credentials: creds}); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("Listen: %v, want %q", err, want)
		}
	}
	c := NewClient(ClientOptions{Node: "pi3", Addr: "127.0.0.1:1", Credentials: node})
	defer c.Close()
	if _, err := c.Hello(t.Context()); err == nil || !strings.Contains(err.Error(), "wrong role here") {
		t.Errorf("client of a node: %v", err)
	}
}

func TestWrongNodeBehindTheRightCertificate(t *testing.T) {
	overBoth(t, func(t *testing.T, over Transport) {
		ca := newAuthority(t)
		c := dial(t, serve(t, over, ca, chunktest.NewMemory("pi4")), ca.gateway(t, "gw"))
		_, err := c.Hello(t.Context())
		if !errors.Is(err, chunk.ErrUnavailable) || !strings.Contains(err.Error(), `calls itself "pi4"`) {
			t.Errorf("hello: %v", err)
		}
	})
}
