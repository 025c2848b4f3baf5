package stripe

import (
	"errors"

	"rozobox/pkg/chunk"
)

// The errors of this package, one for each decision that a caller makes.
var (
	// ErrDeposed means that another gateway has opened the volume. All I/O of
	// this Array fails with it from then on; close it.
	ErrDeposed = chunk.ErrDeposed

	// ErrNoSpace means that a holder has no room for the write. Nothing was
	// written.
	ErrNoSpace = chunk.ErrNoSpace

	// ErrTooFewNodes means that too few nodes answer, so that the request
	// waited until its context ended. It may succeed later. A write that
	// failed so may be applied, whole, but never after a later write.
	ErrTooFewNodes = errors.New("too few nodes answer")

	// ErrUnreadable means that fewer than k chunks of a block can be read from
	// the nodes that answer.
	ErrUnreadable = errors.New("too few intact chunks")

	// ErrNotFound means that no node knows the volume.
	ErrNotFound = errors.New("no such volume")

	// ErrExists means that a volume of this name exists.
	ErrExists = errors.New("a volume of this name exists")

	// ErrClosed means that the Array was closed.
	ErrClosed = errors.New("volume is closed")
)
