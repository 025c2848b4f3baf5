package daemon

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunkrpc"
	"rozobox/pkg/cluster"
)

// The defaults of the configuration files. The samples in configs/ state them
// too; a test compares.
const (
	DefaultNBD          = "127.0.0.1:10809" // 10809 is NBD's assigned port
	DefaultAdmin        = "127.0.0.1:9810"
	DefaultPort         = 7400 // chunk servers
	DefaultBlockSize    = Size(32 << 10)
	DefaultDataChunks   = 4
	DefaultParityChunks = 2
	DefaultExtent       = 1
	DefaultNodeTimeout  = Duration(time.Second)
	DefaultIOTimeout    = Duration(8 * time.Second)
	DefaultSyncEvery    = Duration(2 * time.Second)
	DefaultRebuildAfter = Duration(5 * time.Minute)
	DefaultScrubEvery   = Duration(7 * 24 * time.Hour)
	DefaultMemory       = Size(64 << 20)
	DefaultTransport    = chunkrpc.QUIC
)

// maxIOTimeout keeps the gateway's own error ahead of the clients' patience:
// common NBD clients, nbd-client with -timeout 10 among them, give up a
// connection after 10 s and would never learn why.
const maxIOTimeout = Duration(10 * time.Second)

// Files names the three files by which a process proves who it is. Relative
// paths are relative to the configuration file, here as everywhere.
type Files struct {
	// Certificate is the process's own certificate, PEM. Required. It must
	// say the same cluster and id as this file.
	Certificate string `toml:"certificate"`
	// Key is the private key, PEM. Required. Whoever can read it can act as
	// this process; it is refused unless its mode is 0600 or stricter.
	Key string `toml:"key"`
	// CA is the certificate of the cluster's own CA, PEM. Required. Whatever
	// it has signed is trusted.
	CA string `toml:"ca"`
}

// ChunkserverConfig is chunkserver.toml: one chunk server on one card.
type ChunkserverConfig struct {
	// Cluster is the cluster's name. Required.
	Cluster string `toml:"cluster"`
	// ID is the node's name in the cluster, such as "pi3". Required. Two
	// running chunk servers must never share one.
	ID string `toml:"id"`
	Files
	// Transport is what connects the gateway and the nodes: "quic" (over UDP)
	// or "tls" (TLS 1.3 over TCP). Default "quic". The same in all files of
	// the cluster, or they do not find each other.
	Transport chunkrpc.Transport `toml:"transport"`
	// Listen is the address for the gateway, HOST:PORT, of UDP or TCP as the
	// transport says; no host means all of the machine's addresses. Default
	// ":7400".
	Listen string `toml:"listen"`
	// Data is the folder that holds the chunks. Default "data". A folder that
	// is empty becomes a new, empty store: point this at the wrong place and
	// the node comes back as a blank card.
	Data string `toml:"data"`
	// Capacity is how many bytes the store may take. Default 0: all that the
	// file system has.
	Capacity Size `toml:"capacity"`
	// Metrics is a TCP address, HOST:PORT, on which /metrics and /healthz
	// answer over plain HTTP. Default "": none. Whoever reaches it can read
	// the figures.
	Metrics string `toml:"metrics"`
	// LogLevel is the least important level logged: "debug", "info", "warn"
	// or "error". Default "info".
	LogLevel string `toml:"log_level"`
}

