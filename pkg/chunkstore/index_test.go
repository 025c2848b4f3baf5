package chunkstore

import (
	"cmp"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"rozobox/pkg/chunk"
)

func compareEntries(a, b entry) int {
	switch {
	case a.less(b):
		return -1
	case b.less(a):
		return 1
	}
	return 0
}

// TestIndexAgainstModel compares the index with a sorted slice, over enough
// entries to split and merge pages.
func TestIndexAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	var x index
	var model []entry
	for n := range 20000 {
		e := entry{key: makeKey(rng.Uint64N(500), uint8(rng.Uint32N(2))), version: chunk.Version(rng.Uint64N(9) + 1)}
		if rng.IntN(8) == 0 {
			e.loc = locDrop
		}
		i, found := slices.BinarySearchFunc(model, e, compareEntries)
		switch remove := rng.IntN(20000) < n; {
		case found != (x.find(e) != nil):
			t.Fatalf("seed %d: find(%v) is wrong", seed, e)
		case found && remove:
			x.remove(e)
			model = slices.Delete(model, i, i+1)
		case !found && !remove:
			x.insert(e)
			model = slices.Insert(model, i, e)
		}
		checkNewest(t, &x, model, makeKey(rng.Uint64N(500), 0), chunk.Version(rng.Uint64N(11)))
		if n%1000 == 0 && !slices.Equal(x.between(nil, 0, ^uint64(0)), model) {
			t.Fatalf("seed %d: step %d: the index differs", seed, n)
		}
	}
}

func checkNewest(t *testing.T, x *index, model []entry, key uint64, atMost chunk.Version) {
	t.Helper()
	var want entry
	for _, e := range model {
		if e.key == key && e.version <= atMost && !e.loc.has(locDrop) {
			want = e
		}
	}
	if got, ok := x.newest(key, atMost); got != want || ok != (want.version != 0) {
		t.Fatalf("newest(%x, %d) is %v, want %v", key, atMost, got, want)
	}
}

func TestLocHoldsItsParts(t *testing.T) {
	l := makeLoc(maxSegments-1, maxSegmentSize-grain, chunk.MaxChunkSize, locDrop|locTombstone|locDamaged)
	if l.slot() != maxSegments-1 || l.offset() != maxSegmentSize-grain || l.length() != chunk.MaxChunkSize ||
		!l.has(locDrop) || !l.has(locTombstone) || !l.has(locDamaged) {
		t.Errorf("%x", l)
	}
}

// fillIndex inserts one version of each of n blocks, in the order of blocks.
func fillIndex(blocks []uint64) *index {
	x := &index{}
	for i, b := range blocks {
		x.insert(entry{key: makeKey(b, uint8(b%6)), version: chunk.Version(i + 1)})
	}
	return x
}

func indexBytes(x *index) int {
	n := cap(x.pages) * (24 + 24) // a page: its first entry and a slice header
	for _, p := range x.pages {
		n += cap(p.items) * 24
	}
	return n
}

// TestIndexTakes32BytesForAChunk holds the index to its size, for a volume
// written in order and at random.
func TestIndexTakes32BytesForAChunk(t *testing.T) {
	const n = 100_000
	order := make([]uint64, n)
	for i := range order {
		order[i] = uint64(i)
	}
	random := slices.Clone(order)
	rand.Shuffle(n, func(i, j int) { random[i], random[j] = random[j], random[i] })
	for name, blocks := range map[string][]uint64{"in order": order, "at random": random} {
		per := float64(indexBytes(fillIndex(blocks))) / n
		t.Logf("%s: %.1f bytes for a chunk", name, per)
		if per > 32 {
			t.Errorf("%s: %.1f bytes for a chunk, want at most 32", name, per)
		}
	}
}

// BenchmarkIndex fills an index of a million chunks at random, and says what
// the runtime has allocated for each.
func BenchmarkIndex(b *testing.B) {
	const n = 1_000_000
	blocks := make([]uint64, n)
	for i := range blocks {
		blocks[i] = uint64(i)
	}
	rand.Shuffle(n, func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		x := fillIndex(blocks)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/chunk")
		runtime.KeepAlive(x)
	}
	b.ReportMetric(cmp.Or(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, 0), "ns/insert")
}
