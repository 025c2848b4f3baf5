package nbd

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// These tests run other people's clients against the server, where they are
// installed.

// tool returns the path of a program, or skips the test. The system's folders
// go first: nbdsh needs the python3 that it was installed with.
func tool(t *testing.T, name string) string {
	t.Helper()
	t.Setenv("PATH", "/usr/bin:/usr/sbin:"+os.Getenv("PATH"))
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

// run runs a program and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), tool(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestNBDInfo(t *testing.T) {
	addr := serve(t, Options{Exports: exporting(newFullDevice(1 << 20))})
	var got struct {
		Protocol   string
		Structured bool
		Exports    []map[string]any
	}
	out := run(t, "nbdinfo", "--json", "nbd://"+addr+"/disk")
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got.Protocol != "newstyle-fixed" || !got.Structured || len(got.Exports) != 1 {
		t.Fatalf("%+v", got)
	}
	for key, want := range map[string]any{
		"export-name": "disk", "description": "a device for tests", "export-size": 1048576.0,
		"block_size_minimum": 1.0, "block_size_preferred": 131072.0, "block_size_maximum": 33554432.0,
		"can_cache": true, "can_df": true, "can_fast_zero": true, "can_flush": true, "can_fua": true,
		"can_multi_conn": true, "can_trim": true, "can_zero": true, "is_read_only": false,
		"is_rotational": false,
	} {
		if got.Exports[0][key] != want {
			t.Errorf("%s is %v, want %v", key, got.Exports[0][key], want)
		}
	}
	if out := run(t, "nbdinfo", "--list", "nbd://"+addr); !strings.Contains(out, `export="other"`) {
		t.Errorf("list:\n%s", out)
	}
}

func TestNBDInfoMap(t *testing.T) {
	device := newFullDevice(1 << 20)
	device.extents = []Extent{{Length: 65536, Zero: true}, {Length: 1 << 40}}
	addr := serve(t, Options{Exports: exporting(device)})
	out := run(t, "nbdinfo", "--map", "nbd://"+addr)
	if want := fmt.Sprintf("%10d %11d %4d  hole,zero\n", 0, 65536, 3); !strings.HasPrefix(out, want) {
		t.Errorf("map:\n%s", out)
	}
}

// TestNBDCopy copies in over several connections, and out again.
func TestNBDCopy(t *testing.T) {
	device := newFullDevice(16 << 20)
	addr := serve(t, Options{Exports: exporting(device)})
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	data := pattern(16 << 20)
	clear(data[4<<20 : 8<<20])
	if err := os.WriteFile(in, data, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "nbdcopy", "--connections=4", "--flush", in, "nbd://"+addr+"/disk")
	if _, durable := device.content(); !bytes.Equal(durable, data) {
		t.Error("what was copied in differs")
	}
	run(t, "nbdcopy", "--connections=4", "nbd://"+addr+"/disk", out)
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, data) {
		t.Errorf("what was copied out differs (%v)", err)
	}
}

func TestQemuIO(t *testing.T) {
	device := newFullDevice(16 << 20)
	addr := serve(t, Options{Exports: exporting(device)})
	out := run(t, "qemu-io", "-f", "raw", "-t", "writeback",
		"-c", "write -P 17 0 1M", "-c", "write -f -P 34 513k 7k", "-c", "write -z 2M 1M",
		"-c", "write -z -u 3M 64k", "-c", "discard 4M 1M", "-c", "read -P 17 0 513k",
		"-c", "read -P 34 513k 7k", "-c", "read -P 0 2M 1M", "-c", "aio_write -P 5 8M 4M",
		"-c", "aio_read -P 17 520k 500k", "-c", "aio_flush", "-c", "flush", "-c", "map",
		"nbd://"+addr+"/disk")
	if strings.Contains(out, "failed") || strings.Contains(out, "rror") {
		t.Errorf("qemu-io:\n%s", out)
	}
	calls := strings.Join(device.asked(), "\n")
	for _, want := range []string{"trim 4194304+1048576", "zero 2097152+1048576 provision=true",
		"zero 3145728+65536 provision=false", "write 525312+7168\nflush"} {
		if !strings.Contains(calls, want) {
			t.Errorf("the device was not asked for %q:\n%s", want, calls)
		}
	}
}

