package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/BurntSushi/toml"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunkrpc"
)

// source is the text of a configuration file. Its checks return errors that
// name the file, the line where that is certain, and the key.
type source struct {
	path   string
	reader string // for what process it is read
	text   string
}

// maxConfig bounds a configuration file, in bytes: 64 nodes and every key
// with its comment are less than 16 KiB.
const maxConfig = 1 << 20

// decode reads the TOML file at path into the struct v, which holds the defaults
// of the reader, a kind of process. A key that v does not have is an error.
func decode(path, reader string, v any) (source, error) {
	src := source{path: path, reader: reader}
	info, err := os.Stat(path)
	if err != nil {
		return src, fmt.Errorf("read configuration: %w", err)
	}
	if info.Size() > maxConfig {
		return src, fmt.Errorf("%s: larger than %v; is it a configuration file?", path, Size(maxConfig))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return src, fmt.Errorf("read configuration: %w", err)
	}
	src.text = string(text)
	meta, err := toml.Decode(src.text, v)
	if err != nil {
		return src, src.decodeError(err)
	}
	return src, src.checkKeys(meta)
}

// typeError is how the decoder words a value of the wrong type: the only one
// of its errors that has its place in the text.
var typeError = regexp.MustCompile(`^toml: line ([0-9]+) \(last key "(.*)"\): (.*)$`)

func (s source) decodeError(err error) error {
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		if m := typeError.FindStringSubmatch(err.Error()); m != nil {
			return fmt.Errorf("%s:%s: %s: %s", s.path, m[1], m[2], m[3])
		}
		return fmt.Errorf("%s: %s", s.path, strings.TrimPrefix(err.Error(), "toml: "))
	}
	if parse.LastKey == "" {
		return fmt.Errorf("%s:%d: %s", s.path, parse.Position.Line, parse.Message)
	}
	return fmt.Errorf("%s:%d: %s: %s", s.path, parse.Position.Line, parse.LastKey, parse.Message)
}

// checkKeys refuses keys that were not used. The decoder is lenient about
// case; we are not, so that a file has one spelling.
func (s source) checkKeys(meta toml.MetaData) error {
	for _, key := range meta.Undecoded() {
		return s.errorf(key.String(), "unknown key in the file of a %s", s.reader)
	}
	for _, key := range meta.Keys() {
		if name := key.String(); name != strings.ToLower(name) {
			return s.errorf(name, "unknown key; keys are in lower case")
		}
	}
	return nil
}

// errorf makes the error of one key.
func (s source) errorf(key, format string, args ...any) error {
	where := s.path
	if line := s.lineOf(key); line > 0 {
		where = fmt.Sprintf("%s:%d", s.path, line)
	}
	return fmt.Errorf("%s: %s: %s", where, key, fmt.Sprintf(format, args...))
}

// lineOf returns the line of a key, or 0 where that is not certain: the
// decoder does not tell, so we look for the one line that sets the name.
func (s source) lineOf(key string) int {
	name, found := key[strings.LastIndexByte(key, '.')+1:], 0
	for i, line := range strings.Split(s.text, "\n") {
		rest, ok := strings.CutPrefix(strings.TrimLeft(line, " \t["), name)
		if !ok || !strings.HasPrefix(strings.TrimLeft(rest, " \t"), "=") && !strings.HasPrefix(rest, "]") {
			continue
		}
		if found > 0 {
			return 0
		}
		found = i + 1
	}
	return found
}

// wrap gives err, if any, its place.
func (s source) wrap(key string, err error) error {
	if err == nil {
		return nil
	}
	return s.errorf(key, "%v", err)
}

func (s source) checkNotEmpty(key, value string) error {
	if value == "" {
		return s.errorf(key, "missing")
	}
	return nil
}

func (s source) checkIdentity(cluster, id string, files Files) error {
	return cmp.Or(
		s.checkNotEmpty("cluster", cluster),
		s.wrap("cluster", checkCluster(cluster)),
		s.checkNotEmpty("id", id),
		s.wrap("id", checkID(id)),
		s.checkNotEmpty("certificate", files.Certificate),
		s.checkNotEmpty("key", files.Key),
		s.checkNotEmpty("ca", files.CA),
	)
}

func (s source) checkTransport(t chunkrpc.Transport) error {
	return s.wrap("transport", t.Validate())
}

