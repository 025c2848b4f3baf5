package chunkstore

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"rozobox/pkg/chunk"
)

// listStep bounds how many entries List looks at before it lets writers pass:
// 65536 take about a millisecond.
const listStep = 1 << 16

// List implements chunk.Catalog.
func (s *Store) List(
	ctx context.Context, term chunk.Term, req chunk.ListRequest,
) (entries []chunk.Entry, more bool, err error) {
	if req.Limit < 1 || req.Limit > chunk.MaxListEntries {
		return nil, false, s.wrap(term.Volume, fmt.Errorf("list limit %d: %w", req.Limit, chunk.ErrInvalid))
	}
	v, err := s.enter(ctx, term)
	if err != nil {
		return nil, false, err
	}
	if req.After.Block > maxBlock {
		return nil, false, s.still(v, term)
	}
	after := makeKey(req.After.Block, req.After.Index)
	l := lister{req: req, from: entry{key: after, version: req.After.Version}}
	for !l.done {
		if err := ctx.Err(); err != nil {
			return nil, false, s.wrap(v.id, fmt.Errorf("list: %w: %w", chunk.ErrUnavailable, err))
		}
		s.mu.RLock()
		l.step(&v.index)
		s.mu.RUnlock()
	}
	return l.entries, l.more, s.still(v, term)
}

// lister collects a page in steps.
type lister struct {
	req     chunk.ListRequest
	from    entry // where the next step begins
	entries []chunk.Entry
	more    bool
	done    bool
}

func (l *lister) step(x *index) {
	left := listStep
	l.done = true
	x.ascend(l.from, func(e *entry) bool {
		if left--; left < 0 {
			l.from, l.done = *e, false
			return false
		}
		return l.visit(e)
	})
}

// visit reports whether to go on.
func (l *lister) visit(e *entry) bool {
	p := e.position()
	if l.req.End != 0 && p.Block >= l.req.End {
		return false
	}
	if e.loc.has(locDrop|locBase) || e.version <= l.req.Since || !l.req.After.Less(p) {
		return true
	}
	if len(l.entries) == l.req.Limit {
		l.more = true
		return false
	}
	l.entries = append(l.entries, chunk.Entry{
		Position: p, Tombstone: e.loc.has(locTombstone), Damaged: e.loc.has(locDamaged),
	})
	return true
}

// counters are what Stat reports of this instance.
type counters struct {
	reads, writes, readBytes, writeBytes, syncs atomic.Uint64
	used                                        atomic.Int64 // since the start, in nanoseconds
	started                                     time.Time
}

func (c *counters) read(n, bytes int) {
	c.reads.Add(uint64(n))
	c.readBytes.Add(uint64(bytes))
	c.used.Store(int64(time.Since(c.started)))
}

// wrote counts what was acknowledged; a drop is no chunk write.
func (c *counters) wrote(ops []chunk.Op, errs []error) {
	for i := range ops {
		if ops[i].Kind != chunk.OpDrop && (errs == nil || errs[i] == nil) {
			c.writes.Add(1)
			c.writeBytes.Add(uint64(len(ops[i].Data)))
		}
	}
	c.used.Store(int64(time.Since(c.started)))
}

// Stat implements chunk.Catalog.
func (s *Store) Stat(ctx context.Context) (chunk.Stat, error) {
	if s.closing.Load() {
		return chunk.Stat{}, s.closedError()
	}
	s.measure()
	uptime := time.Since(s.counts.started)
	st := chunk.Stat{
		Node: s.node, Store: s.id, Instance: s.instance, ReadOnly: s.failure.Load() != nil,
		CapacityBytes: uint64(s.limit.Load()), UsedBytes: uint64(s.held.Load()), FreeBytes: s.free(),
		Reads: s.counts.reads.Load(), Writes: s.counts.writes.Load(),
		ReadBytes: s.counts.readBytes.Load(), WriteBytes: s.counts.writeBytes.Load(),
		Syncs: s.counts.syncs.Load(), Uptime: uptime,
		Idle: max(0, uptime-time.Duration(s.counts.used.Load())),
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, v := range s.volumesInOrder() {
		if v.epoch != 0 {
			st.Chunks += v.versions
			st.Volumes = append(st.Volumes, chunk.VolumeStat{
				ID: v.id, Chunks: v.versions, StoredBytes: v.stored,
			})
		}
	}
	return st, nil
}
