package nbd

import (
	"context"
	"errors"
	"syscall"

	"github.com/pojntfx/go-nbd/pkg/protocol"
)

// The errors with which a Device chooses what its client is told. Any other
// error is EIO.
var (
	// ErrNoSpace means that there is no room for the data.
	ErrNoSpace = errors.New("no space left")

	// ErrReadOnly means that the device takes no changes now.
	ErrReadOnly = errors.New("read-only")

	// ErrInvalid means that the request makes no sense to the device.
	ErrInvalid = errors.New("invalid request")

	// ErrShutdown means that the device is being closed.
	ErrShutdown = errors.New("shutting down")

	// ErrGone means that this device will never answer again, but another one
	// may, in another place. The connection ends without a reply, as if the
	// machine had died: a client that can connect anew sends its requests
	// there, where an error would have been final.
	ErrGone = errors.New("served elsewhere")
)

// Refusals that only the protocol layer may send: the text says which client
// mistake it was, the wrapped error says which code.
var (
	errOverflow     = errors.New("request is too long")
	errNotSupported = errors.New("zeroing here is not fast")
	errLate         = errors.New("request waited too long to be started")
)

// Error codes of the protocol that go-nbd does not name.
const (
	errnoEIO       = uint32(5)
	errnoENOSPC    = uint32(28)
	errnoEOVERFLOW = uint32(75)
	errnoENOTSUP   = uint32(95)
	errnoESHUTDOWN = uint32(108)
)

// wireErrors maps errors to codes; the first that matches is sent.
var wireErrors = [...]struct {
	err  error
	code uint32
}{
	{ErrNoSpace, errnoENOSPC},
	{syscall.ENOSPC, errnoENOSPC},
	{syscall.EDQUOT, errnoENOSPC},
	{syscall.EFBIG, errnoENOSPC},
	{ErrReadOnly, protocol.TRANSMISSION_ERROR_EPERM},
	{ErrInvalid, protocol.TRANSMISSION_ERROR_EINVAL},
	{errOverflow, errnoEOVERFLOW},
	{errNotSupported, errnoENOTSUP},
	{ErrShutdown, errnoESHUTDOWN},
	{ErrGone, errnoESHUTDOWN}, // nobody receives it
	// A connection's context ends when the client is gone, and nobody reads
	// the reply, or when the server gives up what is outstanding.
	{context.Canceled, errnoESHUTDOWN},
}

// wireError is the one place where an error becomes a code; nil is 0.
func wireError(err error) uint32 {
	if err == nil {
		return 0
	}
	for _, e := range wireErrors {
		if errors.Is(err, e.err) {
			return e.code
		}
	}
	return errnoEIO
}
