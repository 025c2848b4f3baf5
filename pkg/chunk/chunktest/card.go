package chunktest

import "rozobox/pkg/chunk"

// Unsynced returns the changes that a Crash could lose, oldest first.
func (m *Memory) Unsynced() []chunk.Op {
	m.mu.Lock()
	defer m.mu.Unlock()
	ops := make([]chunk.Op, len(m.log))
	for i, c := range m.log {
		ops[i] = c.op
	}
	return ops
}

// Held lists all that the node holds of a volume, for a look past the term.
func (m *Memory) Held(volume chunk.VolumeID) []chunk.Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v := m.live[volume]; v != nil {
		return v.entries(chunk.ListRequest{})
	}
	return nil
}

// Damaged lists the blocks of a volume of which chunks are damaged, once for
// each record that is.
func (m *Memory) Damaged(volume chunk.VolumeID) (blocks []uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.live[volume]
	if v == nil {
		return nil
	}
	for k, recs := range v.chunks {
		for _, r := range recs {
			if r.damaged {
				blocks = append(blocks, k.block)
			}
		}
	}
	return blocks
}

// SetCapacity makes new data fail with ErrNoSpace beyond so many payload bytes.
func (m *Memory) SetCapacity(bytes uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// Damage makes every version of the chunk fail its checksum.
func (m *Memory) Damage(volume chunk.VolumeID, block uint64, index uint8) {
	m.mu.Lock()
	defer m.mu.Unlock()
	harm := change{volume: volume, damaged: &key{block, index}}
	m.durable.apply(harm)
	m.doLocked(harm)
}

// FailSync makes the store read-only, as a failed fdatasync does.
func (m *Memory) FailSync() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readOnly = true
}

// Image is what a card held at some moment.
type Image struct {
	store   chunk.StoreID
	durable state
}

// Image copies what is durable.
func (m *Memory) Image() *Image {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Image{m.store, m.durable.clone()}
}

// Watermark returns the W that the image's log holds.
func (i *Image) Watermark(volume chunk.VolumeID) chunk.Version {
	if v := i.durable[volume]; v != nil {
		return v.watermark
	}
	return 0
}

// Load puts an image, which is used up by it, on the card and starts the node.
func (m *Memory) Load(i *Image) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.store, m.durable = i.store, i.durable
	m.live, m.log = m.durable.clone(), nil
	m.startLocked()
}
