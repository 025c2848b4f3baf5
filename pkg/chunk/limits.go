package chunk

// Bounds of the contract. A store refuses what exceeds them with ErrInvalid
// before it allocates anything for it.
const (
	// MinBlockSize and MaxBlockSize bound a volume's block size in bytes, a
	// power of two.
	MinBlockSize = 4 << 10
	MaxBlockSize = 1 << 20

	// MaxChunkSize is the largest payload: a block of MaxBlockSize with the
	// smallest k, which is 2.
	MaxChunkSize = MaxBlockSize / 2

	// ChunkAlign divides every chunk's size: the coder works in units of 16.
	ChunkAlign = 16

	// MaxWidth bounds k+m.
	MaxWidth = 32

	// MaxNodes bounds a cluster; superblocks list every node.
	MaxNodes = 64

	// MaxOps bounds the operations of one Write or Read. With the metadata of
	// each at 52 bytes at most their headers stay within 26 KiB.
	MaxOps = 512

	// MaxRequestBytes bounds the payload of one Write or Read: eight of the
	// largest chunks, and 256 chunks of the default size.
	MaxRequestBytes = 4 << 20

	// MaxListEntries bounds one page of List.
	MaxListEntries = 4096

	// MaxSuperblock bounds a superblock's body: 64 nodes at 128 bytes and the
	// volume's own fields are 9 KiB.
	MaxSuperblock = 32 << 10

	// MaxName bounds a volume's name, in bytes; the NBD protocol takes 4096.
	MaxName = 255

	// MaxVolumes bounds the volumes of one cluster, deleted ones included as
	// long as a member has not confirmed.
	MaxVolumes = 1024
)
