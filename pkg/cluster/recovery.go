package cluster

import (
	"slices"

	"rozobox/pkg/chunk"
)

// Evidence is what the members that answer say of one block, when a gateway
// opens a volume whose last gateway may have died in the middle of anything.
type Evidence struct {
	Data int // k

	// Watermark is the highest W known: every version up to it is settled.
	Watermark chunk.Version

	// Complete says that every member answers with its recorded store id, and
	// none that is out was replaced or behind: then nobody else can know more.
	Complete bool

	// Homes are the answering homes of the block that are in, by chunk index.
	// Only their absence means anything (I4).
	Homes []uint8

	// Records are what the answering members hold of the block: all versions
	// above Watermark, and the newest at or below it.
	Records []Record
}

// Record is one version of one chunk on one node. Index is below k+m: the
// caller has checked what nodes say.
type Record struct {
	Index     uint8
	Version   chunk.Version
	Tombstone bool
	Damaged   bool
	In        bool // its node is in
	Home      bool // and is the home of Index
}

// Verdict says how a block is to be recovered.
type Verdict uint8

const (
	// Take means: write the content of the version found once more.
	Take Verdict = iota + 1
	// Blank means: nothing was ever flushed; write a tombstone.
	Blank
	// Wait means: flushed content may be on nodes that are away. Nothing may
	// be decided before they answer.
	Wait
)

// Decide says which version of a block is its content (design, section 8).
// Versions above W are tried newest first. One is taken when it can be read.
// One that cannot be read is passed over only when it was certainly never
// flushed: a flushed version is on every holder, so a home that is in and does
// not have it is the proof; or when no node that could know it is away.
func Decide(e Evidence) (Verdict, chunk.Version) {
	for _, v := range e.unsettled() {
		if e.readable(v) {
			return Take, v
		}
		if !e.neverFlushed(v) {
			return Wait, v
		}
	}
	settled := e.settled()
	switch {
	case settled == 0 && len(e.Homes) > 0: // absence means something on a home only
		return Blank, 0
	case e.readable(settled):
		return Take, settled
	}
	return Wait, settled
}

// unsettled returns the versions above W, newest first.
func (e *Evidence) unsettled() []chunk.Version {
	var versions []chunk.Version
	for _, r := range e.Records {
		if r.Version > e.Watermark {
			versions = append(versions, r.Version)
		}
	}
	slices.Sort(versions)
	versions = slices.Compact(versions)
	slices.Reverse(versions)
	return versions
}

// settled returns the newest version at or below W that a home which is in
// has, readable or not; 0 when none has any.
func (e *Evidence) settled() (newest chunk.Version) {
	for _, r := range e.Records {
		if r.Home && r.In && r.Version <= e.Watermark {
			newest = max(newest, r.Version)
		}
	}
	return newest
}

// readable reports whether the answering nodes give the whole content of v: a
// tombstone on a node that is in, or k chunks of distinct index.
func (e *Evidence) readable(v chunk.Version) bool {
	var indexes uint64
	distinct := 0
	for _, r := range e.Records {
		if r.Version != v || r.Damaged {
			continue
		}
		if r.Tombstone {
			if r.In {
				return true
			}
			continue
		}
		if bit := uint64(1) << r.Index; indexes&bit == 0 {
			indexes |= bit
			distinct++
		}
	}
	return distinct >= e.Data
}

// neverFlushed reports whether v can be proven to have missed a holder. A
// damaged record counts as having it.
func (e *Evidence) neverFlushed(v chunk.Version) bool {
	if e.Complete {
		return true
	}
	return slices.ContainsFunc(e.Homes, func(home uint8) bool {
		return !slices.ContainsFunc(e.Records, func(r Record) bool {
			return r.Home && r.Index == home && r.Version == v
		})
	})
}
