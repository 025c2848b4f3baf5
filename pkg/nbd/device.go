package nbd

import "context"

// Device is what the protocol needs of a block device. Its methods are called
// from many goroutines at once, with ranges that lie within Size. It owns p
// only until it returns. After ctx has ended it must return soon, and must not
// begin to change anything.
//
// One Device serves all connections of an export: what WriteAt did is visible
// to every ReadAt that begins after it returned, and Flush covers it whatever
// connection it came from. A Flush that failed has forgotten nothing.
type Device interface {
	// Size is the number of bytes. It may grow, and never shrinks.
	Size() int64
	// ReadAt fills all of p, or fails.
	ReadAt(ctx context.Context, p []byte, off int64) error
	WriteAt(ctx context.Context, p []byte, off int64) error
	// Flush returns once everything that returned before it began is durable.
	Flush(ctx context.Context) error
}

// Trimmer is a Device that can give up data. It may do less than it was asked,
// and never touches a byte outside the range.
type Trimmer interface {
	Trim(ctx context.Context, off, n int64) error
}

// Zeroer is a Device that writes zeroes without being sent them. provision
// asks that later writes there cannot fail for want of space.
type Zeroer interface {
	Zero(ctx context.Context, off, n int64, provision bool) error
}

// FastZeroer is a Zeroer that knows when Zero is much faster than WriteAt.
type FastZeroer interface {
	CanZeroFast(off, n int64, provision bool) bool
}

// Mapper is a Device that knows where it reads as zeroes.
type Mapper interface {
	// Extents describes a prefix of the range, at least its first byte.
	Extents(ctx context.Context, off, n int64) ([]Extent, error)
}

// Cacher is a Device that can fetch a range before it is read.
type Cacher interface {
	Cache(ctx context.Context, off, n int64) error
}

// BlockSizer is a Device that is fastest with requests of a certain size, a
// power of two.
type BlockSizer interface {
	PreferredBlockSize() int
}

// Describer is a Device with a text for people, shown by nbdinfo.
type Describer interface {
	Description() string
}

// Extent is a run of bytes. Zero means that it certainly reads as zeroes.
type Extent struct {
	Length int64
	Zero   bool
}

// Exports finds devices by name. The name "" asks for the default export.
type Exports interface {
	Export(name string) (Device, bool)
	Names() []string
}
