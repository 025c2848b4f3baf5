package chunkstore

import (
	"fmt"

	"rozobox/pkg/chunk"
)

// What a bump is, doc.go says under Patches.

// isBump reports whether op is a patch that changes nothing but the version.
func isBump(op *chunk.Op) bool { return op.Kind == chunk.OpPatch && len(op.Data) == 0 }

// freeBumps and bumpShare bound the chunks of a volume that end in a bump, and so
// have two entries in the index: at most 1.5 MiB, and 6 bytes for each chunk.
const (
	freeBumps = 1 << 16
	bumpShare = 4
)

// mayBump reports whether a bump may be a record of its own.
func (s *Store) mayBump(v *volume) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return v.bumps < freeBumps+v.versions/bumpShare
}

// stand completes the record of a bump with the put that has its payload. The
// caller holds the turn, and has found that it builds.
func (s *Store) stand(v *volume, r *record) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	newest, _ := v.index.newest(makeKey(r.block, r.index), ^chunk.Version(0))
	put, _ := v.index.payload(newest)
	r.base, r.length = put.version, put.loc.length()
	r.synced = position(s.synced.Load())
}

// errSevers refuses what no gateway sends: it would part a bump from its payload.
var errSevers = fmt.Errorf("a bump of an older version stands above it: %w", chunk.ErrInvalid)

// severs reports whether the operation's record would hide the payload of a
// bump above it, or come between the two.
func (s *Store) severs(v *volume, op *chunk.Op, index uint8) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	above, ok := v.index.above(makeKey(op.Block, index), op.Version)
	if !ok || !above.loc.has(locBump) {
		return false
	}
	put, ok := v.index.payload(above)
	return ok && (put.version < op.Version || op.Kind == chunk.OpDrop && put.version == op.Version)
}

// base returns what the bump at off names, 0 where none is.
func (g *segment) base(off int64) chunk.Version {
	var b [headerSize]byte
	if g.readAt(b[:], off) != nil {
		return 0
	}
	r, err := decodeRecord(b[:], headerSeed(g.seed, at(g.id, off)))
	if err != nil {
		return 0
	}
	return r.base
}

// cutBumps takes out those whose payload was torn when power failed; that is a gap
// in front of them.
func (l *loader) cutBumps() {
	for i := range l.bumps {
		r := &l.bumps[i]
		v := l.volume(r.volume)
		e := v.index.find(r.entry())
		if e == nil || e.loc != r.entry().loc {
			continue
		}
		if put, ok := v.index.payload(*e); !ok || put.version != r.base {
			l.s.forget(v, *e)
			l.gapped[r.seg] = true
		}
	}
}
