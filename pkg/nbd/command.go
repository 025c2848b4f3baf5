package nbd

import (
	"context"
	"errors"
	"fmt"
)

const (
	// readChunk is the most that is read at once where the client takes data
	// in pieces: enough for the Device to use all that is behind it.
	readChunk = 4 << 20

	// maxExtents bounds one answer to BLOCK_STATUS; the client asks again for
	// the rest. extentSize is what one takes on the wire, at most.
	maxExtents = 8192
	extentSize = 16
)

var errNoExtents = errors.New("device described no extents")

// execute carries out a valid request and sends all its replies.
func (c *conn) execute(req *request) {
	switch req.kind {
	case cmdRead:
		c.read(req)
	case cmdBlockStatus:
		c.blockStatus(req)
	default:
		c.finish(req, c.change(req))
	}
}

// read sends what is at the request's range, in pieces where the client allows
// it. An error can be told after pieces, too; none says that it was the last
// before it has been read.
func (c *conn) read(req *request) {
	end := req.offset + req.length
	if req.length == 0 {
		c.finish(req, nil)
	}
	for off, next := req.offset, end; off < end; off = next {
		if next = end; c.structured && req.flags&cmdFlagDF == 0 {
			next = min(end, (off/readChunk+1)*readChunk)
		}
		data := c.server.buffers.get(int(next - off))
		if err := c.export.device.ReadAt(c.ctx, data.data, int64(off)); err != nil {
			c.server.buffers.put(data)
			c.finish(req, err)
			return
		}
		c.out.send(c.dataReply(req, off, data, next == end))
	}
}

// change carries out a command that returns no data.
func (c *conn) change(req *request) error {
	err := c.export.change(c.ctx, req)
	c.server.buffers.put(req.payload)
	if err == nil && req.fua() {
		err = c.export.device.Flush(c.ctx)
	}
	return err
}

func (e *export) change(ctx context.Context, req *request) error {
	off, n := int64(req.offset), int64(req.length)
	switch {
	case req.kind == cmdFlush:
		return e.device.Flush(ctx)
	case n == 0:
		return nil
	case req.kind == cmdWrite:
		return e.device.WriteAt(ctx, req.payload.data, off)
	case req.kind == cmdTrim:
		return e.trimmer.Trim(ctx, off, n)
	case req.kind == cmdWriteZeroes:
		return e.zero(ctx, off, n, req.flags)
	case req.kind == cmdCache && e.cacher != nil:
		return e.cacher.Cache(ctx, off, n)
	}
	return nil
}

// zero refuses at once what was asked to be fast and is not.
func (e *export) zero(ctx context.Context, off, n int64, flags uint16) error {
	provision := flags&cmdFlagNoHole != 0
	if flags&cmdFlagFastZero != 0 && !e.fast.CanZeroFast(off, n, provision) {
		return errNotSupported
	}
	return e.zeroer.Zero(ctx, off, n, provision)
}

// blockStatus tells which parts of the range read as zeroes.
func (c *conn) blockStatus(req *request) {
	extents, err := c.export.extents(c.ctx, int64(req.offset), int64(req.length))
	if err != nil {
		c.finish(req, err)
		return
	}
	if req.flags&cmdFlagReqOne != 0 {
		extents = extents[:1]
	}
	c.out.send(c.statusReply(req, extents))
}

// extents describes a prefix of the range in at least one and at most
// maxExtents extents, none of which is empty or exceeds the range.
func (e *export) extents(ctx context.Context, off, n int64) ([]Extent, error) {
	if e.mapper == nil {
		return []Extent{{Length: n}}, nil
	}
	found, err := e.mapper.Extents(ctx, off, n)
	if err != nil {
		return nil, err
	}
	extents := mergeExtents(found, n)
	if len(extents) == 0 {
		return nil, fmt.Errorf("%w of %d bytes at %d", errNoExtents, n, off)
	}
	return extents, nil
}

// mergeExtents joins neighbours of one kind, within found, up to n bytes.
func mergeExtents(found []Extent, n int64) []Extent {
	merged := found[:0]
	for _, e := range found {
		e.Length = min(e.Length, n)
		if e.Length <= 0 {
			continue
		}
		n -= e.Length
		if last := len(merged) - 1; last >= 0 && merged[last].Zero == e.Zero {
			merged[last].Length += e.Length
		} else if len(merged) == maxExtents {
			break
		} else {
			merged = append(merged, e)
		}
	}
	return merged
}
