package metrics

import "time"

// Cluster is all that a monitor shows, at one moment: what the cards say of
// themselves, and, while a gateway answers, what it adds. It is also one line
// of a recorded lesson and one message to the web page, so its JSON keys are
// only ever added to.
//
// Where a figure is not known it is absent: a nil pointer, an empty list.
type Cluster struct {
	Time    time.Time `json:"time"` // of the machine that watches
	Name    string    `json:"name"`
	Cards   []Card    `json:"cards"` // in the order of the configuration
	Gateway *Gateway  `json:"gateway,omitempty"`
	Volumes []Volume  `json:"volumes,omitempty"`
	Jobs    []Job     `json:"jobs,omitempty"`
	Events  []Event   `json:"events,omitempty"` // the newest last; those of the last hour at most
	Stripe  *Stripe   `json:"stripe,omitempty"` // the stripe that was asked for, or was read last
	Film    *Film     `json:"film,omitempty"`   // of a demonstration
}

// The states of a card, as they are written and said.
const (
	Idle        = "idle"
	Working     = "working" // a chunk was read or written within the last second
	Unavailable = "unavailable"
)

// The standing of a card in the cluster.
const (
	In        = "in"
	Out       = "out"
	Resyncing = "resyncing"
	Lost      = "lost"
	Unknown   = "unknown" // no gateway says
)

// Card is one chunk server and the machine that it runs on.
type Card struct {
	ID    string `json:"id"`
	Addr  string `json:"addr"`
	State string `json:"state"`
	Sync  string `json:"sync"`
	// Slow: it answers, but reads go to others because it is late, or it went
	// out because its writes were.
	Slow bool   `json:"slow,omitempty"`
	Why  string `json:"why,omitempty"` // what is wrong, where something is

	UsedBytes     uint64 `json:"used_bytes"`
	CapacityBytes uint64 `json:"capacity_bytes"`
	ReadOnly      bool   `json:"read_only,omitempty"`

	// Rates since the sample before.
	ReadsPerSecond      float64 `json:"reads_per_second"` // chunks
	WritesPerSecond     float64 `json:"writes_per_second"`
	ReadBytesPerSecond  float64 `json:"read_bytes_per_second"`
	WriteBytesPerSecond float64 `json:"write_bytes_per_second"`

	Host *Host `json:"host,omitempty"` // nil until two samples were taken
}

// Host is what the machine under a chunk server does.
type Host struct {
	CPU                   float64  `json:"cpu"` // share of all cores, 0 to 1
	MemoryUsedBytes       uint64   `json:"memory_used_bytes"`
	MemoryBytes           uint64   `json:"memory_bytes"`
	Celsius               *float64 `json:"celsius,omitempty"` // where the kernel tells
	NetInBytesPerSecond   float64  `json:"net_in_bytes_per_second"`
	NetOutBytesPerSecond  float64  `json:"net_out_bytes_per_second"`
	DiskInBytesPerSecond  float64  `json:"disk_in_bytes_per_second"`  // written to disks
	DiskOutBytesPerSecond float64  `json:"disk_out_bytes_per_second"` // read from them
}

