package chunkrpc

import (
	"fmt"

	"rozobox/pkg/chunk"
)

// checkOps refuses a Write that does not fit into a frame. What an op means is
// the store's to judge.
func checkOps(ops []chunk.Op) error {
	if len(ops) > chunk.MaxOps {
		return invalid("%d operations in one write", len(ops))
	}
	total := 0
	for i := range ops {
		total += len(ops[i].Data)
		if len(ops[i].Data) > chunk.MaxChunkSize || total > chunk.MaxRequestBytes {
			return invalid("operation %d of %d bytes, %d in all", i, len(ops[i].Data), total)
		}
	}
	return nil
}

// appendWrite lays out everything but the payloads, which follow in the order
// of the ops.
func appendWrite(b []byte, term chunk.Term, ops []chunk.Op) []byte {
	b = appendTerm(b, term)
	for i := range ops {
		op := &ops[i]
		b = append(b, byte(op.Kind), op.Index)
		b = appendFlag(b, op.Repair)
		b = append(b, 0)
		b = be.AppendUint32(b, uint32(len(op.Data)))
		b = be.AppendUint64(b, op.Block)
		b = be.AppendUint64(b, uint64(op.Version))
		b = be.AppendUint64(b, uint64(op.Base))
		b = be.AppendUint32(b, op.Off)
		b = append(b, op.Instance[:]...)
	}
	return b
}

// decodeWrite returns ops whose payloads are in body.
func decodeWrite(count int, body []byte) (chunk.Term, []chunk.Op, error) {
	d := decoder{b: body}
	term := d.term()
	metas := decoder{b: d.limited(count*opSize, chunk.MaxOps*opSize)}
	d.require(len(d.b) <= chunk.MaxRequestBytes)
	if d.bad {
		return term, nil, d.finish("write")
	}
	ops := make([]chunk.Op, count)
	for i := range ops {
		op := &ops[i]
		op.Kind, op.Index = chunk.OpKind(metas.u8()), metas.u8()
		op.Repair = metas.flag()
		metas.require(metas.u8() == 0)
		op.Data = d.limited(int(metas.u32()), chunk.MaxChunkSize)
		op.Block, op.Version = metas.u64(), chunk.Version(metas.u64())
		op.Base, op.Off, op.Instance = chunk.Version(metas.u64()), metas.u32(), metas.id()
	}
	d.require(!metas.bad)
	return term, ops, d.finish("write")
}

// appendAck lays out an Ack: of each swap what it has changed, and the errors if
// there are any. The bytes that swaps have replaced follow in their order.
func appendAck(b []byte, ops []chunk.Op, ack chunk.Ack) []byte {
	b = append(b, ack.Instance[:]...)
	b = be.AppendUint64(b, ack.FreeBytes)
	for i := range ops {
		if ops[i].Kind == chunk.OpSwap {
			b = be.AppendUint64(b, uint64(ack.Olds[i].Base))
		}
	}
	for _, err := range ack.Errs {
		b = append(b, byte(codeOf(err)))
		if err != nil {
			text := errorText(err, maxOpText)
			b = be.AppendUint16(b, uint16(len(text)))
			b = append(b, text...)
		}
	}
	return b
}

// decodeAck returns the answer to ops, to a Sync if there are none. The bytes
// that were replaced stay in body.
func decodeAck(ops []chunk.Op, body []byte) (chunk.Ack, error) {
	d := decoder{b: body}
	ack := chunk.Ack{Instance: d.id(), FreeBytes: d.u64()}
	replaced := 0
	ack.Olds, replaced = d.olds(ops)
	if len(d.b) > replaced && !d.bad {
		ack.Errs = make([]error, len(ops))
	}
	for i := range ack.Errs {
		if c := code(d.u8()); c != 0 {
			ack.Errs[i] = decodeError(c, d.limited(int(d.u16()), maxOpText))
		}
	}
	for i := range ack.Olds {
		if ack.Olds[i].Base != 0 {
			ack.Olds[i].Data = d.take(len(ops[i].Data))
		} else if ops[i].Kind == chunk.OpSwap {
			d.require(ack.Errs != nil && ack.Errs[i] != nil)
		}
	}
	return ack, d.finish("ack")
}

