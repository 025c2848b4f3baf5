package chunkrpc

import (
	"crypto/x509"
	"testing"

	"rozobox/pkg/chunkrpc/rpctest"
)

// authority is a cluster's CA for tests.
type authority struct {
	*rpctest.Authority
}

func newAuthority(testing.TB) *authority { return &authority{rpctest.NewAuthority()} }

// issue returns credentials that are valid for id; tweak may spoil them.
func (a *authority) issue(_ testing.TB, id Identity, tweak func(*x509.Certificate)) Credentials {
	usage := x509.ExtKeyUsageClientAuth
	if id.Role == RoleNode {
		usage = x509.ExtKeyUsageServerAuth
	}
	return Credentials{Identity: id, CA: a.Pool(), Certificate: a.Issue(id.URI(), usage, tweak)}
}

func (a *authority) gateway(t testing.TB, id string) Credentials {
	return a.issue(t, Identity{"test", RoleGateway, id}, nil)
}

func (a *authority) node(t testing.TB, id string) Credentials {
	return a.issue(t, Identity{"test", RoleNode, id}, nil)
}
