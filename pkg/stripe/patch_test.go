package stripe

import (
	"bytes"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"rozobox/pkg/chunk"
)

// modelled is a volume's first blocks beside what they should be.
type modelled struct {
	*rig
	a     *Array
	bytes []byte
}

func newModelled(r *rig, blocks int) *modelled {
	m := &modelled{rig: r, a: r.open(), bytes: make([]byte, blocks*testBlock)}
	for b := range uint64(blocks) {
		r.write(m.a, b, 1)
		copy(m.bytes[b*testBlock:], content(b, 1))
	}
	return m
}

// update changes bytes of a block as a client's write does.
func (m *modelled) update(block uint64, lo int, data []byte) {
	m.Helper()
	err := m.a.Update(m.Context(), block, lo, lo+len(data), func(p []byte) bool {
		if want := m.bytes[int(block)*testBlock+lo:][:len(p)]; !bytes.Equal(p, want) {
			m.Errorf("block %d: at %d there is %.16q, want %.16q", block, lo, p, want)
		}
		copy(p, data)
		return true
	})
	if err != nil {
		m.Fatal(err)
	}
	copy(m.bytes[int(block)*testBlock+lo:], data)
}

func (m *modelled) check() {
	m.Helper()
	got := make([]byte, len(m.bytes))
	if err := m.a.ReadAt(m.Context(), got, 0); err != nil {
		m.Fatal(err)
	}
	for i := range got {
		if got[i] != m.bytes[i] {
			m.Fatalf("block %d reads %.16q at %d, want %.16q", i/testBlock, got[i:], i%testBlock, m.bytes[i:])
		}
	}
}

// checkAnyFour reads with each two homes of a block silent, so that every chunk
// is needed once.
func (m *modelled) checkAnyFour(block uint64) {
	m.Helper()
	homes := m.homes(block)
	for i, first := range homes {
		for _, second := range homes[i+1:] {
			m.links[first].Freeze()
			m.links[second].Freeze()
			m.check()
			m.links[first].Heal()
			m.links[second].Heal()
			time.Sleep(time.Second) // no longer under suspicion
		}
	}
}

// homes returns the nodes of a block's chunks.
func (m *modelled) homes(block uint64) []uint8 { return m.a.place.Place(block)[:m.a.geo.Width()] }

func (m *modelled) unsettledPatches(block uint64) int {
	m.a.mu.Lock()
	defer m.a.mu.Unlock()
	if w := m.a.ledger.latest[block]; w != nil {
		return len(w.lineage().patches)
	}
	return 0
}

func TestSmallWriteSendsTheDifference(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		m := newModelled(r, 1)
		defer r.close(m.a)
		r.flush(m.a)
		before := r.written()
		m.update(0, 1000, []byte("0123456789abcdef0123456789abcdef"))
		sent := r.written() - before
		// 24 bytes in the first chunk, 8 in the second: whole chunks of both,
		// and of two of parity.
		if want := uint64(4 * m.a.geo.ChunkSize()); sent != want {
			t.Errorf("%d bytes sent for 32 across two chunks, want %d", sent, want)
		}
		before = r.written()
		m.update(0, 32, []byte("0123456789abcdef"))
		if sent := r.written() - before; sent != 3*16 {
			t.Errorf("%d bytes sent for 16, want %d", sent, 3*16)
		}
		m.check()
		r.flush(m.a)
		m.check()
	})
}

// Three quarters of a block are a patch, more is a whole block.
func TestLargeWriteSendsTheBlock(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		m := newModelled(r, 2)
		defer r.close(m.a)
		const most = testBlock / 4 * patchShare
		for block, patches := range []int{1, 0} {
			m.update(uint64(block), 0, bytes.Repeat([]byte{'x'}, most+block*chunk.ChunkAlign))
			if n := m.unsettledPatches(uint64(block)); n != patches {
				r.Errorf("block %d: written as %d patches, want %d", block, n, patches)
			}
		}
		m.check()
	})
}

// written returns how many bytes the nodes were given, and read how many chunks
// they were asked for.
func (r *rig) written() uint64 { return r.sum(func(s chunk.Stat) uint64 { return s.WriteBytes }) }
func (r *rig) read() uint64    { return r.sum(func(s chunk.Stat) uint64 { return s.Reads }) }

func (r *rig) sum(figure func(chunk.Stat) uint64) (n uint64) {
	for _, s := range r.stores {
		stat, err := s.Stat(r.Context())
		if err != nil {
			r.Fatal(err)
		}
		n += figure(stat)
	}
	return n
}

