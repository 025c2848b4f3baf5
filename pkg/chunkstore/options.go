package chunkstore

import (
	"fmt"
	"log/slog"

	"rozobox/pkg/chunk"
)

// Options says where a store lives and how much it may take.
type Options struct {
	Dir      string       // made and formatted where it is missing or empty
	Node     chunk.NodeID // must be the one that the directory was formatted for
	Capacity uint64       // bytes for segments; 0: what the file system has
	Logger   *slog.Logger // nil: silent
	FS       FS           // nil: Dir of the operating system

	// SegmentSize is when a segment is finished; 0: a 64th of the capacity,
	// between 1 and 64 MiB. Only tests have a reason to set it.
	SegmentSize int64
}

const (
	minSegmentSize = 1 << 20
	// minCapacity leaves room for data beside the reserve of four segments.
	minCapacity = 16 * minSegmentSize
	// segmentsPerCard makes compaction's steps small against a small card.
	segmentsPerCard = 64
	maxNodeID       = 64
)

func (o *Options) fill() error {
	if err := validNode(o.Node); err != nil {
		return err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.FS == nil {
		fs, err := openOS(o.Dir)
		if err != nil {
			return err
		}
		o.FS = fs
	}
	if o.SegmentSize < 0 || o.SegmentSize > maxSegmentSize {
		return fmt.Errorf("chunkstore %s: segment size %d: %w", o.Dir, o.SegmentSize, chunk.ErrInvalid)
	}
	return nil
}

func validNode(n chunk.NodeID) error {
	ok := len(n) >= 1 && len(n) <= maxNodeID
	for _, c := range []byte(n) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			c == '.' || c == '_' || c == '-')
	}
	if !ok {
		return fmt.Errorf("chunkstore: node id %q: %w", n, chunk.ErrInvalid)
	}
	return nil
}
