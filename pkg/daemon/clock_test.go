package daemon

import (
	"crypto/x509"
	"testing"
	"time"

	"rozobox/pkg/chunkrpc"
)

// TestToldClockSetBackAYear: the dates of certificates are all that the cluster
// asks a wall clock for. Whatever a node's or a gateway's says, it goes on.
func TestToldClockSetBackAYear(t *testing.T) {
	ca, err := newCA("school")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	now := time.Now()
	for _, role := range []chunkrpc.Role{chunkrpc.RoleNode, chunkrpc.RoleGateway} {
		p, err := ca.issue(chunkrpc.Identity{Cluster: "school", Role: role, ID: "pi3"})
		if err != nil {
			t.Fatal(err)
		}
		for _, clock := range []time.Time{now.AddDate(-1, 0, 0), time.Unix(1, 0), now.AddDate(100, 0, 0)} {
			_, err := p.cert.Verify(x509.VerifyOptions{
				Roots: roots, CurrentTime: clock, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
			})
			if err != nil {
				t.Errorf("a %s's certificate at %s: %v", role, clock, err)
			}
		}
	}
}
