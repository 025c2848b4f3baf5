package chunkstore

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"rozobox/pkg/chunk"
)

// A volume's file has two slots for the grant and two for the superblock. A
// write goes to the slot that does not hold the newest, so that a torn one
// leaves the other. All slots have the same form:
//
//	magic 4 | CRC32C of the rest, seeded with the volume's id 4 | epoch 4 |
//	deleted 1 | 0 1 | length of name 2 | number or nonce 8 | length of body 4 |
//	0 4 | name | body
const (
	volumePrefix = "volume-"

	grantMagic      = 0x525a4752 // "RZGR"
	superblockMagic = 0x525a5342 // "RZSB"

	slotHeader     = 32
	grantSlot      = 4096 // one page: it is written without touching the other
	superblockSlot = (slotHeader + chunk.MaxName + chunk.MaxSuperblock + 4095) &^ 4095
	grantsAt       = 0
	superblocksAt  = 2 * grantSlot
	volumeFileSize = superblocksAt + 2*superblockSlot
)

// slot is the content of a slot, with the fields of both uses.
type slot struct {
	magic   uint32
	epoch   uint32
	deleted bool
	number  uint64 // of a superblock; the nonce of a grant
	name    string
	body    []byte
}

func volumeSeed(id chunk.VolumeID) uint32 { return crc32.Checksum(id[:], castagnoli) }

func (t *slot) encode(id chunk.VolumeID) []byte {
	b := make([]byte, slotHeader, slotHeader+len(t.name)+len(t.body))
	binary.BigEndian.PutUint32(b, t.magic)
	binary.BigEndian.PutUint32(b[8:], t.epoch)
	if t.deleted {
		b[12] = 1
	}
	binary.BigEndian.PutUint16(b[14:], uint16(len(t.name)))
	binary.BigEndian.PutUint64(b[16:], t.number)
	binary.BigEndian.PutUint32(b[24:], uint32(len(t.body)))
	b = append(append(b, t.name...), t.body...)
	binary.BigEndian.PutUint32(b[4:], crc32.Update(volumeSeed(id), castagnoli, b[8:]))
	return b
}

// decodeSlot returns errRecord for what is not an intact slot.
func decodeSlot(b []byte, magic uint32, id chunk.VolumeID) (slot, error) {
	if len(b) < slotHeader || binary.BigEndian.Uint32(b) != magic {
		return slot{}, errRecord
	}
	name, body := int(binary.BigEndian.Uint16(b[14:])), int(binary.BigEndian.Uint32(b[24:]))
	if name > chunk.MaxName || body > chunk.MaxSuperblock || slotHeader+name+body > len(b) {
		return slot{}, errRecord
	}
	b = b[:slotHeader+name+body]
	if binary.BigEndian.Uint32(b[4:]) != crc32.Update(volumeSeed(id), castagnoli, b[8:]) {
		return slot{}, errRecord
	}
	return slot{
		magic: magic, epoch: binary.BigEndian.Uint32(b[8:]), deleted: b[12] == 1,
		number: binary.BigEndian.Uint64(b[16:]),
		name:   string(b[slotHeader : slotHeader+name]),
		body:   append([]byte(nil), b[slotHeader+name:]...),
	}, nil
}

// newer orders the contents of two slots; a grant's nonce says nothing.
func (t *slot) newer(o *slot) bool {
	if t.epoch != o.epoch {
		return t.epoch > o.epoch
	}
	return t.magic == superblockMagic && t.number > o.number
}

// readSlots returns the newest intact slot of a pair, which of the two it is,
// and whether there was a damaged one.
func readSlots(
	f File, off, size int64, magic uint32, id chunk.VolumeID,
) (best slot, which int, damaged bool, err error) {
	which = -1
	for i := range 2 {
		b := make([]byte, size)
		n, rerr := f.ReadAt(b, off+int64(i)*size)
		t, derr := decodeSlot(b[:n], magic, id)
		switch {
		case derr == nil && (which < 0 || t.newer(&best)):
			best, which = t, i
		case derr != nil && (n < len(b) || !blank(b)):
			damaged = true
			err = errors.Join(err, rerr)
		}
	}
	return best, which, damaged, err
}

// writeSlot puts t durably into the slot of its pair that is not the newest.
func (s *Store) writeSlot(v *volume, off, size int64, t *slot) error {
	_, which, _, _ := readSlots(v.file, off, size, t.magic, v.id)
	if which = 1 - which; which > 1 {
		which = 0
	}
	if _, err := v.file.WriteAt(t.encode(v.id), off+int64(which)*size); err != nil {
		return fmt.Errorf("%s: %w", volumeName(v.id), err)
	}
	if err := v.file.Sync(); err != nil {
		return fmt.Errorf("%s: %w", volumeName(v.id), err)
	}
	return nil
}

func volumeName(id chunk.VolumeID) string { return volumePrefix + id.String() }

func parseVolumeName(name string) (id chunk.VolumeID, ok bool) {
	digits, found := strings.CutPrefix(name, volumePrefix)
	n, err := hex.Decode(id[:], []byte(digits[:min(len(digits), 2*len(id))]))
	return id, found && n == len(id) && err == nil && name == volumeName(id)
}

// createVolumeFile makes the file with all its bytes, so that no later write
// to it can run out of space.
func (s *Store) createVolumeFile(v *volume) error {
	name := volumeName(v.id)
	f, err := s.fs.Open(name, true)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, volumeFileSize), 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = s.fs.SyncDir()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", name, err), f.Close(), s.fs.Remove(name))
	}
	v.file = f
	return nil
}

func blank(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }
