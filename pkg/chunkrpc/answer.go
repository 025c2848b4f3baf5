package chunkrpc

import (
	"context"

	"rozobox/pkg/chunk"
)

// answers says how the server answers each kind of request but Read: decode,
// ask the store, and append the reply to out. errMalformed is the peer's
// fault, any other error the store's answer.
var answers = [len(kinds)]func(
	ctx context.Context, store chunk.Store, h header, body, out []byte,
) ([]byte, error){
	kindHello: answer(decodeEmpty,
		func(ctx context.Context, s chunk.Store, _ empty) (chunk.Hello, error) {
			return s.Hello(ctx)
		}, appendHello),
	kindGrant: answer(decodeGrant,
		func(ctx context.Context, s chunk.Store, r grantRequest) (chunk.Granted, error) {
			return s.Grant(ctx, r.volume, r.epoch, r.nonce)
		}, appendGranted),
	kindBeat: answer(decodeTerm,
		func(ctx context.Context, s chunk.Store, term chunk.Term) (chunk.Pulse, error) {
			return s.Beat(ctx, term)
		}, appendPulse),
	kindSuperblock: answer(decodeVolume,
		func(ctx context.Context, s chunk.Store, id chunk.VolumeID) (chunk.Superblock, error) {
			return s.Superblock(ctx, id)
		}, appendSuperblock),
	kindPutSuperblock: answer(decodePutSuperblock,
		func(ctx context.Context, s chunk.Store, r putRequest) (empty, error) {
			return empty{}, s.PutSuperblock(ctx, r.term, r.superblock)
		}, appendEmpty),
	kindWrite: answerWrite,
	kindSync: answer(decodeTerm,
		func(ctx context.Context, s chunk.Store, term chunk.Term) (chunk.Ack, error) {
			ack, err := s.Sync(ctx, term)
			ack.Errs = nil
			return ack, err
		}, appendAck),
	kindList: answer(decodeListRequest,
		func(ctx context.Context, s chunk.Store, r listRequest) (page, error) {
			entries, more, err := s.List(ctx, r.term, r.list)
			return page{entries, more}, err
		}, appendPage),
	kindStat: answer(decodeEmpty,
		func(ctx context.Context, s chunk.Store, _ empty) (chunk.Stat, error) {
			return s.Stat(ctx)
		}, appendStat),
}

func answer[Q, A any](
	decode func([]byte) (Q, error),
	ask func(context.Context, chunk.Store, Q) (A, error),
	appendReply func([]byte, A) []byte,
) func(context.Context, chunk.Store, header, []byte, []byte) ([]byte, error) {
	return func(
		ctx context.Context, store chunk.Store, _ header, body, out []byte,
	) ([]byte, error) {
		request, err := decode(body)
		if err != nil {
			return out, err
		}
		reply, err := ask(ctx, store, request)
		if err != nil {
			return out, err
		}
		return appendReply(out, reply), nil
	}
}

func answerWrite(
	ctx context.Context, store chunk.Store, h header, body, out []byte,
) ([]byte, error) {
	term, ops, err := decodeWrite(int(h.count), body)
	if err != nil {
		return out, err
	}
	ack, err := store.Write(ctx, term, ops)
	if err != nil {
		return out, err
	}
	return appendAck(out, ack), nil
}
