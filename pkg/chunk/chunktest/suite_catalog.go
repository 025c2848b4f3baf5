package chunktest

import (
	"fmt"
	"slices"

	"rozobox/pkg/chunk"
)

var catalogTests = []suiteTest{
	{"ListPages", testListPages},
	{"ListSinceAndEnd", testListSince},
	{"ListBounds", testListBounds},
	{"StatCounts", testStat},
}

// fill writes entries of three blocks and returns them in order.
func fill(r *rig) (want []chunk.Entry) {
	for _, block := range []uint64{1, 2, 1 << 40} {
		for _, index := range []uint8{0, 3, 31} {
			for n := range chunk.Version(3) {
				v := 10*n + chunk.Version(index) + 1
				e := chunk.Entry{Position: chunk.Position{Block: block, Index: index, Version: v}}
				if n == 2 {
					e.Tombstone = true
					r.write(tombstoneOp(block, index, v))
				} else {
					r.write(putOp(block, index, v))
				}
				want = append(want, e)
			}
		}
	}
	return want
}

func testListPages(r *rig) {
	want := fill(r)
	for _, page := range []int{1, 2, 5, len(want), len(want) + 1, chunk.MaxListEntries} {
		if got := r.list(0, page); !slices.Equal(got, want) {
			r.Errorf("pages of %d: got %v, want %v", page, got, want)
		}
	}
	_, more, err := r.store.List(r.ctx, r.term, chunk.ListRequest{Limit: len(want)})
	r.must(err)
	if more {
		r.Error("more, after everything")
	}
}

func testListSince(r *rig) {
	all := fill(r)
	for _, since := range []chunk.Version{1, 10, 14, 52, 1 << 50} {
		want := slices.DeleteFunc(slices.Clone(all), func(e chunk.Entry) bool { return e.Version <= since })
		if got := r.list(since, 4); !slices.Equal(got, want) {
			r.Errorf("since %d: got %v, want %v", since, got, want)
		}
	}
	for _, end := range []uint64{1, 2, 3, 1 << 40, 1<<40 + 1} {
		want := slices.DeleteFunc(slices.Clone(all), func(e chunk.Entry) bool { return e.Block >= end })
		got, more, err := r.store.List(r.ctx, r.term, chunk.ListRequest{End: end, Limit: 1000})
		r.must(err)
		if !slices.Equal(got, want) || more {
			r.Errorf("end %d: got %v (more %v), want %v", end, got, more, want)
		}
	}
}

func testListBounds(r *rig) {
	for _, limit := range []int{-1, 0, chunk.MaxListEntries + 1} {
		_, _, err := r.store.List(r.ctx, r.term, chunk.ListRequest{Limit: limit})
		r.wantErr(fmt.Sprintf("limit %d", limit), err, chunk.ErrInvalid)
	}
}

func testStat(r *rig) {
	before, err := r.store.Stat(r.ctx)
	r.must(err)
	r.write(putOp(1, 0, 5), putOp(1, 0, 10), tombstoneOp(2, 0, 10)) // both puts have 1 KiB
	r.write(dropOp(9, 0, 10))                                       // is not counted
	r.has(1, 0, 10)
	r.sync()
	h, err := r.store.Hello(r.ctx)
	r.must(err)
	st, err := r.store.Stat(r.ctx)
	r.must(err)
	if st.Node != h.Node || st.Store != h.Store || st.Instance != h.Instance || st.ReadOnly {
		r.Errorf("stat %+v of %+v", st, h)
	}
	if st.Writes != before.Writes+3 || st.Reads != before.Reads+2 || st.Syncs != before.Syncs+1 {
		r.Errorf("%d writes, %d reads, %d syncs", st.Writes, st.Reads, st.Syncs)
	}
	if st.Chunks != 3 || st.CapacityBytes == 0 || st.FreeBytes == 0 || st.UsedBytes < 2048 ||
		st.Uptime <= 0 || st.Idle > st.Uptime {
		r.Errorf("stat %+v", st)
	}
	i := slices.IndexFunc(st.Volumes, func(v chunk.VolumeStat) bool { return v.ID == r.term.Volume })
	if i < 0 || st.Volumes[i].Chunks != 3 || st.Volumes[i].StoredBytes != 1024 {
		r.Errorf("volumes %+v", st.Volumes)
	}
}
