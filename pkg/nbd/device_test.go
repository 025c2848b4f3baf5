package nbd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// plainDevice is a Device in memory without any optional ability. durable is
// what survives a power cut: what Flush has covered.
type plainDevice struct {
	mu      sync.Mutex // guards the rest
	data    []byte
	durable []byte
	calls   []string // what was asked, in order
	fail    error    // of every call, if not nil

	// block, if not nil, is called at the beginning of every ReadAt and
	// WriteAt, without mu.
	block func(ctx context.Context, off int64) error
}

func newPlainDevice(size int) *plainDevice {
	return &plainDevice{data: make([]byte, size), durable: make([]byte, size)}
}

func (d *plainDevice) Size() int64 { return int64(len(d.data)) }

func (d *plainDevice) enter(ctx context.Context, off int64) error {
	if d.block == nil {
		return ctx.Err()
	}
	return errors.Join(d.block(ctx, off), ctx.Err())
}

func (d *plainDevice) record(format string, args ...any) error {
	d.calls = append(d.calls, fmt.Sprintf(format, args...))
	return d.fail
}

func (d *plainDevice) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := d.enter(ctx, off); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(p, d.data[off:off+int64(len(p))])
	return d.record("read %d+%d", off, len(p))
}

func (d *plainDevice) WriteAt(ctx context.Context, p []byte, off int64) error {
	if err := d.enter(ctx, off); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.record("write %d+%d", off, len(p)); err != nil {
		return err
	}
	copy(d.data[off:off+int64(len(p))], p)
	return nil
}

func (d *plainDevice) Flush(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.record("flush"); err != nil {
		return err
	}
	copy(d.durable, d.data)
	return nil
}

// asked returns what was asked of the device so far.
func (d *plainDevice) asked() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

// content returns copies of what reads see and of what is durable.
func (d *plainDevice) content() (data, durable []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.Clone(d.data), bytes.Clone(d.durable)
}

func (d *plainDevice) setFail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = err
}

// fullDevice has every optional ability.
type fullDevice struct {
	*plainDevice
	extents []Extent // what Extents answers; nil for one extent of data
	slow    bool     // CanZeroFast says no
}

func newFullDevice(size int) *fullDevice { return &fullDevice{plainDevice: newPlainDevice(size)} }

func (d *fullDevice) Trim(_ context.Context, off, n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.record("trim %d+%d", off, n); err != nil {
		return err
	}
	clear(d.data[off : off+n])
	return nil
}

func (d *fullDevice) Zero(_ context.Context, off, n int64, provision bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.record("zero %d+%d provision=%t", off, n, provision); err != nil {
		return err
	}
	clear(d.data[off : off+n])
	return nil
}

func (d *fullDevice) CanZeroFast(int64, int64, bool) bool { return !d.slow }

func (d *fullDevice) Cache(_ context.Context, off, n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.record("cache %d+%d", off, n)
}

func (d *fullDevice) Extents(_ context.Context, off, n int64) ([]Extent, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.record("extents %d+%d", off, n); err != nil {
		return nil, err
	}
	if d.extents != nil {
		return slices.Clone(d.extents), nil
	}
	return []Extent{{Length: n}}, nil
}

func (d *fullDevice) PreferredBlockSize() int { return 128 << 10 }

func (d *fullDevice) Description() string { return "a device for tests" }

// hugeDevice has a size that no memory holds: it keeps no data, and leaves what
// is read as it is.
type hugeDevice struct{ *fullDevice }

const hugeSize = 1 << 50

func newHugeDevice() hugeDevice { return hugeDevice{newFullDevice(0)} }

func (d hugeDevice) Size() int64 { return hugeSize }

func (d hugeDevice) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := d.enter(ctx, off); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.record("read %d+%d", off, len(p))
}

func (d hugeDevice) WriteAt(_ context.Context, p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.record("write %d+%d %x...%x", off, len(p), p[0], p[len(p)-1])
}

func (d hugeDevice) Trim(_ context.Context, off, n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.record("trim %d+%d", off, n)
}

func (d hugeDevice) Zero(_ context.Context, off, n int64, _ bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.record("zero %d+%d", off, n)
}

// testExports are exports by name; the first is the default.
type testExports struct {
	names   []string
	devices map[string]Device
}

func (e testExports) Names() []string { return e.names }

func (e testExports) Export(name string) (Device, bool) {
	if name == "" && len(e.names) > 0 {
		name = e.names[0]
	}
	d, ok := e.devices[name]
	return d, ok
}

// exporting returns exports of d as "disk" and of an empty plain device as
// "other".
func exporting(d Device) testExports {
	return testExports{
		names:   []string{"disk", "other"},
		devices: map[string]Device{"disk": d, "other": newPlainDevice(4096)},
	}
}
