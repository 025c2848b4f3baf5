package chunkstore

import (
	"context"
	"testing"

	"rozobox/pkg/chunk"
)

const SlackSegments = slackSegments

// Kill ends the store as a killed process does: nothing is finished, and what
// the operating system has, it keeps.
func (s *Store) Kill() error {
	s.closing.Store(true)
	s.stop()
	s.workers.Wait()
	s.closeFiles()
	return s.lock.Close()
}

func MustOpen(t *testing.T, opts Options) *Store {
	t.Helper()
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// CompactSoon has what is dead taken back while others go on, as where the files
// are wasteful.
func (s *Store) CompactSoon() { s.compact.join() }

// CompactAll compacts until nothing is gained any more.
func (s *Store) CompactAll() {
	for {
		p := s.compact.join()
		select {
		case <-p.done:
			if !p.gained {
				return
			}
		case <-s.stopped:
			return
		}
	}
}

// Failed returns why the store is read-only, or nil.
func (s *Store) Failed() error { return s.writable() }

// Physical returns the size of all segment files.
func (s *Store) Physical() int64 { return s.physical.Load() }

// PretendBumps makes the store think that it has as many bumps as it may.
func (s *Store) PretendBumps(id chunk.VolumeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.volumes[id]
	v.bumps = freeBumps + v.versions/bumpShare
}

// VerifySuspects does what follows an unclean stop in the background.
func (s *Store) VerifySuspects() { s.verify(context.Background(), s.compact.suspects) }