// GatewayConfig is gateway.toml: the process that exports the volumes.
type GatewayConfig struct {
	// Cluster is the cluster's name. Required.
	Cluster string `toml:"cluster"`
	// ID is this gateway's name in its certificate. Required.
	ID string `toml:"id"`
	Files
	// Transport is what connects the gateway and the nodes: "quic" (over UDP)
	// or "tls" (TLS 1.3 over TCP). Default "quic". The same in all files of
	// the cluster, or they do not find each other.
	Transport chunkrpc.Transport `toml:"transport"`
	// Admin is the TCP address of the admin API, HOST:PORT. Default
	// "127.0.0.1:9810". Whoever reaches it can read the status; changes need
	// this gateway's private key.
	Admin string `toml:"admin"`
	// NodeTimeout is how long a write waits for a silent node before the node
	// is declared out. Default "1s". Too short, and a card that pauses to
	// erase is thrown out and has to be resynced.
	NodeTimeout Duration `toml:"node_timeout"`
	// IOTimeout is how long a request waits for nodes to return before it
	// fails. Default "8s", at most "10s", at least node_timeout: NBD clients
	// commonly give up at 10 s.
	IOTimeout Duration `toml:"io_timeout"`
	// SyncEvery is how often the gateway syncs by itself. Default "2s".
	// Longer spans need more memory; what was flushed is durable either way.
	SyncEvery Duration `toml:"sync_every"`
	// Writeback has a write replied to as soon as this process has it, before
	// the nodes do. Default false. Faster for one writer at a time, but what
	// was not flushed is lost with this process.
	Writeback bool `toml:"writeback"`
	// RebuildAfter is how long a node must be away before its chunks are put
	// onto the others. Default "5m". Too short, and every restart moves data.
	RebuildAfter Duration `toml:"rebuild_after"`
	// ScrubEvery is how often every chunk is verified. Default "168h".
	ScrubEvery Duration `toml:"scrub_every"`
	// Memory is how many bytes of writes that are not yet settled each volume
	// may keep in this process. Default "64MiB". When it is full, writes
	// wait for a sync.
	Memory Size `toml:"memory"`
	// LogLevel is the least important level logged: "debug", "info", "warn"
	// or "error". Default "info".
	LogLevel string `toml:"log_level"`
	// NBD is the table [nbd].
	NBD NBD `toml:"nbd"`
	// Volume is the table [volume].
	Volume VolumeDefaults `toml:"volume"`
	// Nodes are the tables [[node]], one for each chunk server. At least
	// data_chunks + parity_chunks of them, at most 64.
	Nodes []Node `toml:"node"`
}

// NBD is the table [nbd] of gateway.toml: how clients reach the volumes.
type NBD struct {
	// Listen is the TCP address, HOST:PORT. Default "127.0.0.1:10809"; empty
	// for none; port 0 for any that is free, which the log names. Without TLS, whoever reaches it can read and write every
	// volume: on another address than loopback, set tls = "required".
	Listen string `toml:"listen"`
	// Unix is the path of a Unix socket to listen on as well, mode 0600.
	// Default "": none.
	Unix string `toml:"unix"`
	// TLS is "off", "allowed" (the client chooses) or "required". Default
	// "off". The Unix socket never uses it.
	TLS string `toml:"tls"`
	// Certificate and Key are for TLS, PEM; clients check the host name in
	// it. Default "": none. Needed unless tls is "off".
	Certificate string `toml:"certificate"`
	// Key is the certificate's private key, PEM. Default "": none.
	Key string `toml:"key"`
	// ClientCA is a CA certificate, PEM: only clients with a certificate that
	// it signed may connect. Default "": TLS clients need none.
	ClientCA string `toml:"client_ca"`
}

// VolumeDefaults is the table [volume] of gateway.toml: the geometry of new
// volumes where `rozobox volume create` does not say otherwise. A volume keeps
// the geometry that it was made with.
type VolumeDefaults struct {
	// BlockSize is the bytes of a block, a power of two, 4KiB to 1MiB.
	// Default "32KiB".
	BlockSize Size `toml:"block_size"`
	// DataChunks is k, the nodes that share a block. Default 4.
	DataChunks int `toml:"data_chunks"`
	// ParityChunks is m, the nodes that may die without loss; less than
	// data_chunks. Default 2.
	ParityChunks int `toml:"parity_chunks"`
	// Extent is how many consecutive blocks lie on the same nodes. Default 1:
	// every node shares every stream.
	Extent int64 `toml:"extent"`
}

