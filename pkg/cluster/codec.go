package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"rozobox/pkg/chunk"
)

const (
	magic   = "RZSB"
	format  = 1
	fixed   = 76 // up to the name, see doc.go
	perNode = 53 // a node without the bytes of its id
	sumSize = 4

	flagDeleted   = 1
	flagClean     = 2
	flagWriteback = 4
	flagBehind    = 1
)

// ErrFormat means that a superblock was written by a program with another
// format. It is not damage: older copies on other nodes must not be used in
// its place.
var ErrFormat = errors.New("superblock has another format than this program knows")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode returns the record that the nodes keep. It panics on a superblock
// that Validate refuses: made durable, it could never be read again.
func (s *Superblock) Encode() chunk.Superblock {
	if err := s.Validate(); err != nil {
		panic("cluster: encoding superblock of " + s.Name + ": " + err.Error())
	}
	return chunk.Superblock{
		Volume:  s.Volume,
		Number:  s.Number,
		Epoch:   s.Epoch,
		Name:    s.Name,
		Deleted: s.Deleted,
		Body:    s.body(),
	}
}

func (s *Superblock) body() []byte {
	be := binary.BigEndian
	b := append(make([]byte, 0, 1024), magic...)
	b = append(b, format, flag(s.Deleted, flagDeleted)|flag(s.Clean, flagClean)|flag(s.Writeback, flagWriteback))
	b = be.AppendUint16(b, uint16(len(s.Nodes)))
	b = append(b, s.Volume[:]...)
	b = be.AppendUint64(b, s.Number)
	b = be.AppendUint32(b, s.Epoch)
	b = be.AppendUint64(b, uint64(s.Geometry.Size))
	b = be.AppendUint32(b, uint32(s.Geometry.BlockSize))
	b = append(b, byte(s.Geometry.Data), byte(s.Geometry.Parity))
	b = be.AppendUint16(b, uint16(len(s.Name)))
	b = be.AppendUint64(b, uint64(s.Geometry.Extent))
	b = be.AppendUint64(b, uint64(s.Watermark))
	b = be.AppendUint32(b, s.Incarnation)
	b = be.AppendUint32(b, s.Generation)
	b = append(b, s.Name...)
	for i := range s.Nodes {
		b = s.Nodes[i].append(b)
	}
	return be.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func (m *Member) append(b []byte) []byte {
	b = append(b, byte(len(m.ID)))
	b = append(b, m.ID...)
	b = binary.BigEndian.AppendUint16(b, m.Weight)
	b = append(b, m.Store[:]...)
	b = append(b, m.Instance[:]...)
	b = append(b, byte(m.State), flag(m.Behind, flagBehind))
	b = binary.BigEndian.AppendUint64(b, uint64(m.Since))
	return binary.BigEndian.AppendUint64(b, uint64(m.Mark))
}

func flag(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

// Decode returns the superblock that a node's record holds. It refuses a
// record whose body is damaged, or disagrees with what stands beside it.
func Decode(record chunk.Superblock) (*Superblock, error) {
	s, err := decodeBody(record.Body)
	if err != nil {
		return nil, fmt.Errorf("superblock %d of volume %s: %w", record.Number, record.Volume, err)
	}
	if s.Volume != record.Volume || s.Number != record.Number || s.Epoch != record.Epoch ||
		s.Name != record.Name || s.Deleted != record.Deleted {
		return nil, fmt.Errorf("superblock %d of volume %s: its body is of %d of %s, epoch %d, name %q",
			record.Number, record.Volume, s.Number, s.Volume, s.Epoch, s.Name)
	}
	return s, nil
}

func decodeBody(body []byte) (*Superblock, error) {
	if len(body) < fixed+sumSize || len(body) > chunk.MaxSuperblock {
		return nil, fmt.Errorf("%d bytes are too few or too many", len(body))
	}
	if string(body[:4]) != magic {
		return nil, fmt.Errorf("magic %q is not %q", body[:4], magic)
	}
	b, sum := body[:len(body)-sumSize], body[len(body)-sumSize:]
	if crc32.Checksum(b, castagnoli) != binary.BigEndian.Uint32(sum) {
		return nil, errors.New("checksum does not match")
	}
	if b[4] != format {
		return nil, fmt.Errorf("format %d: %w", b[4], ErrFormat)
	}
	s, err := decodeFields(b)
	if err != nil {
		return nil, err
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return s, nil
}

// decodeFields reads b, of at least fixed bytes, whose checksum was right.
func decodeFields(b []byte) (*Superblock, error) {
	be := binary.BigEndian
	flags, nodes, name := b[5], int(be.Uint16(b[6:])), int(be.Uint16(b[50:]))
	if flags&^(flagDeleted|flagClean|flagWriteback) != 0 {
		return nil, fmt.Errorf("flags %#x are unknown", flags)
	}
	if nodes > chunk.MaxNodes || name > chunk.MaxName || len(b) < fixed+name+nodes*perNode {
		return nil, fmt.Errorf("%d bytes for %d nodes and a name of %d bytes", len(b), nodes, name)
	}
	s := &Superblock{
		Volume:  chunk.VolumeID(b[8:24]),
		Number:  be.Uint64(b[24:]),
		Epoch:   be.Uint32(b[32:]),
		Deleted: flags&flagDeleted != 0,
		Clean:   flags&flagClean != 0,

		Writeback: flags&flagWriteback != 0,
		Geometry: Geometry{
			Size:      int64(be.Uint64(b[36:])),
			BlockSize: int(be.Uint32(b[44:])),
			Data:      int(b[48]),
			Parity:    int(b[49]),
			Extent:    int64(be.Uint64(b[52:])),
		},
		Watermark:   chunk.Version(be.Uint64(b[60:])),
		Incarnation: be.Uint32(b[68:]),
		Generation:  be.Uint32(b[72:]),
		Name:        string(b[fixed : fixed+name]),
		Nodes:       make([]Member, nodes),
	}
	rest, err := b[fixed+name:], error(nil)
	for i := range s.Nodes {
		if rest, err = s.Nodes[i].decode(rest); err != nil {
			return nil, fmt.Errorf("node %d: %w", i, err)
		}
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%d bytes after the last node", len(rest))
	}
	return s, nil
}

// decode reads a member from the front of b and returns what follows.
func (m *Member) decode(b []byte) ([]byte, error) {
	if len(b) < perNode || len(b) < perNode+int(b[0]) {
		return nil, errors.New("record is cut off")
	}
	id, b := int(b[0]), b[1:]
	m.ID, b = chunk.NodeID(b[:id]), b[id:]
	m.Weight = binary.BigEndian.Uint16(b)
	m.Store = chunk.StoreID(b[2:18])
	m.Instance = chunk.InstanceID(b[18:34])
	m.State = State(b[34])
	if b[35]&^flagBehind != 0 {
		return nil, fmt.Errorf("flags %#x are unknown", b[35])
	}
	m.Behind = b[35] == flagBehind
	m.Since = chunk.Version(binary.BigEndian.Uint64(b[36:]))
	m.Mark = chunk.Version(binary.BigEndian.Uint64(b[44:]))
	return b[52:], nil
}
