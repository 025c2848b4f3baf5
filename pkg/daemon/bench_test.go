package daemon

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"rozobox/pkg/nbd/attach"
)

// load is a client that keeps depth requests of one kind and size under way.
type load struct {
	name    string
	command uint16
	size    int
	depth   int
	random  bool
}

const benchmarkSize = 64 * mib // of the volume

// BenchmarkCluster is the whole way of a request, both ends of all connections
// in one process: NBD, volume, stripes, QUIC, and eight cards in TMPDIR.
func BenchmarkCluster(b *testing.B) {
	info, _ := startDemoWith(b, DemoOptions{Dir: b.TempDir(), Size: benchmarkSize})
	conn, _, err := attach.Dial(b.Context(), info.NBD.String(), demoName)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	fill := load{"fill", nbdWrite, mib, 16, false}
	if err := fill.run(conn, benchmarkSize/mib); err != nil {
		b.Fatal(err)
	}
	for _, l := range []load{
		{"seq-write-1MiB-q16", nbdWrite, mib, 16, false},
		{"seq-read-1MiB-q16", nbdRead, mib, 16, false},
		{"rand-write-4KiB-q32", nbdWrite, 4 << 10, 32, true},
		{"rand-read-4KiB-q32", nbdRead, 4 << 10, 32, true},
		{"rand-read-4KiB-q1", nbdRead, 4 << 10, 1, true},
	} {
		b.Run(l.name, func(b *testing.B) {
			b.SetBytes(int64(l.size))
			b.ReportAllocs()
			began := cpuTime()
			if err := l.run(conn, b.N); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64((cpuTime()-began).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// cpuTime is what this process has used: it says more than the wall clock where
// others use the machine too.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// run makes n requests, and waits for all replies.
func (l load) run(conn io.ReadWriter, n int) error {
	r, w := bufio.NewReaderSize(conn, 256<<10), bufio.NewWriterSize(conn, 64<<10)
	payload := random(1, l.size)
	for sent, got := 0, 0; got < n; got++ {
		for ; sent < min(n, got+l.depth); sent++ {
			l.send(w, sent, payload)
		}
		if r.Buffered() == 0 {
			w.Flush() // an error shows where the reply is missing
		}
		if err := l.receive(r); err != nil {
			return err
		}
	}
	return nil
}

func (l load) send(w io.Writer, i int, payload []byte) {
	at := i % (benchmarkSize / l.size)
	if l.random {
		at = rand.IntN(benchmarkSize / l.size)
	}
	w.Write(requestHeader(l.command, at*l.size, l.size))
	if l.command == nbdWrite {
		w.Write(payload)
	}
}

func (l load) receive(r *bufio.Reader) error {
	header, err := r.Peek(16)
	if err != nil {
		return err
	}
	if code := binary.BigEndian.Uint32(header[4:]); code != 0 {
		return fmt.Errorf("%s: NBD error %d", l.name, code)
	}
	n := len(header)
	if l.command == nbdRead {
		n += l.size
	}
	_, err = r.Discard(n)
	return err
}
