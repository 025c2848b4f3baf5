package chunk

import (
	"context"
	"time"
)

// Store is one node, as a gateway sees it. Its methods may be called from many
// goroutines at once. A method that returns an error other than ErrUnavailable
// had no effect; after ErrUnavailable the effect is unknown, and asking again
// for the same thing is safe. A call whose context has ended may take effect as
// long as its connection lives. One that failed before its context ended has
// lost its connection: it takes no effect once another call that began after
// that was answered.
type Store interface {
	Office
	Data
	Catalog
}

// Office is what a node knows of itself and of who may command it.
type Office interface {
	// Hello tells who the node is and what it has granted. It needs no term.
	Hello(ctx context.Context) (Hello, error)

	// Grant gives the volume to a gateway: durably records the epoch and
	// nonce, ends all work of an older epoch, and refuses it from then on.
	// The same epoch and nonce again is granted again. A volume that the node
	// does not know is granted too (its creation begins so).
	// Errors: ErrDeposed when an equal or higher epoch was granted already,
	// ErrReadOnly, ErrUnavailable.
	Grant(ctx context.Context, volume VolumeID, epoch uint32, nonce uint64) (Granted, error)

	// Beat tells the node W and asks whether the term still stands. It
	// returns ErrDeposed or ErrNotGranted where it does not.
	Beat(ctx context.Context, term Term) (Pulse, error)

	// Superblock returns the newest intact superblock, or ErrUnknownVolume.
	// It needs no term.
	Superblock(ctx context.Context, volume VolumeID) (Superblock, error)

	// PutSuperblock stores sb durably before it returns. Superblocks are
	// ordered by epoch, then number. The one that is stored is accepted again
	// without effect; another that is not newer, and a live one after a deleted
	// one, is ErrInvalid. The first live superblock of a volume claims its
	// name (ErrNameTaken); a deleted one gives up the name and every chunk of
	// the volume, and is kept.
	PutSuperblock(ctx context.Context, term Term, sb Superblock) error
}

// Data is the traffic of chunks.
type Data interface {
	// Write applies ops in order and acknowledges them when they are in the
	// node's memory, visible to every later request. Ack.Errs tells each
	// operation's own refusal; the error returned is one of the whole batch.
	// The payloads are the caller's again when Write has returned; where it
	// returned early because ctx ended, they must never change.
	Write(ctx context.Context, term Term, ops []Op) (Ack, error)

	// Read reads a range of each chunk named into its Dst, and returns one
	// Chunk for each, in order. No Dst is touched after Read has returned.
	Read(ctx context.Context, term Term, gets []Get) ([]Chunk, error)

	// Sync makes durable all that was acknowledged before Sync was called, and
	// term.Watermark: a node that later shows less has lost its log's end.
	Sync(ctx context.Context, term Term) (Ack, error)
}

// Catalog tells what a node holds.
type Catalog interface {
	// List returns, in Position order, what the node holds of the volume
	// above req.Since, at most req.Limit entries that come after req.After,
	// and whether there is more.
	List(ctx context.Context, term Term, req ListRequest) (entries []Entry, more bool, err error)

	// Stat returns the node's figures. It needs no term.
	Stat(ctx context.Context) (Stat, error)
}

// Term is the authority under which a gateway asks, and the watermark that the
// node may act on. A node that is not "in" is told the version since which it
// is out, so that it frees nothing that others may need.
type Term struct {
	Volume    VolumeID
	Epoch     uint32
	Nonce     uint64
	Watermark Version
}

// Hello is what a node says before anything else.
type Hello struct {
	Node     NodeID
	Store    StoreID
	Instance InstanceID
	ReadOnly bool
	Volumes  []VolumeState
}

// VolumeState is a node's knowledge of one volume.
type VolumeState struct {
	ID        VolumeID
	Epoch     uint32  // the highest granted; 0 when none
	Watermark Version // w: the last W that the node's log holds intact
	Deleted   bool
}

// Granted is the node's state at the moment of a grant: nothing of an older
// epoch changes it afterwards.
type Granted struct {
	Store      StoreID
	Instance   InstanceID
	Watermark  Version
	Recovered  Version    // the W that the log held when this instance started; 0 if none
	Superblock Superblock // the zero value where the node has none
}

// Pulse is the answer to a Beat.
type Pulse struct {
	Instance  InstanceID
	Watermark Version
	FreeBytes uint64 // what new data may still take, the reserve excluded
}

// Superblock is the record of a volume as nodes see it: its number orders the
// updates, its body is the cluster package's own.
type Superblock struct {
	Volume  VolumeID
	Number  uint64 // from 1; one number within an epoch has one content
	Epoch   uint32
	Name    string
	Deleted bool
	Body    []byte
}

// OpKind says what an Op does.
type OpKind uint8

