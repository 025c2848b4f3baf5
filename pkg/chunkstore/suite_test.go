package chunkstore_test

import (
	"errors"
	"testing"

	"rozobox/pkg/chunk"
	"rozobox/pkg/chunk/chunktest"
	"rozobox/pkg/chunkstore"
)

// TestSuiteOnDisk holds the store to the contract on a real directory, with
// segments so small that the tests cross many of them.
func TestSuiteOnDisk(t *testing.T) {
	for name, size := range map[string]int64{"DefaultSegments": 0, "SmallSegments": 8 << 10} {
		t.Run(name, func(t *testing.T) {
			chunktest.Suite(t, func(t *testing.T) chunktest.Subject {
				opts := chunkstore.Options{Dir: t.TempDir(), Node: "pi1", Capacity: 256 << 20, SegmentSize: size}
				s := chunkstore.MustOpen(t, opts)
				t.Cleanup(func() {
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				})
				return chunktest.Subject{Store: s, Reopen: func(t *testing.T, clean bool) chunk.Store {
					stop := s.Kill
					if clean {
						stop = s.Close
					}
					err := stop()
					s = chunkstore.MustOpen(t, opts)
					if err = errors.Join(err, s.Failed()); err != nil {
						t.Fatal(err)
					}
					return s
				}}
			})
		})
	}
}
