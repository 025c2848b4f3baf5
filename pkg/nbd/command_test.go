package nbd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// eachMode runs f with a client in each way to reply.
func eachMode(t *testing.T, addr string, f func(t *testing.T, c *client)) {
	t.Helper()
	for _, m := range modes {
		t.Run(string(m), func(t *testing.T) { f(t, connected(t, addr, m)) })
	}
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>9) ^ byte(i)
	}
	return b
}

func TestReadAndWrite(t *testing.T) {
	device := newFullDevice(16 << 20)
	addr := serve(t, Options{Exports: exporting(device)})
	eachMode(t, addr, func(t *testing.T, c *client) {
		for i, n := range []int{1, 511, 4096, 65537, 5 << 20} {
			off := uint64(4<<20 - 3*i)
			data := pattern(n)
			data[0] = byte(i + len(c.t.Name()))
			c.must(writeOf(off, data, 0))
			got := c.must(command{kind: cmdRead, cookie: math.MaxUint64, offset: off, length: uint64(n)})
			if !bytes.Equal(got, data) {
				t.Errorf("%d bytes at %d differ", n, off)
			}
		}
		c.disconnect()
	})
}

// TestReadInPieces: without DF a long read comes in pieces, with it in one.
func TestReadInPieces(t *testing.T) {
	device := newFullDevice(16 << 20)
	addr := serve(t, Options{Exports: exporting(device)})
	c := connected(t, addr, structured)
	for flags, want := range map[uint16]int{0: 3, cmdFlagDF: 1} {
		c.send(command{kind: cmdRead, flags: flags, offset: readChunk - 512, length: readChunk + 1024})
		chunks := 1
		for ; !c.receive(0).done; chunks++ {
		}
		if chunks != want {
			t.Errorf("flags %d: %d chunks, want %d", flags, chunks, want)
		}
	}
}

// TestErrorAfterPieces: the pieces that were read are followed by the error.
func TestErrorAfterPieces(t *testing.T) {
	device := newFullDevice(16 << 20)
	device.block = func(_ context.Context, off int64) error {
		if off >= 2*readChunk {
			return errors.New("broken here")
		}
		return nil
	}
	addr := serve(t, Options{Exports: exporting(device)})
	for _, m := range modes[1:] {
		c := connected(t, addr, m)
		if code, _ := c.ask(command{kind: cmdRead, length: 3 * readChunk}); code != errnoEIO {
			t.Errorf("%s: error %d", m, code)
		}
		c.alive()
	}
}

// mistake is a request in some modes, and the error that it gets.
type mistake struct {
	name  string
	modes []mode
	q     command
	want  uint32
}

const (
	mistakesSize = 1 << 20
	einval       = 22
	enospc       = 28
)

// TestErrors is the table of which mistake gets which error.
func TestErrors(t *testing.T) {
	rows := slices.Concat(rangeMistakes(), lengthMistakes(), flagMistakes(), otherMistakes())
	addr := serve(t, Options{Exports: exporting(newFullDevice(mistakesSize))})
	for _, m := range modes {
		c := connected(t, addr, m)
		for i, r := range rows {
			if !slices.Contains(r.modes, m) {
				continue
			}
			r.q.cookie = uint64(i)<<32 | 0x9abcdef0
			c.send(r.q)
			n := 0
			if r.q.kind == cmdRead {
				n = int(min(r.q.length, mistakesSize))
			}
			if code, _ := c.collect(r.q, n); code != r.want {
				t.Errorf("%s: %s: error %d, want %d", m, r.name, code, r.want)
			}
		}
		c.alive()
	}
}

// rangeErrors are the commands with a range, and the error for a bad one.
var rangeErrors = map[uint16]uint32{
	cmdRead: einval, cmdWrite: enospc, cmdTrim: einval, cmdWriteZeroes: enospc,
	cmdCache: einval, cmdBlockStatus: einval,
}

