package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/chunkrpc"
)

func labOptions(dir string) InitOptions {
	return InitOptions{Dir: dir, Name: "lab", Nodes: demoNodes(6)}
}

// files returns the modes of all files below dir.
func files(t *testing.T, dir string) map[string]fs.FileMode {
	t.Helper()
	modes := map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		rel, _ := filepath.Rel(dir, path)
		modes[rel] = info.Mode()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return modes
}

func TestInitMakesAllFolders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "lab")
	if err := Init(labOptions(dir)); err != nil {
		t.Fatal(err)
	}
	want := map[string]fs.FileMode{"ca/ca.crt": 0o644, "ca/ca.key": 0o600}
	for _, part := range []string{"gateway", "monitor", "pi1", "pi2", "pi3", "pi4", "pi5", "pi6"} {
		config := part
		if strings.HasPrefix(part, "pi") {
			config = "chunkserver"
		}
		want[part+"/"+config+".toml"] = 0o644
		want[part+"/"+part+".crt"] = 0o644
		want[part+"/"+part+".key"] = 0o600
		want[part+"/ca.crt"] = 0o644
	}
	if got := files(t, dir); !maps.Equal(got, want) {
		t.Errorf("init made %v, want %v", got, want)
	}
}

// The folders go to other machines: nothing in them may point back.
func TestInitFoldersCanBeMoved(t *testing.T) {
	root := t.TempDir()
	if err := Init(labOptions(filepath.Join(root, "lab"))); err != nil {
		t.Fatal(err)
	}
	for part, file := range map[string]string{
		"pi1": chunkserverFile, gatewayDir: gatewayFile, monitorDir: monitorFile,
	} {
		moved := filepath.Join(root, "elsewhere-"+part)
		if err := os.Rename(filepath.Join(root, "lab", part), moved); err != nil {
			t.Fatal(err)
		}
		if err := verifyFolder(moved); err != nil {
			t.Errorf("%s: %v", part, err)
		}
		text, err := os.ReadFile(filepath.Join(moved, file))
		if err != nil || strings.Contains(string(text), root) {
			t.Errorf("%s names %s: %v", file, root, err)
		}
	}
}

func TestInitRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*InitOptions)
		want   string
	}{
		"no dir":            {func(o *InitOptions) { o.Dir = "" }, "--dir: missing"},
		"no name":           {func(o *InitOptions) { o.Name = "" }, "--name: bad name"},
		"bad name":          {func(o *InitOptions) { o.Name = "a/b" }, `--name: bad name "a/b"`},
		"few nodes":         {func(o *InitOptions) { o.Nodes = o.Nodes[:5] }, "--node: 5 nodes"},
		"duplicate id":      {func(o *InitOptions) { o.Nodes[5].ID = "pi1" }, `id "pi1" is there twice`},
		"duplicate address": {func(o *InitOptions) { o.Nodes[5].Addr = o.Nodes[0].Addr }, "has the address of pi1"},
		"bad id":            {func(o *InitOptions) { o.Nodes[5].ID = "../x" }, `bad name "../x"`},
		"reserved id":       {func(o *InitOptions) { o.Nodes[5].ID = "Gateway" }, `id "Gateway"`},
		"bad address":       {func(o *InitOptions) { o.Nodes[5].Addr = "10.0.0.1" }, `bad address "10.0.0.1"`},
		"bad host":          {func(o *InitOptions) { o.Nodes[5].Addr = "a\x01:1" }, "odd characters"},
		"bad nbd":           {func(o *InitOptions) { o.NBD = "x" }, `--nbd: bad address "x"`},
		"bad transport":     {func(o *InitOptions) { o.Transport = "tcp" }, `--transport: bad transport "tcp"`},
		"bad admin":         {func(o *InitOptions) { o.Admin = ":0" }, `--admin: bad address ":0"`},
		"bad width":         {func(o *InitOptions) { o.Volume.DataChunks = 2 }, "--data, --parity"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "lab")
			opts := labOptions(dir)
			c.change(&opts)
			if err := Init(opts); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if left, err := os.ReadDir(dir); err == nil && len(left) > 0 {
				t.Errorf("init left %v", left)
			}
		})
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "pi3")
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Init(labOptions(dir))
	if !errors.Is(err, errExists) || !strings.Contains(err.Error(), mine) {
		t.Errorf("init over %s: %v", mine, err)
	}
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("init left %v", got)
	}
	if err := os.Remove(mine); err != nil {
		t.Fatal(err)
	}
	if err := Init(labOptions(dir)); err != nil {
		t.Errorf("init again: %v", err)
	}
	if err := Init(labOptions(dir)); !errors.Is(err, errExists) {
		t.Errorf("init twice: %v", err)
	}
}

