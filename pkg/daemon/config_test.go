package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// samples is where the sample files are.
const samples = "../../configs"

func sample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(samples, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// loadText loads a gateway.toml with the given text.
func loadText(t *testing.T, text string) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), gatewayFile)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := LoadGateway(path)
	return path, err
}

// Each case changes one line of the sample. The error must begin with the
// file and line, and name the key.
func TestBadGatewayConfig(t *testing.T) {
	good := sample(t, gatewayFile)
	for _, c := range []struct {
		name, old, new string
		line           bool // the line is known
		want           string
	}{
		{"unknown key", `memory = "64MiB"`, `memroy = "64MiB"`, true, "memroy: unknown key in the file of a gateway"},
		{"unknown key in a table", `unix = ""`, `unyx = ""`, true, "nbd.unyx: unknown key"},
		{"unknown table", "[volume]", "[volumes]", true, "volumes: unknown key"},
		{"key in capitals", `admin =`, `Admin =`, true, "Admin: unknown key; keys are in lower case"},
		{"syntax", `admin = "127.0.0.1:9810"`, `admin = `, true, "admin: "},
		{"no string", `admin = "127.0.0.1:9810"`, `admin = 9810`, true, "admin"},
		{"key twice", `log_level = "info"`, "log_level = \"info\"\nlog_level = \"warn\"", true, "log_level"},
		{"bad size", `memory = "64MiB"`, `memory = "64M"`, true, `memory: bad size "64M"`},
		{"little memory", `memory = "64MiB"`, `memory = "1MiB"`, true, "memory: 1MiB is less than 16MiB"},
		{"negative size", `block_size = "32KiB"`, `block_size = -1`, true, `volume.block_size: bad size "-1"`},
		{"bad block size", `block_size = "32KiB"`, `block_size = "48KiB"`, true, "volume.block_size: bad block size"},
		{"huge block size", `block_size = "32KiB"`, `block_size = "4GiB"`, true, "volume.block_size: bad block size"},
		{"bad duration", `io_timeout = "8s"`, `io_timeout = "8"`, true, `io_timeout: bad duration "8"`},
		{"duration as number", `io_timeout = "8s"`, `io_timeout = 8`, true, `io_timeout: bad duration "8"`},
		{"io_timeout too long", `io_timeout = "8s"`, `io_timeout = "11s"`, true, "io_timeout: 11s is more than 10s"},
		{"io_timeout too short", `io_timeout = "8s"`, `io_timeout = "10ms"`, true, "io_timeout: 10ms is less than node_timeout"},
		{"no node_timeout", `node_timeout = "1s"`, `node_timeout = "0s"`, true, "node_timeout: must be more than 0"},
		{"no sync_every", `sync_every = "2s"`, `sync_every = "0s"`, true, "sync_every: must be more than 0"},
		{"bad level", `log_level = "info"`, `log_level = "loud"`, true, `log_level: bad level "loud"`},
		{"no cluster", `cluster = "lab"`, ``, false, "cluster: missing"},
		{"bad cluster", `cluster = "lab"`, `cluster = "../lab"`, true, `cluster: bad name "../lab"`},
		{"cluster that is no host", `cluster = "lab"`, `cluster = "lab..x"`, true, `cluster: bad name "lab..x"`},
		{"bad id", `id = "gateway"`, `id = "a b"`, false, `id: bad name "a b"`},
		{"no certificate", `certificate = "gateway.crt"`, ``, true, "certificate: missing"},
		{"no key", `key = "gateway.key"`, ``, true, "key: missing"},
		{"no CA", `ca = "ca.crt"`, ``, false, "ca: missing"},
		{"bad transport", `transport = "quic"`, `transport = "tcp"`, true, `transport: bad transport "tcp": want quic or tls`},
		{"no transport", `transport = "quic"`, `transport = ""`, true, `transport: bad transport ""`},
		{"no port", `admin = "127.0.0.1:9810"`, `admin = "127.0.0.1"`, true, `admin: bad address "127.0.0.1"`},
		{"port 0", `admin = "127.0.0.1:9810"`, `admin = "127.0.0.1:0"`, true, `admin: bad address "127.0.0.1:0"`},
		{"big port", `listen = "127.0.0.1:10809"`, `listen = "127.0.0.1:70000"`, true, "nbd.listen: bad address"},
		{"nobody can connect", `listen = "127.0.0.1:10809"`, `listen = ""`, true, "nbd.listen: empty"},
		{"bad TLS mode", `tls = "off"`, `tls = "yes"`, true, `nbd.tls: bad mode "yes"`},
		{"TLS without files", `tls = "off"`, `tls = "required"`, true, "nbd.tls: "},
		{"bad width", `data_chunks = 4`, `data_chunks = 2`, true, "volume.data_chunks: "},
		{"bad extent", `extent = 1`, `extent = 0`, true, "volume.extent: 0 is less than 1"},
		{"duplicate id", `id = "pi8"`, `id = "pi1"`, false, `node: node 8: id "pi1" is there twice`},
		{"duplicate address", `10.0.0.18:7400`, `10.0.0.11:7400`, false, "node: node 8: pi8 has the address of pi1"},
		{"node without address", `addr = "10.0.0.18:7400"`, ``, false, "node: node 8: pi8: addr: bad address"},
		{"node without host", `10.0.0.18:7400`, `:7400`, false, "node: node 8: pi8: addr: bad address"},
		{"node with a path", `id = "pi8"`, `id = "../pi8"`, false, `node: node 8: id: bad name "../pi8"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Count(good, c.old) == 0 {
				t.Fatalf("the sample has no %q", c.old)
			}
			path, err := loadText(t, strings.Replace(good, c.old, c.new, 1))
			if err == nil {
				t.Fatal("no error")
			}
			text := err.Error()
			if !strings.HasPrefix(text, path+":") || !strings.Contains(text, c.want) {
				t.Errorf("error %q, want one on the file about %q", text, c.want)
			}
			if known := regexp.MustCompile(`\.toml:[0-9]+: `).MatchString(text); known != c.line {
				t.Errorf("error %q names a line: %v, want %v", text, known, c.line)
			}
			if strings.Contains(text, "\n") {
				t.Errorf("error %q is more than one line", text)
			}
		})
	}
}

func TestTooFewNodes(t *testing.T) {
	good := sample(t, gatewayFile)
	cut := strings.Index(good, "[[node]]\nid = \"pi6\"")
	_, err := loadText(t, good[:cut])
	if err == nil || !strings.Contains(err.Error(), "node: 5 nodes") || !strings.Contains(err.Error(), "at least 6") {
		t.Errorf("5 nodes for 4+2: %v", err)
	}
	_, err = loadText(t, strings.NewReplacer("data_chunks = 4", "data_chunks = 2",
		"parity_chunks = 2", "parity_chunks = 1").Replace(good[:cut]))
	if err != nil {
		t.Errorf("5 nodes for 2+1: %v", err)
	}
}

func TestTooManyNodes(t *testing.T) {
	text := strings.Split(sample(t, gatewayFile), "[[node]]")[0]
	for i := range 65 {
		text += fmt.Sprintf("[[node]]\nid = \"n%d\"\naddr = \"10.0.1.%d:7400\"\n", i, i+1)
	}
	if _, err := loadText(t, text); err == nil || !strings.Contains(err.Error(), "node: 65 nodes") {
		t.Errorf("65 nodes: %v", err)
	}
}

func TestMissingAndHugeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.toml")
	if _, err := LoadGateway(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a missing file: %v", err)
	}
	huge := strings.Repeat("# no configuration at all\n", maxConfig/16)
	if _, err := loadText(t, huge); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a huge file: %v", err)
	}
}

func TestRelativePathsAreBesideTheFile(t *testing.T) {
	c, err := LoadChunkserver(filepath.Join(samples, chunkserverFile))
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(samples, "data"); c.Data != want {
		t.Errorf("data is %q, want %q", c.Data, want)
	}
	if want := filepath.Join(samples, "pi1.key"); c.Key != want {
		t.Errorf("key is %q, want %q", c.Key, want)
	}
	g, err := LoadGateway(filepath.Join(samples, gatewayFile))
	if err != nil {
		t.Fatal(err)
	}
	if g.NBD.Unix != "" {
		t.Errorf("no unix socket became %q", g.NBD.Unix)
	}
}

// The samples show every key that there is, and its default where it has one.
func TestSamplesAreComplete(t *testing.T) {
	for name, defaults := range map[string]any{
		chunkserverFile: defaultChunkserver(),
		gatewayFile:     defaultGateway(),
		monitorFile:     defaultMonitor(),
	} {
		value := reflect.New(reflect.TypeOf(defaults).Elem())
		meta, err := toml.Decode(sample(t, name), value.Interface())
		if err != nil {
			t.Fatal(err)
		}
		if extra := meta.Undecoded(); len(extra) > 0 {
			t.Errorf("%s: unknown keys %v", name, extra)
		}
		compare(t, name, meta, nil, value.Elem(), reflect.ValueOf(defaults).Elem())
	}
}

// required are the keys without a default, by their last part.
var required = map[string]bool{"cluster": true, "id": true, "certificate": true, "key": true, "ca": true}

func compare(t *testing.T, file string, meta toml.MetaData, table []string, got, def reflect.Value) {
	t.Helper()
	for i := range got.NumField() {
		field := got.Type().Field(i)
		key := append(table[:len(table):len(table)], field.Tag.Get("toml"))
		switch {
		case field.Anonymous:
			compare(t, file, meta, table, got.Field(i), def.Field(i))
		case !meta.IsDefined(key...):
			t.Errorf("%s: the sample lacks %v", file, key)
		case field.Type.Kind() == reflect.Struct:
			compare(t, file, meta, key, got.Field(i), def.Field(i))
		case field.Type.Kind() == reflect.Slice || len(table) == 0 && required[key[0]]:
		case !reflect.DeepEqual(got.Field(i).Interface(), def.Field(i).Interface()):
			t.Errorf("%s: %v is %v in the sample, but the default is %v",
				file, key, got.Field(i), def.Field(i))
		}
	}
}

// Every key is explained: the line before it ends a comment.
func TestSamplesExplainEveryKey(t *testing.T) {
	for _, name := range []string{chunkserverFile, gatewayFile, monitorFile} {
		seen := map[string]bool{}
		table, before := "", ""
		for _, line := range strings.Split(sample(t, name), "\n") {
			if strings.HasPrefix(line, "[") {
				table = line
			}
			key, _, found := strings.Cut(line, " = ")
			if found && !strings.HasPrefix(line, "#") && !seen[table+key] {
				seen[table+key] = true
				if !strings.HasPrefix(before, "# ") {
					t.Errorf("%s: %s%s is not explained", name, table, key)
				}
			}
			before = line
		}
	}
}
