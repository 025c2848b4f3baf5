package chunk

import (
	"encoding/hex"
	"fmt"
)

// NodeID is the name of a node in its cluster, such as "pi3": 1 to 64 bytes
// of letters, digits, '.', '_' and '-'.
type NodeID string

// VolumeID names a volume for ever; it is random and never used again.
type VolumeID [16]byte

// StoreID names the content of one card; it is drawn when the card is
// formatted. A blank or foreign card under a known node id shows by it.
type StoreID [16]byte

// InstanceID names one start of a chunk server.
type InstanceID [16]byte

// String returns the id as 32 hexadecimal digits.
func (v VolumeID) String() string { return hex.EncodeToString(v[:]) }

// String returns the id as 32 hexadecimal digits.
func (s StoreID) String() string { return hex.EncodeToString(s[:]) }

// String returns the id as 32 hexadecimal digits.
func (i InstanceID) String() string { return hex.EncodeToString(i[:]) }

// seqBits is how much of a Version counts writes within one epoch: 2^40 writes
// of one term, 35 years at 1000 a second; the other 24 bits count terms.
const seqBits = 40

// MaxEpoch is the last epoch that a Version can hold.
const MaxEpoch = 1<<24 - 1

// MaxSeq is the last sequence number within an epoch.
const MaxSeq = 1<<seqBits - 1

// Version orders all writes of one volume; 0 is no version.
type Version uint64

// MakeVersion composes a version. It panics on an epoch above MaxEpoch or a
// sequence number above MaxSeq: both would silently break the order.
func MakeVersion(epoch uint32, seq uint64) Version {
	if epoch > MaxEpoch || seq > MaxSeq {
		panic(fmt.Sprintf("chunk: version %d.%d out of range", epoch, seq))
	}
	return Version(uint64(epoch)<<seqBits | seq)
}

// Epoch returns the term of office in which v was written.
func (v Version) Epoch() uint32 { return uint32(v >> seqBits) }

// Seq returns the place of v among the writes of its epoch.
func (v Version) Seq() uint64 { return uint64(v) & MaxSeq }

// String returns "epoch.sequence".
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Epoch(), v.Seq()) }

// Position is one version of one chunk in a volume, and the order in which
// List reports them: by block, then index, then version.
type Position struct {
	Block   uint64
	Index   uint8
	Version Version
}

// Less reports whether p comes before q in List's order.
func (p Position) Less(q Position) bool {
	if p.Block != q.Block {
		return p.Block < q.Block
	}
	if p.Index != q.Index {
		return p.Index < q.Index
	}
	return p.Version < q.Version
}