// rangeMistakes begin or end past the end, also where the sum wraps.
func rangeMistakes() (rows []mistake) {
	for _, off := range []uint64{mistakesSize - 511, mistakesSize, mistakesSize + 1,
		1 << 62, 1 << 63, math.MaxUint64 - 4095, math.MaxUint64 - 511} {
		for kind, want := range rangeErrors {
			q := command{kind: kind, offset: off, length: 512}
			if kind == cmdWrite {
				q = writeOf(off, make([]byte, 512), 0)
			}
			rows = append(rows, mistake{fmt.Sprintf("command %d at %d", kind, off), modes, q, want})
		}
	}
	return rows
}

// lengthMistakes need the 64 bits of extended headers.
func lengthMistakes() (rows []mistake) {
	for _, length := range []uint64{1 << 33, 1 << 63, math.MaxUint64} {
		for kind, want := range rangeErrors {
			if kind != cmdWrite {
				rows = append(rows, mistake{fmt.Sprintf("command %d of %d", kind, length),
					[]mode{extended}, command{kind: kind, offset: 512, length: length}, want})
			}
		}
	}
	return rows
}

// flagMistakes are each flag with each command, those that fit included.
func flagMistakes() (rows []mistake) {
	fit := map[uint16]uint16{
		cmdRead: cmdFlagFUA | cmdFlagDF, cmdWrite: cmdFlagFUA, cmdFlush: cmdFlagFUA,
		cmdTrim: cmdFlagFUA, cmdCache: cmdFlagFUA, cmdBlockStatus: cmdFlagFUA | cmdFlagReqOne,
		cmdWriteZeroes: cmdFlagFUA | cmdFlagNoHole | cmdFlagFastZero,
	}
	for kind, flags := range fit {
		for bit := range 16 {
			q := command{kind: kind, flags: 1 << bit, length: 512}
			if kind == cmdWrite {
				q.payload = make([]byte, 512)
			}
			row := mistake{fmt.Sprintf("command %d with flag %d", kind, bit), modes, q, einval}
			if flags&q.flags != 0 {
				row.want = 0
			}
			if kind == cmdBlockStatus || q.flags == cmdFlagDF || q.flags == cmdFlagPayloadLen {
				row.modes = []mode{structured}
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func otherMistakes() (rows []mistake) {
	for _, kind := range []uint16{8, 9, 77, 0xffff} {
		// RESIZE and the unknown have no payload, whatever their length says.
		q := command{kind: kind, length: 4096}
		rows = append(rows, mistake{fmt.Sprint("command ", kind), modes, q, einval})
	}
	for kind := range rangeErrors {
		row := mistake{fmt.Sprintf("command %d of length 0", kind), modes,
			command{kind: kind, offset: 5}, 0}
		if kind == cmdBlockStatus {
			row.want = einval
		}
		rows = append(rows, row)
		if kind != cmdWrite { // the flag says that a payload follows
			q := command{kind: kind, flags: cmdFlagPayloadLen, length: 512, payload: make([]byte, 512)}
			rows = append(rows, mistake{fmt.Sprintf("command %d with payload", kind),
				[]mode{extended}, q, einval})
		}
	}
	all := command{kind: cmdFlush, offset: math.MaxUint64, length: math.MaxUint32}
	return append(rows,
		mistake{"DF", []mode{simple}, command{kind: cmdRead, flags: cmdFlagDF, length: 512}, einval},
		mistake{"status", []mode{simple}, command{kind: cmdBlockStatus, length: 512}, einval},
		mistake{"unaligned", modes, writeOf(7, make([]byte, 512), 0), 0},
		mistake{"to the end", modes, writeOf(mistakesSize-512, make([]byte, 512), 0), 0},
		mistake{"empty at the end", modes, command{kind: cmdRead, offset: mistakesSize}, 0},
		mistake{"flush with a range", modes, all, 0})
}

func TestReadOnlyExport(t *testing.T) {
	for name, device := range map[string]Device{"full": newFullDevice(4096), "plain": newPlainDevice(4096)} {
		t.Run(name, func(t *testing.T) {
			addr := serve(t, Options{Exports: exporting(device), ReadOnly: true})
			eachMode(t, addr, func(t *testing.T, c *client) {
				for _, q := range []command{
					writeOf(0, make([]byte, 512), 0), writeOf(4096, make([]byte, 512), 0),
					{kind: cmdTrim, length: 512}, {kind: cmdWriteZeroes, length: 512},
				} {
					if code, _ := c.ask(q); code != 1 {
						t.Errorf("command %d: error %d", q.kind, code)
					}
				}
				c.must(command{kind: cmdRead, length: 512})
				c.alive()
			})
		})
	}
}

// TestUnadvertisedCommands: what a device cannot do is refused, CACHE is not.
func TestUnadvertisedCommands(t *testing.T) {
	addr := serve(t, Options{Exports: exporting(newPlainDevice(4096))})
	eachMode(t, addr, func(t *testing.T, c *client) {
		for _, kind := range []uint16{cmdTrim, cmdWriteZeroes} {
			if code, _ := c.ask(command{kind: kind, length: 512}); code != 22 {
				t.Errorf("command %d: error %d", kind, code)
			}
		}
		c.must(command{kind: cmdCache, length: 512})
	})
}

func TestDeviceErrors(t *testing.T) {
	device := newFullDevice(4096)
	addr := serve(t, Options{Exports: exporting(device)})
	for want, errs := range map[uint32][]error{
		1:  {ErrReadOnly},
		5:  {errors.New("node away"), context.DeadlineExceeded, syscall.ENOMEM, syscall.EOVERFLOW, syscall.ENOTSUP},
		22: {ErrInvalid},
		28: {ErrNoSpace, syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, fmt.Errorf("block 7: %w", ErrNoSpace)},
		// Texts that are no legal texts.
		108: {ErrShutdown, fmt.Errorf("%s\xff%w", strings.Repeat("ü", 3000), ErrShutdown)},
	} {
		for _, err := range errs {
			device.setFail(err)
			eachMode(t, addr, func(t *testing.T, c *client) {
				for _, q := range []command{
					{kind: cmdRead, length: 512}, writeOf(0, make([]byte, 512), 0), {kind: cmdFlush},
					{kind: cmdTrim, length: 512}, {kind: cmdWriteZeroes, length: 512},
					{kind: cmdCache, length: 512}, {kind: cmdBlockStatus, length: 512},
				} {
					if q.kind == cmdBlockStatus && !c.structured {
						continue
					}
					if code, _ := c.ask(q); code != want {
						t.Errorf("%v: command %d: error %d, want %d", err, q.kind, code, want)
					}
				}
			})
		}
	}
}

func TestGoneDeviceIsNotAnswered(t *testing.T) {
	device := newFullDevice(4096)
	addr := serve(t, Options{Exports: exporting(device)})
	for _, m := range modes {
		for _, q := range []command{
			{kind: cmdRead, length: 512}, writeOf(0, make([]byte, 512), cmdFlagFUA), {kind: cmdFlush},
		} {
			idle, c := connected(t, addr, m), connected(t, addr, m)
			device.setFail(fmt.Errorf("a successor has it: %w", ErrGone))
			c.send(q)
			c.closed()
			device.setFail(nil)
			idle.alive()
		}
	}
}

func TestCommandsReachTheDevice(t *testing.T) {
	for _, tc := range []struct {
		q    command
		want []string
	}{
		{writeOf(512, make([]byte, 1024), 0), []string{"write 512+1024"}},
		{writeOf(512, make([]byte, 1024), cmdFlagFUA), []string{"write 512+1024", "flush"}},
		{command{kind: cmdTrim, offset: 3, length: 600}, []string{"trim 3+600"}},
		{command{kind: cmdTrim, flags: cmdFlagFUA, length: 600}, []string{"trim 0+600", "flush"}},
		{command{kind: cmdWriteZeroes, length: 9}, []string{"zero 0+9 provision=false"}},
		{command{kind: cmdWriteZeroes, flags: cmdFlagNoHole | cmdFlagFUA, length: 9},
			[]string{"zero 0+9 provision=true", "flush"}},
		{command{kind: cmdWriteZeroes, flags: cmdFlagFastZero, length: 9}, []string{"zero 0+9 provision=false"}},
		{command{kind: cmdCache, flags: cmdFlagFUA, length: 9}, []string{"cache 0+9"}},
		{command{kind: cmdFlush, flags: cmdFlagFUA}, []string{"flush"}},
		{command{kind: cmdRead, flags: cmdFlagFUA, length: 9}, []string{"read 0+9"}},
		{command{kind: cmdWrite, flags: cmdFlagFUA}, []string{"flush"}},
		{command{kind: cmdTrim}, nil},
	} {
		device := newFullDevice(4096)
		addr := serve(t, Options{Exports: exporting(device)})
		c := connected(t, addr, simple)
		c.must(tc.q)
		if got := device.asked(); !slices.Equal(got, tc.want) {
			t.Errorf("command %d, flags %d: asked %q, want %q", tc.q.kind, tc.q.flags, got, tc.want)
		}
	}
}

// TestFastZero: what is not fast is refused at once, and nothing is changed;
// without the flag it is done.
func TestFastZero(t *testing.T) {
	device := newFullDevice(4096)
	device.slow = true
	copy(device.data, "data")
	addr := serve(t, Options{Exports: exporting(device)})
	eachMode(t, addr, func(t *testing.T, c *client) {
		if code, _ := c.ask(command{kind: cmdWriteZeroes, flags: cmdFlagFastZero, length: 512}); code != 95 {
			t.Errorf("error %d", code)
		}
		if got := c.must(command{kind: cmdRead, length: 4}); string(got) != "data" {
			t.Errorf("data became %q", got)
		}
	})
	connected(t, addr, simple).must(command{kind: cmdWriteZeroes, length: 512})
}

// TestLongRanges: lengths that no buffer could have go through as they are.
func TestLongRanges(t *testing.T) {
	const most32 = 1<<32 - 512
	for m, lengths := range map[mode][]uint64{
		simple: {most32}, structured: {most32}, extended: {most32, 1 << 45, hugeSize},
	} {
		device := newHugeDevice()
		addr := serve(t, Options{Exports: exporting(device)})
		c := connected(t, addr, m)
		for _, n := range lengths {
			c.must(command{kind: cmdTrim, length: n})
			c.must(command{kind: cmdWriteZeroes, length: n})
			c.must(command{kind: cmdCache, length: n})
			if m != simple {
				c.must(command{kind: cmdBlockStatus, length: n})
			}
			c.send(command{kind: cmdRead, length: n})
			if code, _ := c.collect(command{}, 0); code != 75 {
				t.Errorf("%s: reading %d bytes: error %d", m, n, code)
			}
			if got := device.asked(); got[0] != fmt.Sprintf("trim 0+%d", n) {
				t.Errorf("asked %q", got)
			}
			device.calls = nil
		}
	}
}

// extent32 and extent64 are descriptors as they are on the wire.
func extent32(n, state uint32) []byte { return be.AppendUint32(be.AppendUint32(nil, n), state) }

func extent64(n, state uint64) []byte { return be.AppendUint64(be.AppendUint64(nil, n), state) }

func TestBlockStatus(t *testing.T) {
	many := make([]Extent, 3*maxExtents)
	for i := range many {
		many[i] = Extent{Length: 1, Zero: i%2 == 0}
	}
	for name, tc := range map[string]struct {
		extents []Extent
		flags   uint16
		length  uint64
		want    []Extent
		code    uint32
	}{
		"data":       {nil, 0, 4096, []Extent{{4096, false}}, 0},
		"mixed":      {[]Extent{{1024, true}, {512, false}, {512, true}}, 0, 2048, []Extent{{1024, true}, {512, false}, {512, true}}, 0},
		"merged":     {[]Extent{{512, true}, {512, true}, {512, false}, {512, false}}, 0, 4096, []Extent{{1024, true}, {1024, false}}, 0},
		"prefix":     {[]Extent{{512, true}}, 0, 4096, []Extent{{512, true}}, 0},
		"clipped":    {[]Extent{{512, true}, {1 << 40, false}, {512, true}}, 0, 4096, []Extent{{512, true}, {3584, false}}, 0},
		"empty ones": {[]Extent{{0, true}, {512, false}, {0, true}, {-5, true}, {512, false}}, 0, 4096, []Extent{{1024, false}}, 0},
		"one":        {[]Extent{{512, true}, {512, false}}, cmdFlagReqOne, 4096, []Extent{{512, true}}, 0},
		"one merged": {[]Extent{{512, true}, {512, true}, {512, false}}, cmdFlagReqOne, 4096, []Extent{{1024, true}}, 0},
		"none":       {[]Extent{}, 0, 4096, nil, 5},
		"many":       {many, 0, 3 * maxExtents, many[:maxExtents], 0},
	} {
		t.Run(name, func(t *testing.T) {
			device := newFullDevice(1 << 20)
			device.extents = tc.extents
			addr := serve(t, Options{Exports: exporting(device)})
			for _, m := range modes[1:] {
				c := connected(t, addr, m)
				c.send(command{kind: cmdBlockStatus, flags: tc.flags, offset: 512, length: tc.length})
				r := c.receive(0)
				if r.code != tc.code || !r.done {
					t.Fatalf("%s: %+v", m, r)
				}
				if tc.code == 0 {
					checkStatus(t, m, r, tc.want)
				}
			}
		})
	}
}

func checkStatus(t *testing.T, m mode, r chunkReply, want []Extent) {
	t.Helper()
	kind, payload := chunkBlockStatus, be.AppendUint32(nil, contextAllocationID)
	if m == extended {
		kind, payload = chunkBlockStatusExt, be.AppendUint32(payload, uint32(len(want)))
	}
	for _, e := range want {
		state := uint32(0)
		if e.Zero {
			state = 3
		}
		if m == extended {
			payload = append(payload, extent64(uint64(e.Length), uint64(state))...)
		} else {
			payload = append(payload, extent32(uint32(e.Length), state)...)
		}
	}
	if r.kind != kind || !bytes.Equal(r.payload, payload) {
		t.Errorf("%s: chunk %d %x, want %d %x", m, r.kind, r.payload, kind, payload)
	}
}

// TestNoMapperIsAllData: base:allocation of a device that knows nothing.
func TestNoMapperIsAllData(t *testing.T) {
	addr := serve(t, Options{Exports: exporting(newPlainDevice(4096))})
	c := connected(t, addr, extended)
	c.send(command{kind: cmdBlockStatus, length: 4096})
	checkStatus(t, extended, c.receive(0), []Extent{{4096, false}})
}

// TestEmptyRead: no data chunk may be empty.
func TestEmptyRead(t *testing.T) {
	addr := serve(t, Options{Exports: exporting(newPlainDevice(4096))})
	c := connected(t, addr, structured)
	c.send(command{kind: cmdRead})
	if r := c.receive(0); r.kind != chunkNone || !r.done {
		t.Errorf("reply %+v", r)
	}
}

func TestBackend(t *testing.T) {
	device := newPlainDevice(4096)
	b := Backend(t.Context(), device)
	if size, err := b.Size(); size != 4096 || err != nil {
		t.Errorf("size %d, %v", size, err)
	}
	if n, err := b.WriteAt([]byte("data"), 4092); n != 4 || err != nil {
		t.Errorf("write: %d, %v", n, err)
	}
	for _, tc := range []struct {
		off, size int64
		n         int
		err       error
	}{{4092, 4, 4, nil}, {4092, 8, 4, io.EOF}, {4096, 1, 0, io.EOF}, {9999, 1, 0, io.EOF},
		{-1, 1, 0, ErrInvalid}, {4096, 0, 0, nil}} {
		p := make([]byte, tc.size)
		if n, err := b.ReadAt(p, tc.off); n != tc.n || err != tc.err {
			t.Errorf("read of %d at %d: %d, %v", tc.size, tc.off, n, err)
		}
		if tc.n == 4 && string(p[:4]) != "data" {
			t.Errorf("read %q", p)
		}
	}
	for _, off := range []int64{4093, 4096, 1 << 62} {
		if n, err := b.WriteAt([]byte("data"), off); n != 0 || !errors.Is(err, ErrNoSpace) {
			t.Errorf("write at %d: %d, %v", off, n, err)
		}
	}
	if err := b.Sync(); err != nil || string(device.durable[4092:]) != "data" {
		t.Errorf("sync: %v", err)
	}
	device.setFail(ErrReadOnly)
	if _, err := b.WriteAt([]byte{1}, 0); !errors.Is(err, ErrReadOnly) {
		t.Errorf("failing write: %v", err)
	}
	if _, err := b.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrReadOnly) {
		t.Errorf("failing read: %v", err)
	}
}