func (s source) checkListen(key, addr string) error { return s.wrap(key, checkAddress(addr, 1)) }

func (s source) checkOptional(key, addr string) error {
	if addr == "" {
		return nil
	}
	return s.checkListen(key, addr)
}

func (s source) checkDial(key, addr string) error { return s.wrap(key, checkDialable(addr)) }

func (s source) checkLevel(name string) error {
	_, err := parseLevel(name)
	return s.wrap("log_level", err)
}

func (s source) checkTimes(c *GatewayConfig) error {
	switch {
	case c.NodeTimeout <= 0:
		return s.errorf("node_timeout", "must be more than 0")
	case c.IOTimeout < c.NodeTimeout:
		return s.errorf("io_timeout", "%v is less than node_timeout, %v: "+
			"requests would fail before a silent node is replaced", c.IOTimeout, c.NodeTimeout)
	case c.IOTimeout > maxIOTimeout:
		return s.errorf("io_timeout", "%v is more than %v, when clients give up",
			c.IOTimeout, maxIOTimeout)
	case c.SyncEvery <= 0:
		return s.errorf("sync_every", "must be more than 0")
	case c.RebuildAfter <= 0:
		return s.errorf("rebuild_after", "must be more than 0")
	case c.ScrubEvery <= 0:
		return s.errorf("scrub_every", "must be more than 0")
	case c.Memory < minMemory:
		return s.errorf("memory", "%v is less than %v", c.Memory, minMemory)
	}
	return nil
}

// minMemory is eight of the largest stripes, 16+15 chunks of a 1 MiB block.
const minMemory = Size(16 << 20)

func (s source) checkNBD(n *NBD) error {
	if n.Listen == "" && n.Unix == "" {
		return s.errorf("nbd.listen", "empty, and nbd.unix too: nobody could connect")
	}
	if n.Listen != "" {
		if err := checkAddress(n.Listen, 0); err != nil {
			return s.errorf("nbd.listen", "%v", err)
		}
	}
	switch n.TLS {
	case tlsOff:
		return nil
	case tlsAllowed, tlsRequired:
	default:
		return s.errorf("nbd.tls", "bad mode %q: want off, allowed or required", n.TLS)
	}
	if n.Certificate == "" || n.Key == "" {
		return s.errorf("nbd.tls", "is %q, but nbd.certificate or nbd.key is missing", n.TLS)
	}
	return nil
}

func (s source) checkVolume(v *VolumeDefaults) error {
	if err := checkBlockSize(v.BlockSize); err != nil {
		return s.errorf("volume.block_size", "%v", err)
	}
	if v.Extent < 1 {
		return s.errorf("volume.extent", "%d is less than 1", v.Extent)
	}
	return s.wrap("volume.data_chunks", v.geometry(v.BlockSize).Validate())
}

// checkNodes refuses a list that is too short or too long, or that names an id
// or an address twice: one card would be taken for two.
func (s source) checkNodes(nodes []Node, need int) error {
	return s.wrap("node", checkNodeList(nodes, need))
}

func checkNodeList(nodes []Node, need int) error {
	if len(nodes) > chunk.MaxNodes {
		return fmt.Errorf("%d nodes, at most %d are possible", len(nodes), chunk.MaxNodes)
	}
	ids, addrs := make(map[string]bool), make(map[string]string)
	for i, n := range nodes {
		if err := checkNode(n); err != nil {
			return fmt.Errorf("node %d: %w", i+1, err)
		}
		if ids[n.ID] {
			return fmt.Errorf("node %d: id %q is there twice", i+1, n.ID)
		}
		if other, ok := addrs[n.Addr]; ok {
			return fmt.Errorf("node %d: %s has the address of %s, %s", i+1, n.ID, other, n.Addr)
		}
		ids[n.ID], addrs[n.Addr] = true, n.ID
	}
	if len(nodes) < need {
		return fmt.Errorf("%d nodes, but data_chunks + parity_chunks needs at least %d", len(nodes), need)
	}
	return nil
}

func checkNode(n Node) error {
	if err := checkID(n.ID); err != nil {
		return fmt.Errorf("id: %w", err)
	}
	if err := checkDialable(n.Addr); err != nil {
		return fmt.Errorf("%s: addr: %w", n.ID, err)
	}
	return nil
}
