package chunktest

import (
	"bytes"
	"crypto/subtle"

	"rozobox/pkg/chunk"
)

func validSwap(op chunk.Op) bool {
	return op.Version != 0 && op.Index < chunk.MaxWidth && op.Base < op.Version && !op.Repair &&
		len(op.Data) > 0 && uint64(op.Off)+uint64(len(op.Data)) <= chunk.MaxChunkSize
}

// oneLocked does ops[i], or says why not. A swap is the patch that it comes to.
func (m *Memory) oneLocked(v *volume, id chunk.VolumeID, ops []chunk.Op, i int, ack *chunk.Ack) error {
	op := ops[i]
	if op.Kind != chunk.OpSwap {
		return m.applyLocked(v, id, op)
	}
	if ack.Olds == nil {
		ack.Olds = make([]chunk.Old, len(ops))
	}
	base := v.find(key{op.Block, op.Index}, op.Version-1)
	switch {
	case op.Instance != m.instance, op.Base != 0 && (base == nil || base.version != op.Base):
		return chunk.ErrNoBase
	case base == nil && v.find(key{op.Block, op.Index}, 0) == nil, base != nil && base.tombstone:
		return chunk.ErrEmpty
	case base == nil || base.damaged || int(op.Off)+len(op.Data) > len(base.data):
		return chunk.ErrNoBase
	}
	old := bytes.Clone(base.data[op.Off:][:len(op.Data)])
	difference := make([]byte, len(old))
	subtle.XORBytes(difference, old, op.Data)
	patch := chunk.Op{
		Kind: chunk.OpPatch, Block: op.Block, Index: op.Index, Version: op.Version,
		Base: base.version, Off: op.Off, Data: difference,
	}
	if err := m.applyLocked(v, id, patch); err != nil {
		return err
	}
	ack.Olds[i] = chunk.Old{Base: base.version, Data: old}
	return nil
}
