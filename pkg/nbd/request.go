package nbd

import (
	"fmt"
	"time"
)

// request is one command on its way through the server. It is passed by value;
// its payload and its cost have one owner, the one who holds the request.
type request struct {
	flags, kind    uint16
	cookie         uint64
	offset, length uint64

	arrived time.Time // less the time that the payload took
	payload *buffer   // of a WRITE
	cost    cost
}

// decodeRequest decodes a header of requestSize or extendedRequestSize bytes.
func decodeRequest(b []byte, extended bool) (request, error) {
	want := magicRequest
	if extended {
		want = magicExtendedRequest
	}
	if magic := be.Uint32(b); magic != want {
		return request{}, fmt.Errorf("bad request magic %#x", magic)
	}
	req := request{
		flags:  be.Uint16(b[4:]),
		kind:   be.Uint16(b[6:]),
		cookie: be.Uint64(b[8:]),
		offset: be.Uint64(b[16:]),
	}
	if extended {
		req.length = be.Uint64(b[24:])
	} else {
		req.length = uint64(be.Uint32(b[24:]))
	}
	return req, nil
}

// payloadSize is how many bytes follow the header. A WRITE has its payload
// even where a client forgot the flag that announces it.
func (r *request) payloadSize(extended bool) uint64 {
	if r.kind == cmdWrite || extended && r.flags&cmdFlagPayloadLen != 0 {
		return r.length
	}
	return 0
}

// budget is how many bytes of memory the request needs until it is answered.
func (r *request) budget() int64 {
	switch {
	case (r.kind == cmdRead || r.kind == cmdWrite) && r.length > 0:
		return requestOverhead + int64(bufferSize(int(r.length)))
	case r.kind == cmdBlockStatus:
		return requestOverhead + maxExtents*extentSize
	}
	return requestOverhead
}

// fua tells whether the command's effect must be durable before its reply.
// Commands that change nothing take the flag without effect.
func (r *request) fua() bool { return r.flags&cmdFlagFUA != 0 && r.changes() }

// changes tells whether the command changes the device's content.
func (r *request) changes() bool {
	return r.kind == cmdWrite || r.kind == cmdTrim || r.kind == cmdWriteZeroes
}

// validate returns nil when the request may be carried out, and it is then
// within the device and needs no more checks. It looks for the mistakes that
// tell most about the client first.
func (s *session) validate(r *request) error {
	e := s.export
	switch {
	case !e.supports(r.kind):
		return fmt.Errorf("%w: unknown command %d", ErrInvalid, r.kind)
	case r.flags&^s.allowedFlags(r.kind) != 0:
		return fmt.Errorf("%w: flags %#x of command %d", ErrInvalid, r.flags, r.kind)
	case r.changes() && e.readOnly:
		return fmt.Errorf("%w: export %q", ErrReadOnly, e.name)
	case r.kind == cmdFlush:
		return nil
	case r.kind == cmdBlockStatus && !s.allocation:
		return fmt.Errorf("%w: no metadata context is selected", ErrInvalid)
	case r.kind == cmdBlockStatus && r.length == 0:
		return fmt.Errorf("%w: status of nothing", ErrInvalid)
	}
	if size := uint64(e.device.Size()); r.offset > size || r.length > size-r.offset {
		return fmt.Errorf("%w: %d bytes at %d exceed the %d of the device",
			rangeError(r.kind), r.length, r.offset, size)
	}
	if r.kind == cmdRead && r.length > MaxPayload {
		return fmt.Errorf("%w: reading %d bytes", errOverflow, r.length)
	}
	return nil
}

// supports tells whether the export takes the command. CACHE is a hint that
// some clients send unasked, and a server may do nothing about it.
func (e *export) supports(kind uint16) bool {
	switch kind {
	case cmdRead, cmdWrite, cmdFlush, cmdCache, cmdBlockStatus:
		return true
	case cmdTrim:
		return e.trimmer != nil || e.readOnly
	case cmdWriteZeroes:
		return e.zeroer != nil || e.readOnly
	}
	return false
}

// allowedFlags are the flags that make sense with the command, after what was
// negotiated.
func (s *session) allowedFlags(kind uint16) uint16 {
	switch kind {
	case cmdRead:
		return cmdFlagFUA | flagIf(s.structured, cmdFlagDF)
	case cmdWrite:
		return cmdFlagFUA | flagIf(s.extended, cmdFlagPayloadLen)
	case cmdWriteZeroes:
		return cmdFlagFUA | cmdFlagNoHole | flagIf(s.export.fast != nil, cmdFlagFastZero)
	case cmdBlockStatus:
		return cmdFlagFUA | cmdFlagReqOne
	}
	return cmdFlagFUA
}

// rangeError is the error for a range that exceeds the device: to a writer it
// looks like a full disk.
func rangeError(kind uint16) error {
	if kind == cmdWrite || kind == cmdWriteZeroes {
		return ErrNoSpace
	}
	return ErrInvalid
}