// Each version of a block is read from any k of its chunks, so all of them must
// have been patched alike (I3).
func TestI3PatchedChunksAreOneVersion(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		m := newModelled(r, 1)
		defer func() { r.close(m.a) }()
		for i := range 5 {
			m.update(0, 700*i, bytes.Repeat([]byte{byte(i)}, 500))
		}
		if n := m.unsettledPatches(0); n != 5 {
			t.Fatalf("%d patches", n)
		}
		m.checkAnyFour(0)
		r.abandon(m.a)
		m.a = r.open()
		m.check()
	})
}

// TestI1PatchesReachSpares: a home dies before what it acknowledged was synced;
// the spare needs its whole chunk, of base and patches.
func TestI1PatchesReachSpares(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		m := newModelled(r, 1)
		defer r.close(m.a)
		r.flush(m.a)
		for i := range 3 {
			m.update(0, 900*i, bytes.Repeat([]byte{byte(i)}, 300))
		}
		homes := m.homes(0)
		r.links[homes[0]].Cut()
		r.flush(m.a)
		r.links[homes[1]].Cut()
		time.Sleep(2 * time.Second)
		m.update(0, 4000, []byte("degraded"))
		r.flush(m.a)
		m.check()
		r.links[homes[2]].Freeze() // 3 of 6 homes are left, and two spares
		m.check()
		r.links[homes[2]].Heal()
	})
}

// A node that restarts may have lost the base of what it is sent next.
func TestPatchWithoutBaseIsSentWhole(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		m := newModelled(r, 1)
		defer r.close(m.a)
		m.update(0, 0, []byte("patch of what no card has synced"))
		homes := m.homes(0)
		r.stores[homes[0]].Crash(0)
		m.update(0, 2000, []byte("patch upon a patch"))
		r.flush(m.a)
		m.check()
		r.links[homes[1]].Freeze()
		r.links[homes[2]].Freeze()
		m.check()
		r.links[homes[1]].Heal()
		r.links[homes[2]].Heal()
	})
}

// settler has reads wait, once armed, until all is settled and the nodes have
// freed what is superseded: the first read sees to that.
type settler struct {
	*rig
	a     *Array
	armed atomic.Bool
	begun atomic.Bool
	done  chan struct{}
}

func newSettler(r *rig) *settler {
	s := &settler{rig: r, done: make(chan struct{})}
	for i := range r.opts.Nodes {
		r.opts.Nodes[i].Store = &meddled{Store: r.links[i], read: s.read}
	}
	return s
}

func (s *settler) read() {
	switch {
	case !s.armed.Load():
	case s.begun.Swap(true):
		<-s.done
	default:
		s.flush(s.a)
		s.a.mark()
		close(s.done)
	}
}

// TestReadMeetsAPatchThatSettles:
//
//	read: the base is wanted ───────────── the node is asked: it is gone
//	             the patch is flushed, W is told ┘
func TestReadMeetsAPatchThatSettles(t *testing.T) {
	for _, decoded := range []bool{false, true} {
		inRig(t, 8, func(r *rig) {
			s := newSettler(r)
			m := newModelled(r, 1)
			s.a = m.a
			defer r.close(m.a)
			r.flush(m.a)
			m.update(0, 0, []byte("patch"))
			m.a.mu.Lock()
			m.a.peers[m.homes(0)[0]].suspect = decoded
			m.a.mu.Unlock()
			s.armed.Store(true)
			got := make([]byte, 16)
			if err := m.a.ReadAt(r.Context(), got, 0); err != nil || !bytes.Equal(got, m.bytes[:16]) {
				t.Errorf("read %q, %v, want %q", got, err, m.bytes[:16])
			}
			if !s.begun.Load() || m.unsettledPatches(0) != 0 {
				t.Error("the patch was not settled meanwhile")
			}
		})
	}
}

// TestWholeChunkOfAPatchThatSettles: a node begins to follow while a patch is
// not settled, which W passes while its whole chunk is computed.
func TestWholeChunkOfAPatchThatSettles(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		s := newSettler(r)
		m := newModelled(r, 1)
		s.a = m.a
		defer r.close(m.a)
		r.flush(m.a)
		home := int(m.homes(0)[0])
		m.a.unhurried()
		m.update(0, 0, []byte("patch"))
		m.a.declareOut([]int{home})
		r.stores[home].Crash(0)
		time.Sleep(500 * time.Millisecond) // it is known again
		s.armed.Store(true)
		if err := m.a.Follow(home); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if c, _ := r.held(home, 0); !s.begun.Load() || c.Version != m.a.newest() {
			t.Errorf("the node has version %s, want %s", c.Version, m.a.newest())
		}
		m.a.Unfollow(home)
		m.check()
	})
}

