package chunktest

import (
	"testing"

	"rozobox/pkg/chunk"
)

func TestMemory(t *testing.T) {
	Suite(t, func(t *testing.T) Subject {
		m := NewMemory("pi1")
		return Subject{Store: m, Reopen: func(t *testing.T, clean bool) chunk.Store {
			if clean {
				m.Restart()
			} else {
				m.Crash(len(m.Unsynced()) / 2)
			}
			return m
		}}
	})
}
