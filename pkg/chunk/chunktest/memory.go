package chunktest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"rozobox/pkg/chunk"
)

// Memory is the reference chunk.Store. It is safe for concurrent use.
type Memory struct {
	node chunk.NodeID

	mu       sync.Mutex // guards all below; nothing here waits
	store    chunk.StoreID
	instance chunk.InstanceID
	live     state
	durable  state
	log      []change
	capacity uint64
	readOnly bool
	started  time.Time
	used     time.Time  // the last read or write
	stat     chunk.Stat // its counters only
}

var _ chunk.Store = (*Memory)(nil)

// NewMemory returns an empty store with a new store id.
func NewMemory(node chunk.NodeID) *Memory {
	m := &Memory{node: node, capacity: 1 << 40}
	m.Wipe()
	return m
}

// Wipe puts a blank card into the node and starts it.
func (m *Memory) Wipe() {
	m.mu.Lock()
	defer m.mu.Unlock()
	rand.Read(m.store[:])
	m.live, m.durable, m.log = state{}, state{}, nil
	m.startLocked()
}

// Restart stops the node cleanly and starts it again: nothing is lost.
func (m *Memory) Restart() { m.Crash(math.MaxInt) }

// Crash loses power and starts again: of what was not synced, only the first
// keep changes are still there.
func (m *Memory) Crash(keep int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.log[:min(keep, len(m.log))] {
		m.durable.apply(c)
	}
	m.live, m.log = m.durable.clone(), nil
	m.startLocked()
}

func (m *Memory) startLocked() {
	rand.Read(m.instance[:])
	m.readOnly = false
	m.started = time.Now()
	m.used = m.started
	m.stat = chunk.Stat{}
	for _, v := range m.live {
		v.recovered = v.watermark
	}
}

// Hello implements chunk.Office.
func (m *Memory) Hello(ctx context.Context) (chunk.Hello, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ended(ctx); err != nil {
		return chunk.Hello{}, err
	}
	h := chunk.Hello{Node: m.node, Store: m.store, Instance: m.instance, ReadOnly: m.readOnly}
	for id, v := range m.live {
		h.Volumes = append(h.Volumes, chunk.VolumeState{
			ID: id, Epoch: v.epoch, Watermark: v.watermark, Deleted: v.superblock.Deleted,
		})
	}
	slices.SortFunc(h.Volumes, func(a, b chunk.VolumeState) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return h, nil
}

// ended returns ErrUnavailable when the caller has given up already.
func (m *Memory) ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w: %w", m.node, chunk.ErrUnavailable, err)
	}
	return nil
}

// Grant implements chunk.Office.
func (m *Memory) Grant(
	ctx context.Context, id chunk.VolumeID, epoch uint32, nonce uint64,
) (chunk.Granted, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ended(ctx); err != nil {
		return chunk.Granted{}, err
	}
	if m.readOnly {
		return chunk.Granted{}, fmt.Errorf("%s: grant: %w", m.node, chunk.ErrReadOnly)
	}
	if epoch == 0 || epoch > chunk.MaxEpoch {
		return chunk.Granted{}, fmt.Errorf("%s: grant epoch %d: %w", m.node, epoch, chunk.ErrInvalid)
	}
	v := m.live.volume(id)
	if epoch < v.epoch || epoch == v.epoch && nonce != v.nonce {
		return chunk.Granted{}, fmt.Errorf("%s: grant epoch %d, have %d: %w",
			m.node, epoch, v.epoch, chunk.ErrDeposed)
	}
	for _, s := range []state{m.live, m.durable} {
		s.volume(id).epoch, s.volume(id).nonce = epoch, nonce
	}
	return chunk.Granted{
		Store: m.store, Instance: m.instance,
		Watermark: v.watermark, Recovered: v.recovered, Superblock: v.superblock,
	}, nil
}

// enterLocked checks the term and takes note of its W.
func (m *Memory) enterLocked(ctx context.Context, term chunk.Term) (*volume, error) {
	if err := m.ended(ctx); err != nil {
		return nil, err
	}
	v := m.live[term.Volume]
	switch {
	case v == nil || term.Epoch > v.epoch:
		return nil, fmt.Errorf("%s: epoch %d: %w", m.node, term.Epoch, chunk.ErrNotGranted)
	case term.Epoch < v.epoch || term.Nonce != v.nonce:
		return nil, fmt.Errorf("%s: epoch %d: %w", m.node, term.Epoch, chunk.ErrDeposed)
	}
	if term.Watermark > v.watermark && !m.readOnly {
		m.doLocked(change{volume: term.Volume, watermark: term.Watermark})
	}
	return v, nil
}

