package chunkrpc

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
)

// What TCP connections say besides the frames; doc.go draws it.
const (
	joinMagic = "rzbt"
	joinSize  = 21

	noteAlive   byte = 0
	noteParting byte = 1
)

// connectionID names a connection over TCP, for as long as it lives.
type connectionID [16]byte

func newConnectionID() (id connectionID) {
	rand.Read(id[:])
	return id
}

// join is how each TCP connection begins: it is the lifeline, number 0, of a
// new connection, or a stream of one that is there.
type join struct {
	number byte
	id     connectionID
}

func (j join) append(b []byte) []byte {
	b = append(b, joinMagic...)
	b = append(b, j.number)
	return append(b, j.id[:]...)
}

func readJoin(r io.Reader) (join, error) {
	var b [joinSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return join{}, fmt.Errorf("no join: %w", err)
	}
	if string(b[:4]) != joinMagic || b[4] > maxStreams {
		return join{}, fmt.Errorf("%w join %x", errMalformed, b)
	}
	return join{number: b[4], id: connectionID(b[5:])}, nil
}

// farewell is why one end has closed a connection over TCP.
type farewell struct {
	why  closure
	text string
}

func (f *farewell) Error() string { return "connection closed: " + f.text }

// appendParting lays out the last note.
func appendParting(b []byte, why closure, text string) []byte {
	b = append(b, noteParting, byte(why))
	b = be.AppendUint16(b, uint16(len(text)))
	return append(b, text...)
}

// readNote returns nil if the peer is alive, else why it is not: a *farewell
// if it has said so.
func readNote(r io.Reader) error {
	var b [4]byte
	_, err := io.ReadFull(r, b[:1])
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSilent
	case err != nil:
		return fmt.Errorf("%w: %w", errGone, err)
	case b[0] == noteAlive:
		return nil
	}
	if _, err := io.ReadFull(r, b[1:]); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	length := int(be.Uint16(b[2:]))
	if b[0] != noteParting || length > maxText {
		return fmt.Errorf("%w note %x", errMalformed, b)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(r, text); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return &farewell{closure(b[1]), errorText(errors.New(string(text)), maxText)}
}