// geometry returns that of a new volume of the given size.
func (v VolumeDefaults) geometry(size Size) cluster.Geometry {
	return cluster.Geometry{
		Size:      int64(size),
		BlockSize: int(v.BlockSize),
		Data:      v.DataChunks,
		Parity:    v.ParityChunks,
		Extent:    v.Extent,
	}
}

// Node is one table [[node]]: a chunk server and where it listens.
type Node struct {
	// ID is the node's name, as in its certificate. Required.
	ID string `toml:"id"`
	// Addr is its address, HOST:PORT, of UDP or TCP as the transport says.
	// Required.
	Addr string `toml:"addr"`
}

// MonitorConfig is monitor.toml: a process that watches and can change nothing.
type MonitorConfig struct {
	// Cluster is the cluster's name. Required.
	Cluster string `toml:"cluster"`
	// ID is this monitor's name in its certificate. Required.
	ID string `toml:"id"`
	Files
	// Transport is what connects the gateway and the nodes: "quic" (over UDP)
	// or "tls" (TLS 1.3 over TCP). Default "quic". The same in all files of
	// the cluster, or they do not find each other.
	Transport chunkrpc.Transport `toml:"transport"`
	// Admin is the TCP address of the gateway's admin API as seen from this
	// machine, HOST:PORT. Default "127.0.0.1:9810". Where it does not answer,
	// the nodes are asked.
	Admin string `toml:"admin"`
	// Nodes are the tables [[node]], one for each chunk server.
	Nodes []Node `toml:"node"`
}

// LoadChunkserver reads and checks a chunkserver.toml. Paths in the result are
// absolute or relative to the working directory.
func LoadChunkserver(path string) (*ChunkserverConfig, error) {
	c := defaultChunkserver()
	src, err := decode(path, "chunk server", c)
	if err != nil {
		return nil, err
	}
	err = cmp.Or(
		src.checkIdentity(c.Cluster, c.ID, c.Files),
		src.checkTransport(c.Transport),
		src.checkListen("listen", c.Listen),
		src.checkNotEmpty("data", c.Data),
		src.checkOptional("metrics", c.Metrics),
		src.checkLevel(c.LogLevel),
	)
	if err != nil {
		return nil, err
	}
	c.Files = c.beside(path)
	c.Data = beside(path, c.Data)
	return c, nil
}

// LoadGateway reads and checks a gateway.toml.
func LoadGateway(path string) (*GatewayConfig, error) {
	c := defaultGateway()
	src, err := decode(path, "gateway", c)
	if err != nil {
		return nil, err
	}
	err = cmp.Or(
		src.checkIdentity(c.Cluster, c.ID, c.Files),
		src.checkTransport(c.Transport),
		src.checkListen("admin", c.Admin),
		src.checkTimes(c),
		src.checkLevel(c.LogLevel),
		src.checkNBD(&c.NBD),
		src.checkVolume(&c.Volume),
		src.checkNodes(c.Nodes, c.Volume.DataChunks+c.Volume.ParityChunks),
	)
	if err != nil {
		return nil, err
	}
	c.Files = c.beside(path)
	for _, p := range []*string{&c.NBD.Unix, &c.NBD.Certificate, &c.NBD.Key, &c.NBD.ClientCA} {
		*p = beside(path, *p)
	}
	return c, nil
}

func defaultChunkserver() *ChunkserverConfig {
	return &ChunkserverConfig{
		Transport: DefaultTransport,
		Listen:    fmt.Sprintf(":%d", DefaultPort),
		Data:      "data",
		LogLevel:  "info",
	}
}

func defaultMonitor() *MonitorConfig {
	return &MonitorConfig{Transport: DefaultTransport, Admin: DefaultAdmin}
}