func (m *Memory) doLocked(c change) {
	m.live.apply(c)
	m.log = append(m.log, c)
}

// Beat implements chunk.Office.
func (m *Memory) Beat(ctx context.Context, term chunk.Term) (chunk.Pulse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, err := m.enterLocked(ctx, term)
	if err != nil {
		return chunk.Pulse{}, err
	}
	return chunk.Pulse{Instance: m.instance, Watermark: v.watermark, FreeBytes: m.freeLocked()}, nil
}

// Superblock implements chunk.Office.
func (m *Memory) Superblock(ctx context.Context, id chunk.VolumeID) (chunk.Superblock, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ended(ctx); err != nil {
		return chunk.Superblock{}, err
	}
	v := m.live[id]
	if v == nil || v.superblock.Number == 0 {
		return chunk.Superblock{}, fmt.Errorf("%s: %w %s", m.node, chunk.ErrUnknownVolume, id)
	}
	return v.superblock, nil
}

// PutSuperblock implements chunk.Office.
func (m *Memory) PutSuperblock(ctx context.Context, term chunk.Term, sb chunk.Superblock) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, err := m.enterLocked(ctx, term)
	if err != nil {
		return err
	}
	if m.readOnly {
		return fmt.Errorf("%s: superblock: %w", m.node, chunk.ErrReadOnly)
	}
	if err := m.checkSuperblockLocked(v, term, sb); err != nil {
		return err
	}
	for _, s := range []state{m.live, m.durable} {
		s.volume(sb.Volume).superblock = sb
		if sb.Deleted {
			s.volume(sb.Volume).chunks, s.volume(sb.Volume).bytes = map[key][]record{}, 0
		}
	}
	if sb.Deleted {
		m.log = slices.DeleteFunc(m.log, func(c change) bool { return c.volume == sb.Volume })
	}
	return nil
}

func (m *Memory) checkSuperblockLocked(v *volume, term chunk.Term, sb chunk.Superblock) error {
	old := v.superblock
	if sb.Volume != term.Volume || sb.Number == 0 || sb.Epoch > term.Epoch ||
		len(sb.Body) > chunk.MaxSuperblock || len(sb.Name) > chunk.MaxName {
		return fmt.Errorf("%s: superblock %d: %w", m.node, sb.Number, chunk.ErrInvalid)
	}
	same := sb.Number == old.Number && sb.Epoch == old.Epoch && sb.Name == old.Name &&
		sb.Deleted == old.Deleted && bytes.Equal(sb.Body, old.Body)
	if old.Deleted && !sb.Deleted {
		return fmt.Errorf("%s: superblock %d of a deleted volume: %w", m.node, sb.Number, chunk.ErrInvalid)
	}
	if !same && (sb.Epoch < old.Epoch || sb.Epoch == old.Epoch && sb.Number <= old.Number) {
		return fmt.Errorf("%s: superblock %d.%d is not newer than %d.%d: %w",
			m.node, sb.Epoch, sb.Number, old.Epoch, old.Number, chunk.ErrInvalid)
	}
	for id, other := range m.live {
		o := other.superblock
		if id != sb.Volume && !sb.Deleted && o.Number != 0 && !o.Deleted && o.Name == sb.Name {
			return fmt.Errorf("%s: name %q: %w", m.node, sb.Name, chunk.ErrNameTaken)
		}
	}
	return nil
}