// A patch builds upon the nodes' copies once W has passed the version before.
func TestLineageEndsAtW(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		defer r.close(a)
		l := newLedger(a.sb, a.place, 0)
		add := func(v chunk.Version) *write {
			return l.add(v, 1, payload{patched: &patch{base: v - 1, differences: make([][]byte, l.width)}})
		}
		older, newer := add(6), add(7)
		if got := newer.lineage(); got.base != 5 || len(got.patches) != 2 {
			t.Errorf("of two unsettled patches: base %s, %d patches", got.base, len(got.patches))
		}
		for _, c := range older.copies {
			c.state = synced
		}
		l.settle()
		if got := newer.lineage(); got.base != 6 || len(got.patches) != 1 || got.root != nil {
			t.Errorf("of one: base %s, %d patches", got.base, len(got.patches))
		}
	})
}

// Nodes that follow get whole chunks, also of what was written as patches before
// they did.
func TestNodeThatFollowsGetsWholeChunks(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		m := newModelled(r, 1)
		defer r.close(m.a)
		r.flush(m.a)
		home := int(m.homes(0)[0])
		r.links[home].Cut()
		time.Sleep(2 * time.Second)
		r.links[home].Heal()
		time.Sleep(time.Second)
		m.update(0, 10, []byte("written while one is out"))
		if n := m.unsettledPatches(0); n != 0 {
			t.Errorf("%d patches while a home is out", n)
		}
		if err := m.a.Follow(home); err != nil {
			t.Fatal(err)
		}
		m.update(0, 3000, []byte("written while it follows"))
		r.flush(m.a)
		time.Sleep(time.Second)
		c, ok := r.held(home, 0)
		if !ok || c.Version != m.a.newest() {
			t.Errorf("the node that follows has version %s, want %s", c.Version, m.a.newest())
		}
		m.a.Unfollow(home)
		m.check()
	})
}

func (a *Array) newest() chunk.Version {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.newestLocked()
}

// held returns the newest that a node's card has of a block.
func (r *rig) held(node int, block uint64) (newest chunk.Entry, ok bool) {
	for _, e := range r.stores[node].Held(r.volume) {
		if e.Block == block {
			newest, ok = e, true
		}
	}
	return newest, ok
}

// TestI2PatchesUnderFaults writes, reads and flushes at random while nodes
// restart, are cut off and return, and the gateway dies.
func TestI2PatchesUnderFaults(t *testing.T) {
	for seed := range uint64(20) {
		inRig(t, 8, func(r *rig) { patchAtRandom(r, seed) })
	}
}

func patchAtRandom(r *rig, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	r.Logf("seed %d", seed)
	m := newModelled(r, 4)
	defer func() { r.close(m.a) }()
	mortal := rng.Perm(8)[:2] // nobody repairs here, so that they stay out
	for range 300 {
		block := rng.Uint64N(4)
		switch rng.IntN(24) {
		case 0:
			r.write(m.a, block, 2)
			copy(m.bytes[block*testBlock:], content(block, 2))
		case 1:
			if err := m.a.Discard(r.Context(), block); err != nil {
				r.Fatal(err)
			}
			clear(m.bytes[block*testBlock:][:testBlock])
		case 2:
			r.flush(m.a)
		case 3:
			m.check()
		case 4:
			if seed%2 == 1 {
				r.links[mortal[rng.IntN(2)]].Cut()
			}
		case 5:
			r.links[mortal[rng.IntN(2)]].Heal()
			time.Sleep(2 * time.Second)
		case 6, 7:
			r.stores[rng.IntN(8)].Crash(rng.IntN(8))
		case 8:
			r.abandon(m.a)
			m.a = r.open()
		default:
			lo := rng.IntN(testBlock)
			data := make([]byte, 1+rng.IntN(min(testBlock/2, testBlock-lo)))
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
			m.update(block, lo, data)
		}
	}
	m.check()
}

// What a node's death makes the gateway compute must stay little.
func TestI9UnsettledPatchesAreBounded(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		r.opts.SyncEvery = time.Hour
		m := newModelled(r, 8)
		defer r.close(m.a)
		r.flush(m.a)
		for i := range 2 * manyPatches {
			m.update(uint64(i%8), i%1000, []byte("x"))
		}
		time.Sleep(time.Second)
		m.a.mu.Lock()
		defer m.a.mu.Unlock()
		if n := m.a.ledger.patches; n >= manyPatches {
			t.Errorf("%d patches are unsettled, want less than %d", n, manyPatches)
		}
	})
}
