package cluster

import (
	"math/bits"
	"testing"

	"rozobox/pkg/chunk"
)

// history is what happened to one block of a 4+2 volume on 6 homes and 2
// spares, before everything stopped: version 1 was flushed, version 2 was sent
// and reached some of its holders.
type history struct {
	out      int  // homes 0..out-1 were out all along, spares stood in
	reached  uint // holders that have version 2, as a set of chunk indexes
	damaged  uint // holders whose version 2 is damaged
	away     uint // holders that do not answer now, by chunk index
	onlySent bool // version 1 does not exist: 2 is the first write
}

const (
	width, data = 6, 4
	all         = 1<<width - 1
	v1, v2      = chunk.Version(1), chunk.Version(2)
)

// flushed reports whether the client may have been told that 2 is durable:
// every holder has synced it.
func (h history) flushed() bool { return h.reached == all }

func (h history) evidence() Evidence {
	e := Evidence{Data: data, Watermark: v1, Complete: h.away == 0}
	for i := range uint(width) {
		if h.away>>i&1 != 0 {
			continue
		}
		home := int(i) >= h.out
		if home {
			e.Homes = append(e.Homes, uint8(i))
		}
		if !h.onlySent {
			e.Records = append(e.Records, Record{Index: uint8(i), Version: v1, In: true, Home: home})
		}
		if h.reached>>i&1 != 0 {
			e.Records = append(e.Records, Record{Index: uint8(i), Version: v2, In: true, Home: home,
				Damaged: h.damaged>>i&1 != 0})
		}
	}
	return e
}

// TestI1I2EveryRecovery tries every set of holders that version 2 may have
// reached, every two that may be away, and every one that may be damaged. What
// was flushed is never given up, what was not is version 1 or 2, and nothing
// waits that need not.
func TestI1I2EveryRecovery(t *testing.T) {
	cases := 0
	for out := range 3 {
		for reached := range uint(all + 1) {
			for away := range uint(all + 1) {
				for damaged := range uint(width + 1) {
					for _, onlySent := range []bool{false, true} {
						h := history{out: out, reached: reached, damaged: 1 << damaged & all & reached,
							away: away, onlySent: onlySent}
						check(t, h)
						cases++
					}
				}
			}
		}
	}
	t.Logf("%d cases", cases)
}

func check(t *testing.T, h history) {
	t.Helper()
	verdict, v := Decide(h.evidence())
	intact := bits.OnesCount(h.reached &^ h.away &^ h.damaged)
	switch {
	case intact >= data && (verdict != Take || v != v2):
		t.Errorf("%+v: version 2 can be read, but verdict %d of %s", h, verdict, v)
	case h.flushed() && verdict != Wait && v != v2:
		t.Errorf("%+v: flushed version given up: verdict %d of %s", h, verdict, v)
	case !h.onlySent && verdict == Blank:
		t.Errorf("%+v: flushed version 1 forgotten", h)
	case h.away == 0 && h.damaged == 0 && verdict == Wait:
		t.Errorf("%+v: waits although every node answers", h)
	case verdict == Take && v == v1 && bits.OnesCount(all&^h.away) < data:
		t.Errorf("%+v: version 1 taken from too few chunks", h)
	}
}

// TestTrapFlushedWriteRolledBackForOneHolderAway: a write of which 4 chunks
// were placed was flushed; one of its holders is away at the takeover. Three
// chunks answer, and every home that answers has it: it must wait.
func TestTrapFlushedWriteRolledBackForOneHolderAway(t *testing.T) {
	e := Evidence{Data: data, Watermark: v1, Homes: []uint8{1, 2, 3}}
	for i := range uint8(4) {
		if i == 0 {
			continue // away
		}
		for _, v := range []chunk.Version{v1, v2} {
			e.Records = append(e.Records, Record{Index: i, Version: v, In: true, Home: true})
		}
	}
	if verdict, v := Decide(e); verdict != Wait || v != v2 {
		t.Errorf("verdict %d of %s, want Wait for version 2", verdict, v)
	}
}