const (
	// OpPut stores a version's payload.
	OpPut OpKind = iota + 1
	// OpTombstone stores a version without payload, which reads as zeroes.
	OpTombstone
	// OpDrop removes every version of the chunk at or below Op.Version; with
	// AllIndexes, of every chunk of the block. It survives a restart once
	// synced.
	OpDrop
	// OpPatch stores a version that differs from the version Op.Base of the
	// same chunk by Op.Data at Op.Off: the new bytes are the exclusive or of
	// both, so that a data chunk and its parity chunks are patched alike.
	// Without Data the content stays as it is. What is stored is a whole chunk,
	// which needs Base no longer. Refused with ErrNoBase unless the newest
	// version held is Base, intact; and where the chunks that the patches of one
	// Write come to exceed MaxRequestBytes.
	OpPatch
	// OpSwap stores a version that is the one before it with Op.Data in place of the
	// bytes at Op.Off, and answers what was there (Ack.Olds): who does not know that
	// asks for it and changes it at once. This is the swap of Aguilera, Janakiraman
	// and Xu, "Using Erasure Codes Efficiently for Storage in a Distributed System"
	// (DSN 2005). The version before is the newest held below Op.Version, which only
	// the instance Op.Instance is sure to hold. Refused with ErrNoBase by another one;
	// where that version is not Op.Base, unless this is 0, is damaged, or came with the
	// same Write; where a newer one than Op.Version is held; and like an OpPatch where
	// there is too much. Refused with ErrEmpty where that version is a tombstone, or
	// none is held. Asked again it answers the same, as long as the version before is
	// held.
	OpSwap
	// OpSync, the last of its Write or nothing, does what Sync does when all
	// before it is done, in the same request. It has no other field.
	OpSync
)

// AllIndexes in an OpDrop means every chunk index of the block.
const AllIndexes = 0xff

// Op is one change of one chunk.
type Op struct {
	Kind    OpKind
	Block   uint64
	Index   uint8
	Version Version
	Repair  bool   // may put at or below W; ignored where a newer version <= W stands
	Data    []byte // of an OpPut 1 to MaxChunkSize bytes, a multiple of ChunkAlign; of an OpPatch; of an OpSwap

	Base     Version    // OpPatch and OpSwap
	Off      uint32     // OpPatch and OpSwap: where Data applies; all of it lies within the chunk
	Instance InstanceID // OpSwap only
}

// SplitSync returns the operations of a Write without its OpSync, and whether it
// has one.
func SplitSync(ops []Op) (others []Op, sync bool) {
	last := len(ops) - 1
	if last < 0 || ops[last].Kind != OpSync {
		return ops, false
	}
	return ops[:last], true
}

// Ack answers a Write or a Sync.
type Ack struct {
	Instance  InstanceID
	FreeBytes uint64
	Errs      []error // Write only: nil when all ops were applied, else one per op
	Olds      []Old   // Write only: nil when there was no OpSwap, else one per op
}

// Old is what an OpSwap has replaced; the zero value where it was refused.
type Old struct {
	Base Version // the version before
	Data []byte  // its bytes, as many as the operation's; the caller's own
}

// Get asks for the newest version of one chunk, or for the newest at or below
// AtMost where that is not 0.
type Get struct {
	Block  uint64
	Index  uint8
	AtMost Version
	Off    uint32 // the first byte of the chunk that is wanted
	Dst    []byte // receives len(Dst) bytes; may be empty to ask for the version
}

// ChunkState says what a node found for a Get.
type ChunkState uint8

const (
	// Absent means that the node holds no version of the chunk.
	Absent ChunkState = iota
	// Present means that Dst holds the bytes.
	Present
	// Tombstone means that the chunk reads as zeroes; Dst was not touched.
	Tombstone
	// Damaged means that the record failed its checksum, or ends before the
	// range asked for; Dst is undefined. It is never absence.
	Damaged
)

// Chunk answers one Get.
type Chunk struct {
	Version Version // 0 when Absent
	State   ChunkState
}

// ListRequest asks for a page of List.
type ListRequest struct {
	Since Version  // only versions above it
	After Position // only what comes after it; the zero value starts at the beginning
	End   uint64   // only blocks below it; 0 means no bound
	Limit int      // 1 to MaxListEntries
}

// Entry is one version of one chunk that a node holds.
type Entry struct {
	Position
	Tombstone bool
	Damaged   bool // known to fail its checksum
}

// Stat is what a node reports for people and for placement of space.
type Stat struct {
	Node          NodeID
	Store         StoreID
	Instance      InstanceID
	ReadOnly      bool
	CapacityBytes uint64
	UsedBytes     uint64
	FreeBytes     uint64 // as in Pulse
	Chunks        uint64 // versions held, tombstones included
	Reads         uint64 // chunk reads since the start of this instance
	Writes        uint64 // chunk writes likewise
	ReadBytes     uint64
	WriteBytes    uint64
	Syncs         uint64
	Idle          time.Duration // since the last chunk read or write; since the start if none
	Uptime        time.Duration
	Host          HostStat // the zero value where nobody looks at the machine
	Volumes       []VolumeStat
}

// HostStat is the machine under a node, which may be others' too. Its counters
// begin when it boots. What its kernel does not tell is 0.
type HostStat struct {
	At              time.Duration // since the boot, when this was so
	CPUBusy         time.Duration // of all cores together
	CPUTotal        time.Duration // likewise, idle or not
	MemoryUsedBytes uint64
	MemoryBytes     uint64
	MilliKelvin     uint64 // of the processor
	NetInBytes      uint64
	NetOutBytes     uint64
	DiskInBytes     uint64 // written to disks
	DiskOutBytes    uint64 // read from them
}

// VolumeStat is what one volume takes on a node.
type VolumeStat struct {
	ID          VolumeID
	Chunks      uint64
	StoredBytes uint64 // payload bytes, superseded versions excluded
}
