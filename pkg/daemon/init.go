package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"rozobox/pkg/chunkrpc"
)

// The folders and files that init makes.
const (
	caDir           = "ca"
	gatewayDir      = "gateway"
	monitorDir      = "monitor"
	chunkserverFile = "chunkserver.toml"
	gatewayFile     = "gateway.toml"
	monitorFile     = "monitor.toml"
	caCert          = "ca.crt"
	caKey           = "ca.key"
)

// InitOptions says what cluster Init makes.
type InitOptions struct {
	Dir    string // may exist; what is in it is never overwritten
	Name   string
	Nodes  []Node
	NBD    string         // default DefaultNBD
	Admin  string         // default DefaultAdmin
	Volume VolumeDefaults // zero fields mean the defaults

	Transport chunkrpc.Transport // default DefaultTransport
}

// Init makes a cluster's CA and one folder for each of its processes:
//
//	DIR/ca/       ca.crt ca.key                       stays with the owner
//	DIR/pi1/      chunkserver.toml pi1.crt pi1.key ca.crt
//	DIR/gateway/  gateway.toml gateway.crt gateway.key ca.crt
//	DIR/monitor/  monitor.toml monitor.crt monitor.key ca.crt
//
// All of it is made and checked in a folder aside and then moved to its
// place, so that an Init that failed can be repeated.
func Init(opts InitOptions) error {
	opts.fill()
	if err := opts.check(); err != nil {
		return err
	}
	ca, err := newCA(opts.Name)
	if err != nil {
		return err
	}
	t := tree{}
	if err := t.addCA(ca); err != nil {
		return err
	}
	for _, n := range opts.Nodes {
		if err := t.addNode(ca, opts.Name, opts.Transport, n); err != nil {
			return err
		}
	}
	if err := t.addPart(ca, chunkrpc.RoleGateway, opts.Name, gatewayDir); err != nil {
		return err
	}
	if err := t.addPart(ca, chunkrpc.RoleMonitor, opts.Name, monitorDir); err != nil {
		return err
	}
	t[filepath.Join(gatewayDir, gatewayFile)] = opts.gatewayText()
	t[filepath.Join(monitorDir, monitorFile)] = opts.monitorText()
	return t.install(opts.Dir)
}

func (o *InitOptions) fill() {
	d := defaultGateway()
	o.Transport = cmp.Or(o.Transport, d.Transport)
	o.NBD = cmp.Or(o.NBD, d.NBD.Listen)
	o.Admin = cmp.Or(o.Admin, d.Admin)
	o.Volume.BlockSize = cmp.Or(o.Volume.BlockSize, d.Volume.BlockSize)
	o.Volume.DataChunks = cmp.Or(o.Volume.DataChunks, d.Volume.DataChunks)
	o.Volume.ParityChunks = cmp.Or(o.Volume.ParityChunks, d.Volume.ParityChunks)
	o.Volume.Extent = cmp.Or(o.Volume.Extent, d.Volume.Extent)
}

func (o *InitOptions) check() error {
	if o.Dir == "" {
		return errors.New("--dir: missing: the folder to make the cluster in")
	}
	if err := checkCluster(o.Name); err != nil {
		return fmt.Errorf("--name: %w", err)
	}
	if err := o.Transport.Validate(); err != nil {
		return fmt.Errorf("--transport: %w", err)
	}
	if err := checkAddress(o.NBD, 0); err != nil {
		return fmt.Errorf("--nbd: %w", err)
	}
	if err := checkDialable(o.Admin); err != nil {
		return fmt.Errorf("--admin: %w", err)
	}
	if err := o.Volume.geometry(o.Volume.BlockSize).Validate(); err != nil {
		return fmt.Errorf("--data, --parity: %w", err)
	}
	for _, n := range o.Nodes {
		if err := checkFree(n.ID); err != nil {
			return fmt.Errorf("--node: %w", err)
		}
	}
	if err := checkNodeList(o.Nodes, o.Volume.DataChunks+o.Volume.ParityChunks); err != nil {
		return fmt.Errorf("--node: %w", err)
	}
	return nil
}

// checkFree refuses a node id that would name another part's folder.
func checkFree(id string) error {
	if slices.Contains([]string{caDir, gatewayDir, monitorDir}, strings.ToLower(id)) {
		return fmt.Errorf("id %q: the folder of that name is taken; choose another id", id)
	}
	return nil
}

// AddNode makes the folder of one more node, and puts it into the node lists
// of the gateway's and the monitor's files. Volumes keep the list that they
// were made with: only new volumes use the node.
//
// The folder comes last and a list that has the node is left alone, so that an
// AddNode that failed half-way can be repeated.
func AddNode(dir string, node Node) error {
	gateway := filepath.Join(dir, gatewayDir, gatewayFile)
	monitor := filepath.Join(dir, monitorDir, monitorFile)
	g, err := LoadGateway(gateway)
	if err != nil {
		return err
	}
	m, err := LoadMonitor(monitor)
	if err != nil {
		return err
	}
	err = cmp.Or(checkFree(node.ID), checkAdded(g.Nodes, node), checkAdded(m.Nodes, node))
	if err != nil {
		return fmt.Errorf("--add-node: %w", err)
	}
	ca, err := loadCA(filepath.Join(dir, caDir))
	if err != nil {
		return err
	}
	t := tree{}
	if err := t.addNode(ca, g.Cluster, g.Transport, node); err != nil {
		return err
	}
	if err := t.check(dir); err != nil {
		return err
	}
	if err := appendNode(gateway, g.Nodes, node, verifyGateway); err != nil {
		return err
	}
	if err := appendNode(monitor, m.Nodes, node, verifyMonitor); err != nil {
		return err
	}
	return t.install(dir)
}

func checkAdded(list []Node, node Node) error {
	if slices.Contains(list, node) {
		return nil
	}
	return checkNodeList(append(slices.Clone(list), node), 1)
}

// appendNode adds a node to the end of a configuration file, so that what its
// owner wrote stays as it is.
func appendNode(path string, list []Node, node Node, verify func(string) error) error {
	if slices.Contains(list, node) {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	return replaceFile(path, append(text, nodeText(node)...), verify)
}