// Gateway is what the gateway does for its clients, since the sample before.
type Gateway struct {
	ID            string  `json:"id"`
	Version       string  `json:"version"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	Health        string  `json:"health"` // healthy, degraded or unavailable

	ReadsPerSecond      float64 `json:"reads_per_second"` // requests of clients
	WritesPerSecond     float64 `json:"writes_per_second"`
	ReadBytesPerSecond  float64 `json:"read_bytes_per_second"`
	WriteBytesPerSecond float64 `json:"write_bytes_per_second"`
	ReadP50Seconds      float64 `json:"read_p50_seconds"`
	ReadP99Seconds      float64 `json:"read_p99_seconds"`
	WriteP50Seconds     float64 `json:"write_p50_seconds"`
	WriteP99Seconds     float64 `json:"write_p99_seconds"`

	DirtyBytes           int64   `json:"dirty_bytes"` // replied to, not yet known to be durable
	HedgedReadsPerSecond float64 `json:"hedged_reads_per_second"`
	HedgedReads          uint64  `json:"hedged_reads"` // since the opening
}

// Volume is one exported block device.
type Volume struct {
	Name                 string `json:"name"`
	State                string `json:"state"`
	Why                  string `json:"why,omitempty"`
	SizeBytes            int64  `json:"size_bytes"`
	StoredBytes          uint64 `json:"stored_bytes"`
	BlockSizeBytes       int    `json:"block_size_bytes"`
	DataChunks           int    `json:"data_chunks"`
	ParityChunks         int    `json:"parity_chunks"`
	UnderProtectedBlocks uint64 `json:"under_protected_blocks"`
}

// The kinds of jobs.
const (
	Resync  = "resync"
	Rebuild = "rebuild"
	Scrub   = "scrub"
)

// Job is repair at work.
type Job struct {
	Kind             string  `json:"kind"`
	Volume           string  `json:"volume"`
	Node             string  `json:"node,omitempty"` // of a resync or rebuild
	Done             float64 `json:"done"`           // share, 0 to 1
	BytesPerSecond   float64 `json:"bytes_per_second"`
	RemainingSeconds float64 `json:"remaining_seconds"` // negative where it cannot be told
	Paused           bool    `json:"paused,omitempty"`
}

// Event is something that happened once.
type Event struct {
	Time   time.Time `json:"time"`
	Level  string    `json:"level"` // info, warn or error
	Node   string    `json:"node,omitempty"`
	Volume string    `json:"volume,omitempty"`
	Text   string    `json:"text"`
}

// Stripe is one block's chunks: where they stand, and who gave it at the last
// read.
type Stripe struct {
	Volume  string    `json:"volume"`
	Offset  int64     `json:"offset"` // of the block's first byte
	Block   uint64    `json:"block"`
	Version string    `json:"version"` // EPOCH.SEQUENCE; empty for a block never written
	Zeroes  bool      `json:"zeroes,omitempty"`
	Data    int       `json:"data_chunks"`
	Parity  int       `json:"parity_chunks"`
	Read    time.Time `json:"read,omitzero"` // when it was read last, if that is known
	// Memory: that read asked no node, the gateway still had the block.
	Memory bool          `json:"memory,omitempty"`
	Chunks []StripeChunk `json:"chunks"` // in the order of their indexes, spares behind their homes
}

// The states of a chunk on a card, beside Unavailable.
const (
	Present   = "present"
	Absent    = "absent"
	Tombstone = "tombstone" // reads as zeroes
	Damaged   = "damaged"
)

// StripeChunk is one chunk on one card.
type StripeChunk struct {
	Index   int    `json:"index"` // data first, then parity
	Parity  bool   `json:"parity,omitempty"`
	Node    string `json:"node"`
	Spare   bool   `json:"spare,omitempty"` // the card stands in for the chunk's home
	State   string `json:"state"`           // present, absent, tombstone, damaged or unavailable
	Version string `json:"version,omitempty"`
	Why     string `json:"why,omitempty"` // why it is on a spare, or cannot be had

	// Of the last read of the block, where it is known:
	Asked   bool    `json:"asked,omitempty"`
	Used    bool    `json:"used,omitempty"`   // its bytes, or what they decode to, went to the client
	Hedged  bool    `json:"hedged,omitempty"` // asked because another was late
	Seconds float64 `json:"seconds,omitempty"`
}

// Film is the stream of a demonstration.
type Film struct {
	Name                string  `json:"name"`
	BytesPerSecond      float64 `json:"bytes_per_second"` // its bit rate
	Position            float64 `json:"position"`         // share, 0 to 1
	Round               int     `json:"round"`            // how often it began
	BufferSeconds       float64 `json:"buffer_seconds"`
	BufferLimitSeconds  float64 `json:"buffer_limit_seconds"`
	LongestPauseSeconds float64 `json:"longest_pause_seconds"` // of one read
	StalledSeconds      float64 `json:"stalled_seconds"`       // with an empty buffer, in all
	CheckedBytes        uint64  `json:"checked_bytes"`         // compared with their hash
	WrongBytes          uint64  `json:"wrong_bytes"`
	Why                 string  `json:"why,omitempty"` // why it waits
}