// A move that fails half-way is taken back.
func TestInitTakesBackWhatItMoved(t *testing.T) {
	dir, stage := t.TempDir(), t.TempDir()
	tr := tree{"a/x": nil, "b/x": nil}
	if err := tr.write(stage); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(stage, "b")); err != nil {
		t.Fatal(err)
	}
	if err := tr.move(stage, dir); err == nil {
		t.Error("a folder that is missing was moved")
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("the failed move left %v", got)
	}
}

func TestAddNode(t *testing.T) {
	dir := t.TempDir()
	if err := Init(labOptions(dir)); err != nil {
		t.Fatal(err)
	}
	gateway := filepath.Join(dir, gatewayDir, gatewayFile)
	old, err := os.ReadFile(gateway)
	if err != nil {
		t.Fatal(err)
	}
	for want, n := range map[string]Node{
		`id "pi1" is there twice`: {"pi1", "10.0.0.9:7400"},
		"has the address of pi1":  {"pi9", "127.0.0.1:7401"},
		`id "monitor"`:            {"monitor", "10.0.0.9:7400"},
		`bad address "10.0.0.9"`:  {"pi9", "10.0.0.9"},
		`bad name "pi 9"`:         {"pi 9", "10.0.0.9:7400"},
	} {
		if err := AddNode(dir, n); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("adding %v: %v, want %q", n, err, want)
		}
	}
	added := Node{"pi9", "10.0.0.9:7400"}
	if err := AddNode(dir, added); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(gateway)
	if err != nil || !strings.HasPrefix(string(text), string(old)) {
		t.Errorf("the gateway's file was not kept: %v\n%s", err, text)
	}
	g, err := LoadGateway(gateway)
	if err != nil || !slices.Equal(g.Nodes, append(demoNodes(6), added)) {
		t.Errorf("the gateway's nodes are %v, %v", g.Nodes, err)
	}
	m, err := LoadMonitor(filepath.Join(dir, monitorDir, monitorFile))
	if err != nil || !slices.Equal(m.Nodes, g.Nodes) {
		t.Errorf("the monitor's nodes are %v, %v", m.Nodes, err)
	}
	if err := AddNode(dir, added); !errors.Is(err, errExists) {
		t.Errorf("adding it again: %v", err)
	}
}

func TestAllPartsOfAClusterHaveItsTransport(t *testing.T) {
	for _, want := range []chunkrpc.Transport{chunkrpc.QUIC, chunkrpc.TLS} {
		dir, opts := t.TempDir(), labOptions("")
		opts.Dir, opts.Transport = dir, want
		if err := Init(opts); err != nil {
			t.Fatal(err)
		}
		if err := AddNode(dir, Node{"pi9", "10.0.0.9:7400"}); err != nil {
			t.Fatal(err)
		}
		g, err := LoadGateway(filepath.Join(dir, gatewayDir, gatewayFile))
		if err != nil || g.Transport != want {
			t.Errorf("the gateway's is %q, %v, want %q", g.Transport, err, want)
		}
		m, err := LoadMonitor(filepath.Join(dir, monitorDir, monitorFile))
		if err != nil || m.Transport != want {
			t.Errorf("the monitor's is %q, %v, want %q", m.Transport, err, want)
		}
		for _, n := range g.Nodes {
			c, err := LoadChunkserver(filepath.Join(dir, n.ID, chunkserverFile))
			if err != nil || c.Transport != want {
				t.Errorf("%s: %q, %v, want %q", n.ID, c.Transport, err, want)
			}
		}
	}
}

// An AddNode that came no further than the lists is completed by the next.
func TestAddNodeCanBeRepeated(t *testing.T) {
	dir := t.TempDir()
	if err := Init(labOptions(dir)); err != nil {
		t.Fatal(err)
	}
	added := Node{"pi9", "10.0.0.9:7400"}
	if err := AddNode(dir, added); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "pi9")); err != nil {
		t.Fatal(err)
	}
	if err := AddNode(dir, added); err != nil {
		t.Fatal(err)
	}
	g, err := LoadGateway(filepath.Join(dir, gatewayDir, gatewayFile))
	if err != nil || len(g.Nodes) != 7 {
		t.Errorf("the gateway's nodes are %v, %v", g.Nodes, err)
	}
}

