package nbd

import (
	"math/bits"

	"github.com/pojntfx/go-nbd/pkg/protocol"
)

// Limits of the preferred block size: a page is the least that any client
// gains from, and it must not exceed the payload that is advertised.
const (
	minPreferred = 4096
	maxPreferred = advertisedPayload
)

// export is a Device under the name that the client asked for, with its
// abilities found once.
type export struct {
	name     string
	device   Device
	readOnly bool

	trimmer Trimmer
	zeroer  Zeroer
	fast    FastZeroer
	mapper  Mapper
	cacher  Cacher
}

func newExport(name string, device Device, readOnly bool) *export {
	e := &export{name: name, device: device, readOnly: readOnly}
	e.trimmer, _ = device.(Trimmer)
	e.zeroer, _ = device.(Zeroer)
	e.fast, _ = device.(FastZeroer)
	e.mapper, _ = device.(Mapper)
	e.cacher, _ = device.(Cacher)
	return e
}

// flags are the transmission flags: every bit is one that will be honoured.
func (e *export) flags(structured bool) uint16 {
	flags := flagHasFlags | flagSendFlush | flagSendFUA | flagCanMultiConn
	flags |= flagIf(structured, flagSendDF)
	flags |= flagIf(e.cacher != nil, flagSendCache)
	if e.readOnly {
		return flags | flagReadOnly
	}
	flags |= flagIf(e.trimmer != nil, flagSendTrim)
	flags |= flagIf(e.zeroer != nil, flagSendWriteZeroes)
	return flags | flagIf(e.zeroer != nil && e.fast != nil, flagSendFastZero)
}

func flagIf(ok bool, flag uint16) uint16 {
	if ok {
		return flag
	}
	return 0
}

// info is the data of one information reply, or nil where there is none.
func (e *export) info(kind uint16, structured bool) []byte {
	switch kind {
	case infoExport:
		return appendStruct(nil, protocol.NegotiationReplyInfo{
			Type: kind, Size: uint64(e.device.Size()), TransmissionFlags: e.flags(structured),
		})
	case infoName:
		return append(be.AppendUint16(nil, kind), e.name...)
	case infoDescription:
		if text := describe(e.device); text != "" {
			return append(be.AppendUint16(nil, kind), text...)
		}
	case infoBlockSize:
		return appendStruct(nil, protocol.NegotiationReplyBlockSize{
			Type: kind, MinimumBlockSize: 1,
			PreferredBlockSize: preferredBlockSize(e.device), MaximumBlockSize: advertisedPayload,
		})
	}
	return nil
}

// describe returns the device's text, as long as the protocol lets it be.
func describe(d Device) string {
	if d, ok := d.(Describer); ok {
		return cutText(d.Description(), maxString)
	}
	return ""
}

// preferredBlockSize is a power of two whatever the device says.
func preferredBlockSize(d Device) uint32 {
	size := minPreferred
	if d, ok := d.(BlockSizer); ok {
		size = min(max(d.PreferredBlockSize(), minPreferred), maxPreferred)
	}
	return 1 << (bits.Len32(uint32(size)) - 1)
}