// TestTrapOnlyAReturningNodeKnows: a version that a node which is out has, and
// no home that is in, was never flushed.
func TestTrapOnlyAReturningNodeKnows(t *testing.T) {
	e := Evidence{Data: data, Watermark: v1, Homes: []uint8{1, 2, 3, 4, 5}}
	e.Records = []Record{{Index: 0, Version: v2, Home: true}}
	for i := uint8(1); i < width; i++ {
		e.Records = append(e.Records, Record{Index: i, Version: v1, In: true, Home: true})
	}
	if verdict, v := Decide(e); verdict != Take || v != v1 {
		t.Errorf("verdict %d of %s, want version 1", verdict, v)
	}
}

// TestI4TombstoneOnlyFromANodeThatIsIn: one readable tombstone is the whole
// content, but not on the word of a node that is out.
func TestI4TombstoneOnlyFromANodeThatIsIn(t *testing.T) {
	e := Evidence{Data: data, Watermark: v1, Homes: []uint8{1, 2, 3, 4, 5}}
	for i := uint8(1); i < width; i++ {
		e.Records = append(e.Records, Record{Index: i, Version: v1, In: true, Home: true})
	}
	tombstone := Record{Index: 0, Version: v2, Home: true, Tombstone: true}
	e.Records = append(e.Records, tombstone)
	if verdict, v := Decide(e); verdict != Take || v != v1 {
		t.Errorf("from a node that is out: verdict %d of %s, want version 1", verdict, v)
	}
	e.Records[len(e.Records)-1].In = true
	if verdict, v := Decide(e); verdict != Take || v != v2 {
		t.Errorf("from a node that is in: verdict %d of %s, want version 2", verdict, v)
	}
}

func TestHolders(t *testing.T) {
	placed := []uint8{3, 1, 4, 0, 5, 2, 7, 6} // homes, then spares 7 and 6
	tests := []struct {
		name string
		not  []int // nodes that are not in
		want []int8
	}{
		{"all in", nil, []int8{3, 1, 4, 0, 5, 2}},
		{"one home out", []int{4}, []int8{3, 1, 7, 0, 5, 2}},
		{"two homes out", []int{2, 3}, []int8{7, 1, 4, 0, 5, 6}},
		{"a home and a spare out", []int{7, 3}, []int8{6, 1, 4, 0, 5, 2}},
		{"three homes out", []int{1, 4, 0}, []int8{3, 7, 6, NoHolder, 5, 2}},
	}
	for _, test := range tests {
		nodes := make([]Member, len(placed))
		for i := range nodes {
			nodes[i].State = In
		}
		for _, n := range test.not {
			nodes[n].State = Out
		}
		holders := []int8{NoHolder, NoHolder, NoHolder, NoHolder, NoHolder, NoHolder}
		Holders(holders, placed, nodes)
		if [6]int8(holders) != [6]int8(test.want) {
			t.Errorf("%s: holders %v, want %v", test.name, holders, test.want)
		}
	}
}

// TestHoldersStay: when another node goes out, the copies that stand already
// do not move.
func TestHoldersStay(t *testing.T) {
	placed := []uint8{0, 1, 2, 3, 4, 5, 6, 7}
	nodes := make([]Member, 8)
	for i := range nodes {
		nodes[i].State = In
	}
	nodes[1].State = Out
	holders := []int8{NoHolder, NoHolder, NoHolder, NoHolder, NoHolder, NoHolder}
	Holders(holders, placed, nodes)
	nodes[0].State = Out
	Holders(holders, placed, nodes)
	if want := [6]int8{7, 6, 2, 3, 4, 5}; [6]int8(holders) != want {
		t.Errorf("holders %v, want %v", holders, want)
	}
}
