package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rozobox/pkg/nbd"
	"rozobox/pkg/stripe"
	"rozobox/pkg/volume"
)

// device is an open volume as NBD clients see it: the volume, with errors that
// the protocol has numbers for.
type device struct {
	volume *volume.Volume
	array  *stripe.Array
}

// What a device offers to clients.
var (
	_ nbd.Device     = (*device)(nil)
	_ nbd.Trimmer    = (*device)(nil)
	_ nbd.Zeroer     = (*device)(nil)
	_ nbd.FastZeroer = (*device)(nil)
	_ nbd.Mapper     = (*device)(nil)
	_ nbd.BlockSizer = (*device)(nil)
	_ nbd.Describer  = (*device)(nil)
)

func newDevice(array *stripe.Array, timeout time.Duration) *device {
	geo := array.Geometry()
	v := volume.New(array, volume.Options{Size: geo.Size, BlockSize: geo.BlockSize, Timeout: timeout})
	return &device{volume: v, array: array}
}

// wire gives an error the meaning that NBD clients are told. A volume that this
// array serves no more may be served by a successor, or soon again by this
// gateway: clients find out when they connect anew.
func wire(err error) error {
	switch {
	case errors.Is(err, stripe.ErrNoSpace):
		return fmt.Errorf("%w: %w", nbd.ErrNoSpace, err)
	case errors.Is(err, stripe.ErrDeposed), errors.Is(err, stripe.ErrClosed):
		return fmt.Errorf("%w: %w", nbd.ErrGone, err)
	}
	return err
}

// Size implements nbd.Device.
func (d *device) Size() int64 { return d.volume.Size() }

// ReadAt implements nbd.Device.
func (d *device) ReadAt(ctx context.Context, p []byte, off int64) error {
	return wire(d.volume.ReadAt(ctx, p, off))
}

// WriteAt implements nbd.Device.
func (d *device) WriteAt(ctx context.Context, p []byte, off int64) error {
	return wire(d.volume.WriteAt(ctx, p, off))
}

// Flush implements nbd.Device.
func (d *device) Flush(ctx context.Context) error { return wire(d.volume.Flush(ctx)) }

// Trim implements nbd.Trimmer.
func (d *device) Trim(ctx context.Context, off, n int64) error {
	return wire(d.volume.Trim(ctx, off, n))
}

// Zero implements nbd.Zeroer.
func (d *device) Zero(ctx context.Context, off, n int64, provision bool) error {
	return wire(d.volume.Zero(ctx, off, n, provision))
}

// CanZeroFast implements nbd.FastZeroer.
func (d *device) CanZeroFast(off, n int64, provision bool) bool {
	return d.volume.CanZeroFast(off, n, provision)
}

// Extents implements nbd.Mapper.
func (d *device) Extents(ctx context.Context, off, n int64) ([]nbd.Extent, error) {
	extents, err := d.volume.Extents(ctx, off, n)
	list := make([]nbd.Extent, len(extents))
	for i, e := range extents {
		list[i] = nbd.Extent{Length: e.Length, Zero: e.Zero}
	}
	return list, wire(err)
}

// PreferredBlockSize implements nbd.BlockSizer.
func (d *device) PreferredBlockSize() int { return d.volume.PreferredBlockSize() }

// Description implements nbd.Describer. `rozobox attach` reads the volume and
// the incarnation from it, to know after a restart what it is connected to.
func (d *device) Description() string {
	sb := d.array.Status().Superblock
	return fmt.Sprintf("Rozobox volume=%s incarnation=%d chunks=%d+%d block=%v",
		sb.Volume, sb.Incarnation, sb.Geometry.Data, sb.Geometry.Parity, Size(sb.Geometry.BlockSize))
}

// close flushes and ends the volume; connections that are still open end with
// their next request.
func (d *device) close(ctx context.Context) error {
	err := d.array.Close(ctx)
	d.volume.Close()
	return err
}