// Write implements chunk.Data.
func (m *Memory) Write(ctx context.Context, term chunk.Term, ops []chunk.Op) (chunk.Ack, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := checkOps(ops); err != nil {
		return chunk.Ack{}, fmt.Errorf("%s: write: %w", m.node, err)
	}
	v, err := m.enterLocked(ctx, term)
	if err != nil {
		return chunk.Ack{}, err
	}
	if m.readOnly {
		return chunk.Ack{}, fmt.Errorf("%s: write: %w", m.node, chunk.ErrReadOnly)
	}
	if v.superblock.Deleted {
		return chunk.Ack{}, fmt.Errorf("%s: write to a deleted volume: %w", m.node, chunk.ErrInvalid)
	}
	m.used = time.Now()
	ack := chunk.Ack{Instance: m.instance}
	for i, op := range ops {
		if op.Kind == chunk.OpSync {
			m.syncLocked()
			continue
		}
		if err := m.oneLocked(v, term.Volume, ops, i, &ack); err != nil {
			if ack.Errs == nil {
				ack.Errs = make([]error, len(ops))
			}
			ack.Errs[i] = fmt.Errorf("%s: block %d index %d version %s: %w",
				m.node, op.Block, op.Index, op.Version, err)
			continue
		}
		if op.Kind != chunk.OpDrop {
			m.stat.Writes++
			m.stat.WriteBytes += uint64(len(op.Data))
		}
	}
	ack.FreeBytes = m.freeLocked()
	return ack, nil
}

func checkOps(ops []chunk.Op) error {
	if len(ops) > chunk.MaxOps {
		return fmt.Errorf("%d operations: %w", len(ops), chunk.ErrInvalid)
	}
	total := 0
	for i, op := range ops {
		total += len(op.Data)
		if last := i == len(ops)-1; total > chunk.MaxRequestBytes || !validOp(op) || op.Kind == chunk.OpSync && !last {
			return fmt.Errorf("operation %+v: %w", op.Kind, chunk.ErrInvalid)
		}
	}
	return nil
}

func validOp(op chunk.Op) bool {
	patch, size := op.Kind == chunk.OpPatch, uint64(op.Off)+uint64(len(op.Data))
	switch {
	case op.Kind == chunk.OpSwap:
		return validSwap(op)
	case op.Instance != chunk.InstanceID{}:
		return false
	case op.Kind == chunk.OpSync:
		return op.Version == 0 && op.Index == 0 && op.Block == 0 && !op.Repair && op.Base == 0 && size == 0
	case op.Kind < chunk.OpPut || op.Kind > chunk.OpPatch || op.Version == 0:
		return false
	case patch && (op.Base == 0 || op.Base >= op.Version || op.Repair), !patch && (op.Base|chunk.Version(op.Off)) != 0:
		return false
	case !patch && (op.Kind == chunk.OpPut) != (len(op.Data) > 0):
		return false
	case !patch && len(op.Data)%chunk.ChunkAlign != 0, size > chunk.MaxChunkSize:
		return false
	}
	return op.Index < chunk.MaxWidth || op.Kind == chunk.OpDrop && op.Index == chunk.AllIndexes
}

// applyLocked does one op, or says why not.
func (m *Memory) applyLocked(v *volume, id chunk.VolumeID, op chunk.Op) error {
	if op.Kind == chunk.OpDrop {
		m.doLocked(change{volume: id, op: op})
		return nil
	}
	k := key{op.Block, op.Index}
	if have := v.get(k, op.Version); have != nil && !have.damaged {
		return nil
	}
	if op.Version <= v.watermark {
		if !op.Repair {
			return chunk.ErrSettled
		}
		if newer := v.find(k, v.watermark); newer != nil && newer.version > op.Version {
			return nil
		}
	}
	if op.Kind == chunk.OpPatch {
		base := v.find(k, 0)
		if base == nil || base.version != op.Base || base.damaged || base.tombstone ||
			int(op.Off)+len(op.Data) > len(base.data) {
			return chunk.ErrNoBase
		}
		op = patched(op, base.data)
	}
	op.Data = slices.Clone(op.Data)
	if op.Kind == chunk.OpPut && !op.Repair && uint64(len(op.Data)) > m.freeLocked() {
		return chunk.ErrNoSpace
	}
	m.doLocked(change{volume: id, op: op})
	return nil
}

// patched returns the put that a patch of base comes to.
func patched(op chunk.Op, base []byte) chunk.Op {
	data := slices.Clone(base)
	for i, b := range op.Data {
		data[int(op.Off)+i] ^= b
	}
	return chunk.Op{Kind: chunk.OpPut, Block: op.Block, Index: op.Index, Version: op.Version, Data: data}
}

func (m *Memory) freeLocked() uint64 {
	if used := m.usedLocked(); used < m.capacity {
		return m.capacity - used
	}
	return 0
}

func (m *Memory) usedLocked() (used uint64) {
	for _, v := range m.live {
		used += v.bytes
	}
	return used
}

