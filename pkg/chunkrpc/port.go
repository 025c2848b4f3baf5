package chunkrpc

import (
	"context"

	"rozobox/pkg/chunk"
)

// port is a Client's node over a choice of lanes.
type port struct {
	client               *Client
	write, read, control lane
}

// ask sends a request without payload, and returns the body of its reply.
func (s *session) ask(
	ctx context.Context, l lane, k kind, fill func([]byte) []byte,
) ([]byte, error) {
	head := getBuffer(headerSize)
	if fill != nil {
		head.b = fill(head.b)
	}
	c := newCall(k, nil)
	if err := s.lanes[l].do(ctx, c, 0, head, nil); err != nil {
		return nil, err
	}
	return c.body, nil
}

// ask asks and decodes. A reply that cannot be decoded ends the connection.
func ask[T any](
	ctx context.Context, p port, l lane, k kind,
	fill func([]byte) []byte, decode func([]byte) (T, error),
) (reply T, err error) {
	s, err := p.client.connected(ctx)
	if err != nil {
		return reply, err
	}
	body, err := s.ask(ctx, l, k, fill)
	if err != nil {
		return reply, err
	}
	if reply, err = decode(body); err != nil {
		s.end(err)
		return reply, s.unavailable()
	}
	return reply, nil
}

// Hello implements chunk.Office.
func (p port) Hello(ctx context.Context) (chunk.Hello, error) {
	return ask(ctx, p, p.control, kindHello, nil, decodeHello)
}

// Grant implements chunk.Office.
func (p port) Grant(
	ctx context.Context, volume chunk.VolumeID, epoch uint32, nonce uint64,
) (chunk.Granted, error) {
	request := grantRequest{volume: volume, epoch: epoch, nonce: nonce}
	return ask(ctx, p, p.control, kindGrant, request.append, decodeGranted)
}

// Beat implements chunk.Office.
func (p port) Beat(ctx context.Context, term chunk.Term) (chunk.Pulse, error) {
	fill := func(b []byte) []byte { return appendTerm(b, term) }
	return ask(ctx, p, p.control, kindBeat, fill, decodePulse)
}

// Superblock implements chunk.Office.
func (p port) Superblock(ctx context.Context, volume chunk.VolumeID) (chunk.Superblock, error) {
	fill := func(b []byte) []byte { return append(b, volume[:]...) }
	return ask(ctx, p, p.control, kindSuperblock, fill, decodeSuperblock)
}

// PutSuperblock implements chunk.Office.
func (p port) PutSuperblock(ctx context.Context, term chunk.Term, sb chunk.Superblock) error {
	if err := checkSuperblock(sb); err != nil {
		return err
	}
	_, err := ask(ctx, p, p.control, kindPutSuperblock, putRequest{term, sb}.append, decodeEmpty)
	return err
}

// Write implements chunk.Data.
func (p port) Write(ctx context.Context, term chunk.Term, ops []chunk.Op) (chunk.Ack, error) {
	if err := checkOps(ops); err != nil {
		return chunk.Ack{}, err
	}
	s, err := p.client.connected(ctx)
	if err != nil {
		return chunk.Ack{}, err
	}
	head := getBuffer(headerSize)
	head.b = appendWrite(head.b, term, ops)
	tail := make([][]byte, 0, len(ops))
	for i := range ops {
		if len(ops[i].Data) > 0 {
			tail = append(tail, ops[i].Data)
		}
	}
	c := newCall(kindWrite, nil)
	if err := s.lanes[p.write].do(ctx, c, len(ops), head, tail); err != nil {
		return chunk.Ack{}, err
	}
	ack, err := decodeAck(ops, c.body)
	if err != nil {
		s.end(err)
		return chunk.Ack{}, s.unavailable()
	}
	return ack, nil
}

// Sync implements chunk.Data.
func (p port) Sync(ctx context.Context, term chunk.Term) (chunk.Ack, error) {
	fill := func(b []byte) []byte { return appendTerm(b, term) }
	decode := func(body []byte) (chunk.Ack, error) { return decodeAck(nil, body) }
	return ask(ctx, p, p.write, kindSync, fill, decode)
}

// Read implements chunk.Data.
func (p port) Read(ctx context.Context, term chunk.Term, gets []chunk.Get) ([]chunk.Chunk, error) {
	if err := checkGets(gets); err != nil {
		return nil, err
	}
	s, err := p.client.connected(ctx)
	if err != nil {
		return nil, err
	}
	head := getBuffer(headerSize)
	head.b = appendRead(head.b, term, gets)
	c := newCall(kindRead, gets)
	if err := s.lanes[p.read].do(ctx, c, len(gets), head, nil); err != nil {
		return nil, err
	}
	return c.chunks, nil
}

// List implements chunk.Catalog.
func (p port) List(
	ctx context.Context, term chunk.Term, req chunk.ListRequest,
) (entries []chunk.Entry, more bool, err error) {
	if req.Limit < 1 || req.Limit > chunk.MaxListEntries {
		return nil, false, invalid("list of %d entries", req.Limit)
	}
	decode := func(body []byte) (page, error) { return decodePage(req.Limit, body) }
	list, err := ask(ctx, p, p.read, kindList, listRequest{term, req}.append, decode)
	return list.entries, list.more, err
}

// Stat implements chunk.Catalog.
func (p port) Stat(ctx context.Context) (chunk.Stat, error) {
	return ask(ctx, p, p.control, kindStat, nil, decodeStat)
}