// nbdshScript checks, from libnbd's side, what the other clients never send.
const nbdshScript = `
import errno
h.set_strict_mode(0)
h.add_meta_context("base:allocation")
h.connect_uri(URI)
def refused(f, want):
    try:
        f()
    except nbd.Error as e:
        assert e.errnum == want, (e.errnum, want)
        return
    raise AssertionError("succeeded, want %d" % want)
size = h.get_size()
refused(lambda: h.pwrite(b"x" * 512, size), errno.ENOSPC)
refused(lambda: h.pread(512, size), errno.EINVAL)
refused(lambda: h.zero(512, size), errno.ENOSPC)
refused(lambda: h.trim(512, size), errno.EINVAL)
refused(lambda: h.cache(512, size), errno.EINVAL)
refused(lambda: h.flush(nbd.CMD_FLAG_NO_HOLE), errno.EINVAL)
refused(lambda: h.pread(512, 0, nbd.CMD_FLAG_REQ_ONE), errno.EINVAL)
h.pwrite(b"a" * 1000, 500, nbd.CMD_FLAG_FUA)
assert h.pread(1000, 500, nbd.CMD_FLAG_DF) == b"a" * 1000
h.zero(500, 700, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
assert h.pread(1000, 500) == b"a" * 200 + bytearray(500) + b"a" * 300
h.trim(size, 0, nbd.CMD_FLAG_FUA)
h.cache(size, 0)
seen = []
h.block_status(4096, 0, lambda c, o, e, err: seen.append((c, o, e)), nbd.CMD_FLAG_REQ_ONE)
assert seen == [("base:allocation", 0, [4096, 0])], seen
chunks = []
h.pread_structured(5 << 20, 0, lambda buf, off, kind, err: chunks.append((off, len(buf), kind)))
assert chunks == [(0, 4 << 20, nbd.READ_DATA), (4 << 20, 1 << 20, nbd.READ_DATA)], chunks
h.shutdown()
`

func TestNBDSh(t *testing.T) {
	device := newFullDevice(8 << 20)
	addr := serve(t, Options{Exports: exporting(device)})
	script := strings.ReplaceAll(nbdshScript, "URI", fmt.Sprintf("%q", "nbd://"+addr+"/disk"))
	run(t, "nbdsh", "-c", script)
}

// TestNBDInfoTLS gets in with its certificate, and not without TLS.
func TestNBDInfoTLS(t *testing.T) {
	a := newAuthority(t)
	addr := serve(t, Options{Exports: exporting(newFullDevice(1 << 20)), RequireTLS: true, TLS: &tls.Config{
		Certificates: []tls.Certificate{a.issue()}, ClientCAs: a.pool,
		ClientAuth: tls.RequireAndVerifyClientCert,
	}})
	_, port, _ := strings.Cut(addr, ":")
	uri := "localhost:" + port + "/disk?tls-certificates=" + a.write(a.issue())
	if got := strings.TrimSpace(run(t, "nbdinfo", "--size", "nbds://"+uri)); got != "1048576" {
		t.Errorf("size %s", got)
	}
	if out, err := exec.CommandContext(t.Context(), "nbdinfo", "--size", "nbd://"+addr).CombinedOutput(); err == nil {
		t.Errorf("without TLS: %s", out)
	}
}

func TestNBDClientList(t *testing.T) {
	addr := serve(t, Options{Exports: exporting(newFullDevice(1 << 20))})
	host, port, _ := strings.Cut(addr, ":")
	if out := run(t, "nbd-client", "-l", host, port); !strings.Contains(out, "disk") ||
		!strings.Contains(out, "other") {
		t.Errorf("list:\n%s", out)
	}
}
