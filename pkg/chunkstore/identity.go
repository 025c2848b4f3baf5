package chunkstore

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"rozobox/pkg/chunk"
)

// The store file, written once when a directory is formatted:
//
//	magic 4 | format 4 | store id 16 | length of node id 1 | node id 64 | CRC32C 4
const (
	identityName   = "store"
	identityMagic  = 0x525a5354 // "RZST"
	identityFormat = 1
	identitySize   = 4 + 4 + 16 + 1 + maxNodeID + 4
)

func storeSeed(id chunk.StoreID) uint32 { return crc32.Checksum(id[:], castagnoli) }

// readIdentity returns the store id; it formats an empty directory.
func readIdentity(opts *Options, names []string) (chunk.StoreID, error) {
	for _, name := range names {
		if name == identityName {
			return loadIdentity(opts)
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, segmentPrefix) || strings.HasPrefix(name, volumePrefix) {
			return chunk.StoreID{}, fmt.Errorf("%s is missing beside %s: not a blank card", identityName, name)
		}
	}
	return format(opts)
}

func loadIdentity(opts *Options) (chunk.StoreID, error) {
	f, err := opts.FS.Open(identityName, false)
	if err != nil {
		return chunk.StoreID{}, err
	}
	defer f.Close()
	b := make([]byte, identitySize)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return chunk.StoreID{}, fmt.Errorf("%s: damaged: %w", identityName, err)
	}
	id, node, err := decodeIdentity(b)
	if err == nil && node != opts.Node {
		err = fmt.Errorf("this is the card of node %q, not of %q", node, opts.Node)
	}
	if err != nil {
		return chunk.StoreID{}, fmt.Errorf("%s: %w", identityName, err)
	}
	return id, nil
}

func encodeIdentity(id chunk.StoreID, node chunk.NodeID) []byte {
	b := make([]byte, identitySize)
	binary.BigEndian.PutUint32(b, identityMagic)
	binary.BigEndian.PutUint32(b[4:], identityFormat)
	copy(b[8:], id[:])
	b[24] = byte(copy(b[25:25+maxNodeID], node))
	end := identitySize - 4
	binary.BigEndian.PutUint32(b[end:], crc32.Checksum(b[:end], castagnoli))
	return b
}

func decodeIdentity(b []byte) (id chunk.StoreID, node chunk.NodeID, err error) {
	end := identitySize - 4
	switch {
	case len(b) != identitySize || binary.BigEndian.Uint32(b) != identityMagic:
		return id, "", errors.New("not the file of a chunk store")
	case binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) || b[24] > maxNodeID:
		return id, "", errors.New("damaged: checksum mismatch")
	case binary.BigEndian.Uint32(b[4:]) != identityFormat:
		return id, "", fmt.Errorf("format %d, this program knows %d",
			binary.BigEndian.Uint32(b[4:]), identityFormat)
	}
	return chunk.StoreID(b[8:24]), chunk.NodeID(b[25 : 25+int(b[24])]), nil
}

// format draws a store id and writes it durably, in one step.
func format(opts *Options) (chunk.StoreID, error) {
	var id chunk.StoreID
	rand.Read(id[:])
	temporary := identityName + rewriteSuffix
	if err := opts.FS.Remove(temporary); err == nil {
		opts.Logger.Info("removed an unfinished format", "dir", opts.Dir)
	}
	f, err := opts.FS.Open(temporary, true)
	if err != nil {
		return id, fmt.Errorf("format: %w", err)
	}
	_, err = f.WriteAt(encodeIdentity(id, opts.Node), 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return id, fmt.Errorf("format: %w", err)
	}
	if err := opts.FS.Rename(temporary, identityName); err != nil {
		return id, fmt.Errorf("format: %w", err)
	}
	if err := opts.FS.SyncDir(); err != nil {
		return id, fmt.Errorf("format: %w", err)
	}
	return id, nil
}
