package film

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"time"
)

var errEmpty = errors.New("want a file that is not empty")

// longest bounds what a file may claim to last: beyond a week it is a mistake.
const longest = 7 * 24 * time.Hour

// duration returns how long the film in a file lasts, or 0 where that is not
// known: it reads MP4 (and MOV) and Matroska (and WebM).
func duration(r io.ReaderAt, size int64) time.Duration {
	seconds := mp4Seconds(r, size)
	if seconds == 0 {
		seconds = matroskaSeconds(r, size)
	}
	if !(seconds > 0 && seconds < longest.Seconds()) {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// maxBoxes bounds the boxes that are looked at on the way: a fragmented film
// has a few thousand, and its header first.
const maxBoxes = 4096

// mp4Seconds finds moov/mvhd, the movie's header.
func mp4Seconds(r io.ReaderAt, size int64) float64 {
	at, end := int64(0), size
	for range maxBoxes {
		var head [16]byte
		if at >= end || !readAt(r, head[:8], at) {
			return 0
		}
		length, body := int64(binary.BigEndian.Uint32(head[:])), at+8
		if length == 1 {
			if !readAt(r, head[8:], at+8) {
				return 0
			}
			length, body = int64(binary.BigEndian.Uint64(head[8:])&math.MaxInt64), at+16
		}
		next := at + length
		if length == 0 {
			next = end // to the end of the file
		}
		if next <= at || next > end || next < body {
			return 0
		}
		switch string(head[4:8]) {
		case "mvhd":
			return mvhdSeconds(r, body)
		case "moov":
			at, end = body, next
		default:
			at = next
		}
	}
	return 0
}

// mvhdSeconds reads version and flags, two dates, ticks a second, and ticks.
func mvhdSeconds(r io.ReaderAt, at int64) float64 {
	var b [32]byte
	if !readAt(r, b[:], at) {
		return 0
	}
	if b[0] == 1 { // the dates and the duration have 64 bits
		return float64(binary.BigEndian.Uint64(b[24:])) / float64(binary.BigEndian.Uint32(b[20:]))
	}
	return float64(binary.BigEndian.Uint32(b[16:])) / float64(binary.BigEndian.Uint32(b[12:]))
}

// The elements of Matroska on the way to the duration.
const (
	ebmlHeader    = 0x1a45dfa3
	segment       = 0x18538067
	segmentInfo   = 0x1549a966
	timestampUnit = 0x2ad7b1 // in nanoseconds
	ticks         = 0x4489

	usualUnit = 1e6
)

// matroskaSeconds finds Segment/Info/Duration.
func matroskaSeconds(r io.ReaderAt, size int64) float64 {
	at, unit, lasts := int64(0), float64(usualUnit), float64(0)
	for range maxBoxes {
		id, n1 := varint(r, at, true)
		length, n2 := varint(r, at+n1, false)
		if n1 == 0 || n2 == 0 || at == 0 && id != ebmlHeader {
			break
		}
		at += n1 + n2
		switch id {
		case segment, segmentInfo:
			continue // into it
		case timestampUnit:
			unit = number(r, at, length, false)
		case ticks:
			lasts = number(r, at, length, true)
		}
		if length < 0 || length > size-at {
			break
		}
		at += length
	}
	return lasts * unit / 1e9
}

// varint reads an identifier, which keeps its length bits, or a length. It
// returns how many bytes it has; 0 for none.
func varint(r io.ReaderAt, at int64, keep bool) (v, n int64) {
	var b [8]byte
	if !readAt(r, b[:1], at) || b[0] == 0 {
		return 0, 0
	}
	for n = 1; b[0]&(0x80>>(n-1)) == 0; n++ {
	}
	if !readAt(r, b[:n], at) {
		return 0, 0
	}
	if !keep {
		b[0] &= 0xff >> n
	}
	for _, next := range b[:n] {
		v = v<<8 | int64(next)
	}
	return v, n
}

// number reads a number of Matroska.
func number(r io.ReaderAt, at, length int64, real bool) float64 {
	var b [8]byte
	if length < 1 || length > 8 || !readAt(r, b[8-length:], at) {
		return 0
	}
	v := binary.BigEndian.Uint64(b[:])
	switch {
	case real && length == 4:
		return float64(math.Float32frombits(uint32(v)))
	case real:
		return math.Float64frombits(v)
	}
	return float64(v)
}

func readAt(r io.ReaderAt, p []byte, at int64) bool {
	n, _ := r.ReadAt(p, at)
	return n == len(p)
}
