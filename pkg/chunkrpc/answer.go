package chunkrpc

import (
	"context"

	"rozobox/pkg/chunk"
)

// answers says how the server answers each kind of request but Read and Write: decode,
// ask the store, and append the reply to out. errMalformed is the peer's
// fault, any other error the store's answer.
var answers = [len(kinds)]func(
	ctx context.Context, store chunk.Store, body, out []byte,
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
	kindSync: answer(decodeTerm,
		func(ctx context.Context, s chunk.Store, term chunk.Term) (chunk.Ack, error) {
			ack, err := s.Sync(ctx, term)
			return chunk.Ack{Instance: ack.Instance, FreeBytes: ack.FreeBytes}, err
		}, func(b []byte, ack chunk.Ack) []byte { return appendAck(b, nil, ack) }),
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
) func(context.Context, chunk.Store, []byte, []byte) ([]byte, error) {
	return func(ctx context.Context, store chunk.Store, body, out []byte) ([]byte, error) {
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
