package chunkstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"syscall"

	"rozobox/pkg/chunk"
)

// Hello implements chunk.Office.
func (s *Store) Hello(ctx context.Context) (chunk.Hello, error) {
	if s.closing.Load() {
		return chunk.Hello{}, s.closedError()
	}
	h := chunk.Hello{
		Node: s.node, Store: s.id, Instance: s.instance, ReadOnly: s.failure.Load() != nil,
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, v := range s.volumesInOrder() {
		if v.epoch != 0 {
			h.Volumes = append(h.Volumes, chunk.VolumeState{
				ID: v.id, Epoch: v.epoch, Watermark: v.w, Deleted: v.superblock.Deleted,
			})
		}
	}
	return h, nil
}

// Grant implements chunk.Office. The grant is durable first; then the turn is
// taken, so that every request of the older epoch has either ended or will be
// refused.
func (s *Store) Grant(
	ctx context.Context, id chunk.VolumeID, epoch uint32, nonce uint64,
) (chunk.Granted, error) {
	if epoch == 0 || epoch > chunk.MaxEpoch {
		return chunk.Granted{}, s.wrap(id, fmt.Errorf("grant of epoch %d: %w", epoch, chunk.ErrInvalid))
	}
	v, err := s.known(id)
	if err != nil {
		return chunk.Granted{}, s.wrap(id, err)
	}
	if err := s.enterOffice(ctx, v); err != nil {
		return chunk.Granted{}, err
	}
	defer s.leaveOffice(v)
	if err := s.grant(v, epoch, nonce); err != nil {
		return chunk.Granted{}, s.wrap(id, fmt.Errorf("grant of epoch %d: %w", epoch, err))
	}
	<-s.turn // not cut short: the grant is durable already
	defer s.giveTurn()
	s.mu.Lock()
	defer s.mu.Unlock()
	v.epoch, v.nonce = epoch, nonce
	return chunk.Granted{
		Store: s.id, Instance: s.instance,
		Watermark: v.w, Recovered: v.recovered, Superblock: v.superblock,
	}, nil
}

// grant records the grant, unless it is the present one; the caller holds the
// office.
func (s *Store) grant(v *volume, epoch uint32, nonce uint64) error {
	if err := s.writable(); err != nil {
		return err
	}
	have, with := v.epoch, v.nonce
	if epoch < have || epoch == have && nonce != with {
		return fmt.Errorf("epoch %d is granted: %w", have, chunk.ErrDeposed)
	}
	if epoch == have {
		return nil
	}
	return s.record(v, grantsAt, grantSlot, &slot{magic: grantMagic, epoch: epoch, number: nonce})
}

// record makes a slot durable. Only the lack of space leaves the store usable.
func (s *Store) record(v *volume, off, size int64, t *slot) error {
	var err error
	if v.file == nil {
		err = s.createVolumeFile(v)
	}
	if err == nil {
		err = s.writeSlot(v, off, size, t)
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.ENOSPC) && v.file == nil {
		return fmt.Errorf("%w: %w", chunk.ErrNoSpace, err)
	}
	s.fail(err)
	return s.writable()
}

// known returns the volume, made at need.
func (s *Store) known(id chunk.VolumeID) (*volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.volumes[id]; v != nil {
		return v, nil
	}
	if len(s.volumes) >= chunk.MaxVolumes {
		return nil, fmt.Errorf("more than %d volumes: %w", chunk.MaxVolumes, chunk.ErrInvalid)
	}
	v := newVolume(id)
	s.volumes[id] = v
	return v, nil
}

func (s *Store) enterOffice(ctx context.Context, v *volume) error {
	select {
	case <-v.office:
	case <-ctx.Done():
		return fmt.Errorf("chunkstore %s: %w: %w", s.dir, chunk.ErrUnavailable, ctx.Err())
	}
	if s.closing.Load() {
		s.leaveOffice(v)
		return s.closedError()
	}
	return nil
}

func (s *Store) leaveOffice(v *volume) { v.office <- struct{}{} }

// Beat implements chunk.Office.
func (s *Store) Beat(ctx context.Context, term chunk.Term) (chunk.Pulse, error) {
	v, err := s.enter(ctx, term)
	if err != nil {
		return chunk.Pulse{}, err
	}
	s.measure()
	p := chunk.Pulse{Instance: s.instance, FreeBytes: s.free()}
	s.mu.RLock()
	defer s.mu.RUnlock()
	p.Watermark = v.w
	return p, s.wrap(term.Volume, v.check(term))
}

// Superblock implements chunk.Office.
func (s *Store) Superblock(ctx context.Context, id chunk.VolumeID) (chunk.Superblock, error) {
	if s.closing.Load() {
		return chunk.Superblock{}, s.closedError()
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := s.volumes[id]
	if v == nil || v.superblock.Number == 0 {
		return chunk.Superblock{}, s.wrap(id, chunk.ErrUnknownVolume)
	}
	return v.superblock, nil
}

// PutSuperblock implements chunk.Office.
func (s *Store) PutSuperblock(ctx context.Context, term chunk.Term, sb chunk.Superblock) error {
	if sb.Volume != term.Volume || sb.Number == 0 || sb.Epoch > term.Epoch ||
		len(sb.Body) > chunk.MaxSuperblock || len(sb.Name) > chunk.MaxName {
		return s.wrap(term.Volume, fmt.Errorf("superblock %d: %w", sb.Number, chunk.ErrInvalid))
	}
	v, err := s.enter(ctx, term)
	if err != nil {
		return err
	}
	if err := s.enterOffice(ctx, v); err != nil {
		return err
	}
	defer s.leaveOffice(v)
	if err := s.putSuperblock(v, term, sb); err != nil {
		return s.wrap(term.Volume, fmt.Errorf("superblock %d: %w", sb.Number, err))
	}
	return nil
}

// putSuperblock checks, claims the name, writes and publishes; the caller
// holds the office, so that no grant comes between.
func (s *Store) putSuperblock(v *volume, term chunk.Term, sb chunk.Superblock) error {
	if err := s.writable(); err != nil {
		return err
	}
	have, err := s.claim(v, term, &sb)
	if err != nil || have {
		return err
	}
	sb.Body = bytes.Clone(sb.Body)
	err = s.record(v, superblocksAt, superblockSlot, &slot{
		magic: superblockMagic, epoch: sb.Epoch, deleted: sb.Deleted,
		number: sb.Number, name: sb.Name, body: sb.Body,
	})
	if err == nil {
		<-s.turn // deleting must not meet a write under way
		defer s.giveTurn()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.releaseName(v, sb.Name)
		return err
	}
	old := v.superblock.Name
	v.superblock = sb
	s.releaseName(v, old)
	if sb.Deleted {
		s.clearVolume(v)
		s.compact.wake()
	}
	return nil
}

// claim checks sb against what is stored and reserves its name. It reports
// whether sb is what is stored already.
func (s *Store) claim(v *volume, term chunk.Term, sb *chunk.Superblock) (have bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := v.check(term); err != nil {
		return false, err
	}
	old := &v.superblock
	if sb.Number == old.Number && sb.Epoch == old.Epoch && sb.Name == old.Name &&
		sb.Deleted == old.Deleted && bytes.Equal(sb.Body, old.Body) {
		return true, nil
	}
	if sb.Epoch < old.Epoch || sb.Epoch == old.Epoch && sb.Number <= old.Number {
		return false, fmt.Errorf("not newer than %d of epoch %d: %w", old.Number, old.Epoch, chunk.ErrInvalid)
	}
	if old.Deleted && !sb.Deleted {
		return false, fmt.Errorf("the volume is deleted: %w", chunk.ErrInvalid)
	}
	if sb.Deleted {
		return false, nil
	}
	if holder, taken := s.names[sb.Name]; taken && holder != v.id {
		return false, fmt.Errorf("%q: %w", sb.Name, chunk.ErrNameTaken)
	}
	s.names[sb.Name] = v.id
	return false, nil
}

// releaseName gives a name up unless the volume's superblock still claims it;
// the caller holds mu.
func (s *Store) releaseName(v *volume, name string) {
	live := v.superblock.Number != 0 && !v.superblock.Deleted
	if s.names[name] == v.id && !(live && v.superblock.Name == name) {
		delete(s.names, name)
	}
}

// enter checks a term and takes note of its W. A full or failed card cannot
// note it, but still serves reads: it goes on reporting the W that it has.
func (s *Store) enter(ctx context.Context, term chunk.Term) (*volume, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("chunkstore %s: %w: %w", s.dir, chunk.ErrUnavailable, err)
	}
	if s.closing.Load() {
		return nil, s.closedError()
	}
	v, behind, err := s.admit(term)
	if err != nil || !behind || s.failure.Load() != nil {
		return v, err
	}
	if err := s.takeTurn(ctx); err != nil {
		return nil, err
	}
	defer s.giveTurn()
	if v, behind, err = s.admit(term); err == nil && behind {
		s.logWatermark(v, term.Watermark)
	}
	return v, err
}

// admit checks a term; behind says that its W is news.
func (s *Store) admit(term chunk.Term) (v *volume, behind bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if v = s.volumes[term.Volume]; v == nil {
		return nil, false, s.wrap(term.Volume, chunk.ErrNotGranted)
	}
	if err := v.check(term); err != nil {
		return nil, false, s.wrap(term.Volume, fmt.Errorf("epoch %d, granted %d: %w", term.Epoch, v.epoch, err))
	}
	return v, term.Watermark > v.w, nil
}

// still checks the term again, at the end of a request that gave up the turn:
// what a deposed gateway is told must not look like work of its term.
func (s *Store) still(v *volume, term chunk.Term) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.wrap(term.Volume, v.check(term))
}

func (s *Store) wrap(id chunk.VolumeID, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("chunkstore %s: volume %s: %w", s.dir, id, err)
}
