package chunkstore

import (
	"errors"
	"testing"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
)

// kill ends the store as a killed process does: nothing is finished, and what
// the operating system has, it keeps.
func (s *Store) kill() error {
	s.closing.Store(true)
	s.stop()
	s.workers.Wait()
	s.closeFiles()
	return s.lock.Close()
}

func mustOpen(t *testing.T, opts Options) *Store {
	t.Helper()
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSuiteOnDisk holds the store to the contract on a real directory, with
// segments so small that the tests cross many of them.
func TestSuiteOnDisk(t *testing.T) {
	for name, size := range map[string]int64{"DefaultSegments": 0, "SmallSegments": 8 << 10} {
		t.Run(name, func(t *testing.T) {
			chunktest.Suite(t, func(t *testing.T) chunktest.Subject {
				opts := Options{Dir: t.TempDir(), Node: "pi1", Capacity: 256 << 20, SegmentSize: size}
				s := mustOpen(t, opts)
				t.Cleanup(func() {
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				})
				return chunktest.Subject{Store: s, Reopen: func(t *testing.T, clean bool) chunk.Store {
					stop := s.kill
					if clean {
						stop = s.Close
					}
					err := stop()
					s = mustOpen(t, opts)
					if err = errors.Join(err, s.writable()); err != nil {
						t.Fatal(err)
					}
					return s
				}}
			})
		})
	}
}