func defaultGateway() *GatewayConfig {
	return &GatewayConfig{
		Transport:    DefaultTransport,
		Admin:        DefaultAdmin,
		NodeTimeout:  DefaultNodeTimeout,
		IOTimeout:    DefaultIOTimeout,
		SyncEvery:    DefaultSyncEvery,
		RebuildAfter: DefaultRebuildAfter,
		ScrubEvery:   DefaultScrubEvery,
		Memory:       DefaultMemory,
		LogLevel:     "info",
		NBD:          NBD{Listen: DefaultNBD, TLS: tlsOff},
		Volume: VolumeDefaults{
			BlockSize:    DefaultBlockSize,
			DataChunks:   DefaultDataChunks,
			ParityChunks: DefaultParityChunks,
			Extent:       DefaultExtent,
		},
	}
}

// LoadMonitor reads and checks a monitor.toml.
func LoadMonitor(path string) (*MonitorConfig, error) {
	c := defaultMonitor()
	src, err := decode(path, "monitor", c)
	if err != nil {
		return nil, err
	}
	err = cmp.Or(
		src.checkIdentity(c.Cluster, c.ID, c.Files),
		src.checkTransport(c.Transport),
		src.checkDial("admin", c.Admin),
		src.checkNodes(c.Nodes, 1),
	)
	if err != nil {
		return nil, err
	}
	c.Files = c.beside(path)
	return c, nil
}

// beside resolves path against the folder of the configuration file.
func beside(config, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(config), path)
}

func (f Files) beside(config string) Files {
	return Files{
		Certificate: beside(config, f.Certificate),
		Key:         beside(config, f.Key),
		CA:          beside(config, f.CA),
	}
}

func parseLevel(name string) (slog.Level, error) {
	var level slog.Level
	switch name {
	case "debug", "info", "warn", "error":
		return level, level.UnmarshalText([]byte(name))
	}
	return 0, fmt.Errorf("bad level %q: want debug, info, warn or error", name)
}

// checkAddress wants HOST:PORT. Port 0, where it is allowed, means any that is
// free.
func checkAddress(addr string, least uint64) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("bad address %q: want HOST:PORT", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n < least {
		return fmt.Errorf("bad address %q: want a port of %d to 65535", addr, least)
	}
	return nil
}

// checkDialable wants a host as well.
func checkDialable(addr string) error {
	if err := checkAddress(addr, 1); err != nil {
		return err
	}
	switch host, _, _ := net.SplitHostPort(addr); {
	case host == "":
		return fmt.Errorf("bad address %q: the host is missing", addr)
	case strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' }):
		return fmt.Errorf("bad address %q: the host has odd characters", addr)
	}
	return nil
}

// maxID bounds the names of clusters and processes, in bytes.
const maxID = 64

// checkID wants what chunk.NodeID wants, and a letter or digit first, because
// ids name folders too.
func checkID(id string) error {
	ok := len(id) >= 1 && len(id) <= maxID && isAlnum(id[0])
	for i := 0; ok && i < len(id); i++ {
		c := id[i]
		ok = isAlnum(c) || c == '.' || c == '_' || c == '-'
	}
	if !ok {
		return fmt.Errorf("bad name %q: want 1 to %d letters, digits, '.', '_' or '-', "+
			"a letter or digit first", id, maxID)
	}
	return nil
}

// checkCluster wants a name that is a host name besides, as it stands in the
// certificates' URIs.
func checkCluster(name string) error {
	if err := checkID(name); err != nil {
		return err
	}
	if (chunkrpc.Identity{Cluster: name, Role: chunkrpc.RoleNode, ID: "x"}).Validate() != nil {
		return fmt.Errorf("bad name %q: want something between the dots", name)
	}
	return nil
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// checkBlockSize refuses a block size that no volume can have.
func checkBlockSize(s Size) error {
	if s < chunk.MinBlockSize || s > chunk.MaxBlockSize || s&(s-1) != 0 {
		return fmt.Errorf("bad block size %v: want a power of two from 4KiB to 1MiB", s)
	}
	return nil
}
