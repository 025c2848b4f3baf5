package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"rozobox/pkg/chunkrpc"
)

// Private keys are for their owner alone, and so are the folders with them.
const (
	dirMode  = 0o700
	fileMode = 0o644
	keyMode  = 0o600
)

// tree is what is to be written: text by path, relative to the cluster's
// folder. The first part of each path is a folder that does not exist yet.
type tree map[string][]byte

func (t tree) addCA(ca pair) error { return t.addPair(caDir, "ca", ca) }

func (t tree) addPair(dir, name string, p pair) error {
	key, err := p.keyPEM()
	if err != nil {
		return err
	}
	t[filepath.Join(dir, name+".crt")] = p.certPEM()
	t[filepath.Join(dir, name+".key")] = key
	return nil
}

// addPart adds the credentials of a process to the folder of its id.
func (t tree) addPart(ca pair, role chunkrpc.Role, cluster, id string) error {
	p, err := ca.issue(chunkrpc.Identity{Cluster: cluster, Role: role, ID: id})
	if err != nil {
		return err
	}
	t[filepath.Join(id, caCert)] = ca.certPEM()
	return t.addPair(id, id, p)
}

func (t tree) addNode(ca pair, cluster string, over chunkrpc.Transport, n Node) error {
	t[filepath.Join(n.ID, chunkserverFile)] = chunkserverText(cluster, over, n)
	return t.addPart(ca, chunkrpc.RoleNode, cluster, n.ID)
}

// tops returns the folders of t.
func (t tree) tops() []string {
	seen := make(map[string]bool)
	for path := range t {
		seen[strings.SplitN(path, string(filepath.Separator), 2)[0]] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

var errExists = errors.New("exists already; init overwrites nothing")

// check refuses to write over anything.
func (t tree) check(dir string) error {
	for _, top := range t.tops() {
		path := filepath.Join(dir, top)
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", path, cmpErr(err))
		}
	}
	return nil
}

func cmpErr(err error) error {
	if err == nil {
		return errExists
	}
	return err
}

// install writes t aside, reads it back as its users will, and moves it to
// its place in dir.
func (t tree) install(dir string) (err error) {
	if err := t.check(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return fmt.Errorf("make the cluster's folder: %w", err)
	}
	stage, err := os.MkdirTemp(dir, ".init-")
	if err != nil {
		return fmt.Errorf("make the cluster's folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(stage)) }()
	if err := t.write(stage); err != nil {
		return err
	}
	for _, top := range t.tops() {
		if err := verifyFolder(filepath.Join(stage, top)); err != nil {
			return err
		}
	}
	return t.move(stage, dir)
}

func (t tree) write(stage string) error {
	for path, text := range t {
		path = filepath.Join(stage, path)
		mode := os.FileMode(fileMode)
		if filepath.Ext(path) == ".key" {
			mode = keyMode
		}
		if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
			return fmt.Errorf("make the cluster's folder: %w", err)
		}
		if err := os.WriteFile(path, text, mode); err != nil {
			return fmt.Errorf("make the cluster's folder: %w", err)
		}
	}
	return nil
}

// move puts the folders in their places, or takes back those it had moved.
func (t tree) move(stage, dir string) error {
	for i, top := range t.tops() {
		err := os.Rename(filepath.Join(stage, top), filepath.Join(dir, top))
		if err == nil {
			continue
		}
		err = fmt.Errorf("make the cluster's folder: %w", err)
		for _, moved := range t.tops()[:i] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, moved)))
		}
		return err
	}
	return nil
}

// verifyFolder loads the configuration file in a new folder, with all that it
// names; a folder without one is the CA's.
func verifyFolder(dir string) error {
	for _, part := range []struct {
		file   string
		verify func(path string) error
	}{
		{chunkserverFile, verifyChunkserver},
		{gatewayFile, verifyGateway},
		{monitorFile, verifyMonitor},
	} {
		path := filepath.Join(dir, part.file)
		if _, err := os.Stat(path); err == nil {
			return part.verify(path)
		}
	}
	_, err := loadCA(dir)
	return err
}

func verifyChunkserver(path string) error {
	c, err := LoadChunkserver(path)
	if err == nil {
		_, err = c.credentials()
	}
	return err
}

func verifyGateway(path string) error {
	c, err := LoadGateway(path)
	if err == nil {
		_, err = c.credentials()
	}
	return err
}

func verifyMonitor(path string) error {
	c, err := LoadMonitor(path)
	if err == nil {
		_, err = c.credentials()
	}
	return err
}

// replaceFile changes a file to text, all of it or nothing, once verify has
// read it back.
func replaceFile(path string, text []byte, verify func(path string) error) error {
	aside := path + ".new"
	err := os.WriteFile(aside, text, fileMode)
	if err == nil {
		err = verify(aside)
	}
	if err == nil {
		err = os.Rename(aside, path)
	}
	if err != nil {
		return fmt.Errorf("change %s: %w", path, errors.Join(err, os.Remove(aside)))
	}
	return nil
}

// The texts of new configuration files have what a cluster needs and nothing
// else; the samples in configs/ explain every key.

func partText(kind, cluster, id string, over chunkrpc.Transport) string {
	return fmt.Sprintf("# %s. Every key is explained in configs/%s.\n"+
		"cluster = %q\nid = %q\n"+
		"certificate = \"%[4]s.crt\"\nkey = \"%[4]s.key\"\nca = %[5]q\ntransport = %[6]q\n",
		kind, strings.ToLower(kind)+".toml", cluster, id, caCert, over)
}

func chunkserverText(cluster string, over chunkrpc.Transport, n Node) []byte {
	text := partText("Chunkserver", cluster, n.ID, over)
	return fmt.Appendf(nil, "%slisten = %q\n", text, listenOn(n.Addr))
}

// listenOn turns the address by which others reach a node into the one that it
// listens on: the machine may know itself by another address, so all of them,
// except that a node on loopback stays there.
func listenOn(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() {
		return addr
	}
	return ":" + port
}

func (o *InitOptions) gatewayText() []byte {
	text := partText("Gateway", o.Name, gatewayDir, o.Transport)
	text += fmt.Sprintf("admin = %q\n\n[nbd]\nlisten = %q\n", o.Admin, o.NBD)
	text += fmt.Sprintf("\n[volume]\nblock_size = %q\ndata_chunks = %d\nparity_chunks = %d\nextent = %d\n",
		o.Volume.BlockSize, o.Volume.DataChunks, o.Volume.ParityChunks, o.Volume.Extent)
	return append([]byte(text), nodesText(o.Nodes)...)
}

func (o *InitOptions) monitorText() []byte {
	text := partText("Monitor", o.Name, monitorDir, o.Transport) + fmt.Sprintf("admin = %q\n", o.Admin)
	return append([]byte(text), nodesText(o.Nodes)...)
}

func nodesText(nodes []Node) (text []byte) {
	for _, n := range nodes {
		text = append(text, nodeText(n)...)
	}
	return text
}

func nodeText(n Node) []byte {
	return fmt.Appendf(nil, "\n[[node]]\nid = %q\naddr = %q\n", n.ID, n.Addr)
}
