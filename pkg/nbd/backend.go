package nbd

import (
	"context"
	"io"

	"github.com/pojntfx/go-nbd/pkg/backend"
)

// Backend shows d to users of the go-nbd module. All its calls run under ctx.
func Backend(ctx context.Context, d Device) backend.Backend {
	return &adapter{ctx: ctx, device: d}
}

// adapter keeps a context because go-nbd's interface has no place for one.
type adapter struct {
	ctx    context.Context
	device Device
}

// ReadAt reads up to the end of the device, where it returns io.EOF.
func (a *adapter) ReadAt(p []byte, off int64) (int, error) {
	n, err := a.clip(p, off)
	if err != nil {
		return 0, err
	}
	if err := a.read(p[:n], off); err != nil {
		return 0, err
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (a *adapter) read(p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	return a.device.ReadAt(a.ctx, p, off)
}

// WriteAt writes all of p, or nothing where p exceeds the device.
func (a *adapter) WriteAt(p []byte, off int64) (int, error) {
	n, err := a.clip(p, off)
	if err != nil {
		return 0, err
	}
	if n < len(p) {
		return 0, ErrNoSpace
	}
	if n == 0 {
		return 0, nil
	}
	if err := a.device.WriteAt(a.ctx, p, off); err != nil {
		return 0, err
	}
	return n, nil
}

// clip returns how much of p lies within the device.
func (a *adapter) clip(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, ErrInvalid
	}
	return int(min(int64(len(p)), max(a.device.Size()-off, 0))), nil
}

func (a *adapter) Size() (int64, error) { return a.device.Size(), nil }

func (a *adapter) Sync() error { return a.device.Flush(a.ctx) }