// olds returns what swaps have changed, and how many bytes that was.
func (d *decoder) olds(ops []chunk.Op) (olds []chunk.Old, replaced int) {
	for i := range ops {
		if ops[i].Kind != chunk.OpSwap {
			continue
		}
		if olds == nil {
			olds = make([]chunk.Old, len(ops))
		}
		if olds[i].Base = chunk.Version(d.u64()); olds[i].Base != 0 {
			replaced += len(ops[i].Data)
		}
	}
	return olds, replaced
}

// checkGets refuses a Read that does not fit into a frame, or its reply.
func checkGets(gets []chunk.Get) error {
	if len(gets) > chunk.MaxOps {
		return invalid("%d chunks in one read", len(gets))
	}
	total := 0
	for i := range gets {
		total += len(gets[i].Dst)
		if len(gets[i].Dst) > chunk.MaxChunkSize || total > chunk.MaxRequestBytes {
			return invalid("read %d of %d bytes, %d in all", i, len(gets[i].Dst), total)
		}
	}
	return nil
}

func appendRead(b []byte, term chunk.Term, gets []chunk.Get) []byte {
	b = appendTerm(b, term)
	for i := range gets {
		g := &gets[i]
		b = append(b, g.Index, 0, 0, 0)
		b = be.AppendUint32(b, g.Off)
		b = be.AppendUint32(b, uint32(len(g.Dst)))
		b = be.AppendUint64(b, g.Block)
		b = be.AppendUint64(b, uint64(g.AtMost))
	}
	return b
}

// readBytes returns how many bytes a Read may bring, so that room for them can
// be made before decodeRead.
func readBytes(count int, body []byte) (total int, err error) {
	if count > chunk.MaxOps || len(body) != termSize+count*getSize {
		return 0, fmt.Errorf("%w read of %d chunks in %d bytes", errMalformed, count, len(body))
	}
	for i := range count {
		n := be.Uint32(body[termSize+i*getSize+8:])
		if n > chunk.MaxChunkSize {
			return 0, fmt.Errorf("%w read of %d bytes", errMalformed, n)
		}
		total += int(n)
	}
	if total > chunk.MaxRequestBytes {
		return 0, fmt.Errorf("%w read of %d bytes in all", errMalformed, total)
	}
	return total, nil
}

// decodeRead returns gets that read into room, one after the other. Both have
// passed readBytes.
func decodeRead(count int, body, room []byte) (chunk.Term, []chunk.Get, error) {
	d := decoder{b: body}
	term := d.term()
	gets := make([]chunk.Get, count)
	for i := range gets {
		g := &gets[i]
		g.Index = d.u8()
		d.require(d.u8() == 0 && d.u16() == 0)
		g.Off = d.u32()
		n := d.u32()
		g.Dst, room = room[:n:n], room[n:]
		g.Block, g.AtMost = d.u64(), chunk.Version(d.u64())
	}
	return term, gets, d.finish("read")
}

func appendChunks(b []byte, chunks []chunk.Chunk) []byte {
	for _, c := range chunks {
		b = append(b, byte(c.State))
		b = be.AppendUint64(b, uint64(c.Version))
	}
	return b
}

// decodeChunks reads the fixed part of a Read's reply. rest is the length of
// the payloads that follow; it must be exactly what the chunks that are present
// were asked for.
func decodeChunks(fixed []byte, gets []chunk.Get, rest int) ([]chunk.Chunk, error) {
	d := decoder{b: fixed}
	chunks := make([]chunk.Chunk, len(gets))
	for i := range chunks {
		c := &chunks[i]
		c.State, c.Version = chunk.ChunkState(d.u8()), chunk.Version(d.u64())
		d.require(c.State <= chunk.Damaged)
		if c.State == chunk.Present {
			rest -= len(gets[i].Dst)
		}
	}
	d.require(rest == 0)
	return chunks, d.finish("chunks")
}
