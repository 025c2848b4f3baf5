package nbd

// maxHead is the longest header: an extended reply's, and the offset of the
// data behind it.
const maxHead = 32 + 8

// reply is one piece of an answer on its way to the client: the whole of a
// simple reply, or one chunk of a structured one. It is passed by value; the
// writer owns it once it was sent.
type reply struct {
	head     [maxHead]byte
	headSize int
	body     []byte
	buffer   *buffer // that body lies in, or nil
	cost     cost    // of the request, in its last reply
}

func (r *reply) size() int { return r.headSize + len(r.body) }

// simpleReply is the header of a simple reply.
func simpleReply(req *request, code uint32) (r reply) {
	b := be.AppendUint32(r.head[:0], magicSimpleReply)
	b = be.AppendUint32(b, code)
	r.headSize = len(be.AppendUint64(b, req.cookie))
	return r
}

// chunk is the header of a chunk with length bytes behind it.
func (s *session) chunk(req *request, kind uint16, length int, last bool) (r reply) {
	flags := flagIf(last, replyFlagDone)
	if s.extended {
		b := be.AppendUint32(r.head[:0], magicExtendedReply)
		b = be.AppendUint16(be.AppendUint16(b, flags), kind)
		b = be.AppendUint64(be.AppendUint64(b, req.cookie), req.offset)
		r.headSize = len(be.AppendUint64(b, uint64(length)))
		return r
	}
	b := be.AppendUint32(r.head[:0], magicStructuredReply)
	b = be.AppendUint16(be.AppendUint16(b, flags), kind)
	b = be.AppendUint64(b, req.cookie)
	r.headSize = len(be.AppendUint32(b, uint32(length)))
	return r
}

// resultReply is the last, or only, reply to a request that returns no data:
// its success or its error, in the way that was negotiated.
func (s *session) resultReply(req *request, err error) (r reply) {
	code := wireError(err)
	switch {
	case !s.structured:
		r = simpleReply(req, code)
	case code == 0:
		r = s.chunk(req, chunkNone, 0, true)
	default:
		text := cutText(err.Error(), maxText)
		body := be.AppendUint32(make([]byte, 0, 6+len(text)), code)
		body = be.AppendUint16(body, uint16(len(text)))
		body = append(body, text...)
		r = s.chunk(req, chunkError, len(body), true)
		r.body = body
	}
	r.cost = req.cost
	return r
}

// dataReply carries what was read at off.
func (s *session) dataReply(req *request, off uint64, data *buffer, last bool) (r reply) {
	if s.structured {
		r = s.chunk(req, chunkOffsetData, 8+len(data.data), last)
		r.headSize = len(be.AppendUint64(r.head[:r.headSize], off))
	} else {
		r = simpleReply(req, 0)
	}
	r.body, r.buffer = data.data, data
	if last {
		r.cost = req.cost
	}
	return r
}

// statusReply describes the extents in base:allocation.
func (s *session) statusReply(req *request, extents []Extent) (r reply) {
	kind, body := chunkBlockStatus, be.AppendUint32(nil, contextAllocationID)
	if s.extended {
		kind, body = chunkBlockStatusExt, be.AppendUint32(body, uint32(len(extents)))
	}
	for _, e := range extents {
		state := uint32(0)
		if e.Zero {
			state = stateHole | stateZero
		}
		if s.extended {
			body = be.AppendUint64(be.AppendUint64(body, uint64(e.Length)), uint64(state))
		} else {
			body = be.AppendUint32(be.AppendUint32(body, uint32(e.Length)), state)
		}
	}
	r = s.chunk(req, kind, len(body), true)
	r.body, r.cost = body, req.cost
	return r
}