func TestCertificates(t *testing.T) {
	ca, err := newCA("lab")
	if err != nil {
		t.Fatal(err)
	}
	id := chunkrpc.Identity{Cluster: "lab", Role: chunkrpc.RoleNode, ID: "pi1"}
	p, err := ca.issue(id)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := chunkrpc.IdentityOf(p.cert); err != nil || got != id {
		t.Errorf("identity %v, %v", got, err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	// A Pi without a clock of its own thinks that it is 1970; the clock that
	// overflows 32 bits is nobody's reason to stop either.
	for _, at := range []time.Time{time.Unix(1, 0), time.Now(), time.Unix(1<<33, 0)} {
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
			_, err := p.cert.Verify(x509.VerifyOptions{
				Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage},
			})
			if err != nil {
				t.Errorf("at %v: %v", at, err)
			}
		}
	}
	// A process's certificate signs nothing.
	forged, err := sign(p, &x509.Certificate{URIs: p.cert.URIs})
	if err != nil {
		t.Fatal(err)
	}
	between := x509.NewCertPool()
	between.AddCert(p.cert)
	if _, err := forged.cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err == nil {
		t.Error("a certificate signed by a node is accepted")
	}
}

func TestFilesThatDoNotMatchAreRefused(t *testing.T) {
	dir := t.TempDir()
	if err := Init(labOptions(dir)); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, "pi1", name) }
	good := Files{Certificate: at("pi1.crt"), Key: at("pi1.key"), CA: at("ca.crt")}
	if _, err := good.load("lab", chunkrpc.RoleNode, "pi1"); err != nil {
		t.Fatal(err)
	}
	other := good
	other.Key = filepath.Join(dir, "pi2", "pi2.key")
	for want, load := range map[string]func() error{
		"is the certificate of rozobox://lab/node/pi1": func() error {
			_, err := good.load("lab", chunkrpc.RoleNode, "pi2")
			return err
		},
		"but the configuration is that of rozobox://lab/gateway/pi1": func() error {
			_, err := good.load("lab", chunkrpc.RoleGateway, "pi1")
			return err
		},
		"private key does not match": func() error {
			_, err := other.load("lab", chunkrpc.RoleNode, "pi1")
			return err
		},
		"no such file": func() error {
			_, err := Files{Certificate: good.Certificate, Key: at("x")}.load("lab", chunkrpc.RoleNode, "pi1")
			return err
		},
		"no PEM certificate": func() error {
			bad := good
			bad.CA = good.Key
			_, err := bad.load("lab", chunkrpc.RoleNode, "pi1")
			return err
		},
	} {
		if err := load(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestI8KeyThatOthersCanReadIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := Init(labOptions(dir)); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, gatewayDir, "gateway.key")
	if err := os.Chmod(key, 0o640); err != nil {
		t.Fatal(err)
	}
	err := verifyFolder(filepath.Join(dir, gatewayDir))
	if err == nil || !strings.Contains(err.Error(), "chmod 600 "+key) {
		t.Errorf("a key of mode 0640: %v", err)
	}
}

// What init makes is what the wire takes; what another cluster's init made is
// not, even for a cluster of the same name.
func TestI8OnlyOwnCertificatesAreAccepted(t *testing.T) {
	dir, foreign := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, foreign} {
		if err := Init(labOptions(d)); err != nil {
			t.Fatal(err)
		}
	}
	node, err := LoadChunkserver(filepath.Join(dir, "pi1", chunkserverFile))
	if err != nil {
		t.Fatal(err)
	}
	creds, err := node.credentials()
	if err != nil {
		t.Fatal(err)
	}
	server, err := chunkrpc.Listen(chunkrpc.ServerOptions{
		Addr: loopback + ":0", Credentials: creds, Store: chunktest.NewMemory("pi1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- server.Serve(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	hello := func(dir string) error {
		config, err := LoadGateway(filepath.Join(dir, gatewayDir, gatewayFile))
		if err != nil {
			t.Fatal(err)
		}
		creds, err := config.credentials()
		if err != nil {
			t.Fatal(err)
		}
		client := chunkrpc.NewClient(chunkrpc.ClientOptions{
			Node: "pi1", Addr: server.Addr().String(), Credentials: creds,
		})
		defer client.Close()
		_, err = client.Hello(ctx)
		return err
	}
	if err := hello(dir); err != nil {
		t.Errorf("the cluster's own gateway: %v", err)
	}
	if err := hello(foreign); !errors.Is(err, chunk.ErrUnavailable) {
		t.Errorf("a foreign gateway: %v", err)
	}
}
