package chunkrpc

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"rozobox/pkg/chunk"
)

// Why a server ends a connection, besides errMalformed.
var (
	errForbidden = errors.New("forbidden")
	errReplaced  = errors.New("replaced by a newer connection of the same client")
	errBusy      = errors.New("too many connections")
	errStopped   = errors.New("stopped")
)

// code is an error on the wire.
type code uint8

// codes maps the errors that a caller decides on. A code is never used again
// for another error.
var codes = [...]error{
	1: chunk.ErrDeposed,
	2: chunk.ErrNotGranted,
	3: chunk.ErrUnavailable,
	4: chunk.ErrNoSpace,
	5: chunk.ErrReadOnly,
	6: chunk.ErrSettled,
	7: chunk.ErrNameTaken,
	8: chunk.ErrUnknownVolume,
	9: chunk.ErrInvalid,

	10: chunk.ErrNoBase,
	11: chunk.ErrEmpty,
}

const codeUnavailable code = 3

// codeOf returns the code of a store's error. An error that is none of the
// contract's says nothing about the effect, and so it is ErrUnavailable.
func codeOf(err error) code {
	if err == nil {
		return 0
	}
	for c, sentinel := range codes {
		if sentinel != nil && errors.Is(err, sentinel) {
			return code(c)
		}
	}
	return codeUnavailable
}

// errorText is what crosses the wire beside the code.
func errorText(err error, limit int) string {
	text := strings.ToValidUTF8(err.Error(), "?")
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// remoteError is a store's error as it came over the wire: its text, and the
// sentinel to test for.
type remoteError struct {
	text     string
	sentinel error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.sentinel }

// decodeError returns the error that a code and a text stand for. A code from
// a newer peer is as good as no answer.
func decodeError(c code, text []byte) error {
	sentinel := chunk.ErrUnavailable
	if int(c) < len(codes) && codes[c] != nil {
		sentinel = codes[c]
	}
	clean := strings.ToValidUTF8(string(text), "?")
	if clean == "" {
		clean = sentinel.Error()
	}
	return &remoteError{text: clean, sentinel: sentinel}
}

// otherVersion says what it means where the peer does not speak alpn. For that alert
// of TLS neither transport has a name.
func otherVersion(err error) error {
	if !strings.Contains(err.Error(), "no application protocol") {
		return err
	}
	return fmt.Errorf("it does not speak %s: gateway and chunk servers must run the same version: %w", alpn, err)
}

// invalid is a caller's bug that is found before anything is sent.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", chunk.ErrInvalid, fmt.Sprintf(format, args...))
}

// closeCode says why a connection is closed.
func closeCode(cause error) closure {
	switch {
	case errors.Is(cause, errForbidden):
		return closeForbidden
	case errors.Is(cause, errMalformed):
		return closeProtocol
	case errors.Is(cause, errReplaced):
		return closeReplaced
	case errors.Is(cause, errBusy):
		return closeBusy
	}
	return closeNormal
}