// Read implements chunk.Data.
func (m *Memory) Read(ctx context.Context, term chunk.Term, gets []chunk.Get) ([]chunk.Chunk, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := checkGets(gets); err != nil {
		return nil, fmt.Errorf("%s: read: %w", m.node, err)
	}
	v, err := m.enterLocked(ctx, term)
	if err != nil {
		return nil, err
	}
	m.used = time.Now()
	chunks := make([]chunk.Chunk, len(gets))
	for i, g := range gets {
		chunks[i] = read(v.find(key{g.Block, g.Index}, g.AtMost), g)
		m.stat.Reads++
		m.stat.ReadBytes += uint64(len(g.Dst))
	}
	return chunks, nil
}

func checkGets(gets []chunk.Get) error {
	total := 0
	for _, g := range gets {
		total += len(g.Dst)
		if g.Index >= chunk.MaxWidth || uint64(g.Off)+uint64(len(g.Dst)) > chunk.MaxChunkSize {
			return fmt.Errorf("index %d, %d bytes at %d: %w", g.Index, len(g.Dst), g.Off, chunk.ErrInvalid)
		}
	}
	if len(gets) > chunk.MaxOps || total > chunk.MaxRequestBytes {
		return fmt.Errorf("%d chunks, %d bytes: %w", len(gets), total, chunk.ErrInvalid)
	}
	return nil
}

func read(r *record, g chunk.Get) chunk.Chunk {
	switch {
	case r == nil:
		return chunk.Chunk{State: chunk.Absent}
	case r.damaged:
		return chunk.Chunk{Version: r.version, State: chunk.Damaged}
	case r.tombstone:
		return chunk.Chunk{Version: r.version, State: chunk.Tombstone}
	case uint64(g.Off)+uint64(len(g.Dst)) > uint64(len(r.data)):
		return chunk.Chunk{Version: r.version, State: chunk.Damaged}
	}
	copy(g.Dst, r.data[g.Off:])
	return chunk.Chunk{Version: r.version, State: chunk.Present}
}

// Sync implements chunk.Data.
func (m *Memory) Sync(ctx context.Context, term chunk.Term) (chunk.Ack, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.enterLocked(ctx, term); err != nil {
		return chunk.Ack{}, err
	}
	if m.readOnly {
		return chunk.Ack{}, fmt.Errorf("%s: sync: %w", m.node, chunk.ErrReadOnly)
	}
	m.syncLocked()
	return chunk.Ack{Instance: m.instance, FreeBytes: m.freeLocked()}, nil
}

func (m *Memory) syncLocked() {
	for _, c := range m.log {
		m.durable.apply(c)
	}
	m.log = nil
	for id, d := range m.durable {
		d.collect(d.watermark)
		m.live[id].collect(d.watermark)
	}
	m.stat.Syncs++
}

// List implements chunk.Catalog.
func (m *Memory) List(
	ctx context.Context, term chunk.Term, req chunk.ListRequest,
) ([]chunk.Entry, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if req.Limit < 1 || req.Limit > chunk.MaxListEntries {
		return nil, false, fmt.Errorf("%s: list limit %d: %w", m.node, req.Limit, chunk.ErrInvalid)
	}
	v, err := m.enterLocked(ctx, term)
	if err != nil {
		return nil, false, err
	}
	list := v.entries(req)
	if len(list) > req.Limit {
		return list[:req.Limit], true, nil
	}
	return list, false, nil
}

// Stat implements chunk.Catalog.
func (m *Memory) Stat(ctx context.Context) (chunk.Stat, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ended(ctx); err != nil {
		return chunk.Stat{}, err
	}
	s := m.stat
	s.Node, s.Store, s.Instance, s.ReadOnly = m.node, m.store, m.instance, m.readOnly
	s.CapacityBytes, s.UsedBytes, s.FreeBytes = m.capacity, m.usedLocked(), m.freeLocked()
	s.Idle, s.Uptime = time.Since(m.used), time.Since(m.started)
	for id, v := range m.live {
		vs := chunk.VolumeStat{ID: id}
		for _, recs := range v.chunks {
			s.Chunks += uint64(len(recs))
			vs.Chunks += uint64(len(recs))
			vs.StoredBytes += uint64(len(recs[len(recs)-1].data))
		}
		s.Volumes = append(s.Volumes, vs)
	}
	slices.SortFunc(s.Volumes, func(a, b chunk.VolumeStat) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return s, nil
}
