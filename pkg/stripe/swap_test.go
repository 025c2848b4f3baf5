package stripe

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"rozobox/pkg/chunk"
)

// unexpected is so many blocks that nobody expects a flush after each write.
const unexpected = promptVersions + 1

// overwrite changes bytes of a block as a client's small write does.
func (m *modelled) overwrite(block uint64, lo int, data []byte) {
	m.Helper()
	if err := m.a.Overwrite(m.Context(), block, lo, data); err != nil {
		m.Fatal(err)
	}
	copy(m.bytes[int(block)*testBlock+lo:], data)
}

// TestI3ASwapChangesAllChunksAlike, and nothing is read for it.
func TestI3ASwapChangesAllChunksAlike(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		m := newModelled(r, unexpected)
		defer func() { r.close(m.a) }()
		r.flush(m.a)
		before := r.read()
		for i := range 5 {
			m.overwrite(0, 800*i, bytes.Repeat([]byte{byte(i + 1)}, 160))
		}
		if n := r.read() - before; n != 0 {
			t.Errorf("%d chunks were read", n)
		}
		if n := m.unsettledPatches(0); n != 5 {
			t.Errorf("%d patches", n)
		}
		m.checkAnyFour(0)
		r.abandon(m.a)
		m.a = r.open()
		m.checkAnyFour(0)
	})
}

// TestI3ASwapInAHomeThatWasStartedAnew: its card has lost the version before, of
// which no other was synced, and has an older one.
func TestI3ASwapInAHomeThatWasStartedAnew(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		m := newModelled(r, unexpected)
		defer r.close(m.a)
		r.flush(m.a)
		m.overwrite(0, 0, bytes.Repeat([]byte("lost by one card"), 4))
		r.stores[m.homes(0)[0]].Crash(0)
		m.overwrite(0, 16, []byte("upon what is not"))
		m.checkAnyFour(0)
		r.flush(m.a)
		m.checkAnyFour(0)
	})
}

// TestI9ASwapWhoseHomeFallsSilent does not wait until that is declared out. When
// the home wakes it carries the swap out.
func TestI9ASwapWhoseHomeFallsSilent(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		m := newModelled(r, unexpected)
		defer r.close(m.a)
		for range 40 {
			m.overwrite(0, 2048, bytes.Repeat([]byte("how long it takes usually"), 16))
		}
		r.flush(m.a)
		home := m.homes(0)[0]
		r.links[home].Freeze()
		begin := time.Now()
		m.overwrite(0, 0, bytes.Repeat([]byte("silent"), 8))
		if took := time.Since(begin); took > r.opts.withDefaults().NodeTimeout/2 {
			t.Errorf("it took %s", took)
		}
		m.check()
		r.links[home].Heal()
		r.flush(m.a)
		m.checkAnyFour(0)
	})
}

// TestI3ASwapThatIsOvertaken: its client has given up, and another writes the block
// before anybody knows what it was. It still becomes the version that it was to be.
func TestI3ASwapThatIsOvertaken(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		m := newModelled(r, unexpected)
		defer r.close(m.a)
		for block := range uint64(6) {
			r.flush(m.a)
			m.a.unhurried()
			m.overtake(block)
			r.flush(m.a)
			m.checkAnyFour(block)
		}
	})
}

func (m *modelled) overtake(block uint64) {
	m.Helper()
	home := m.homes(block)[0]
	m.links[home].Freeze()
	ctx, cancel := context.WithCancel(m.Context())
	done := m.begin(func() error { return m.a.Overwrite(ctx, block, 0, bytes.Repeat([]byte("overtaken"), 16)) })
	synctest.Wait()
	m.a.mu.Lock()
	swap := m.a.ledger.latest[block]
	m.a.mu.Unlock()
	cancel()
	if <-done == nil {
		m.Fatal("it was not given up")
	}
	written := m.begin(func() error { return m.a.WriteBlock(m.Context(), block, content(block, 2)) })
	time.Sleep(500 * time.Millisecond) // it is not declared out
	m.links[home].Heal()
	if err := <-written; err != nil {
		m.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond) // the home has all that was sent
	m.alike(swap)
	copy(m.bytes[block*testBlock:], content(block, 2))
}

// alike checks that all chunks of a version, which is not the newest, are of one
// content.
func (m *modelled) alike(w *write) {
	m.Helper()
	shards := make([][]byte, m.a.geo.Width())
	for i, home := range m.homes(w.block) {
		shards[i] = make([]byte, m.a.geo.ChunkSize())
		get := chunk.Get{Block: w.block, Index: uint8(i), AtMost: w.version, Dst: shards[i]}
		got, err := m.stores[home].Read(m.Context(), m.a.peers[home].term(), []chunk.Get{get})
		if err != nil || got[0].Version != w.version {
			m.Fatalf("chunk %d: version %s, %v, want %s", i, got[0].Version, err, w.version)
		}
	}
	data := bytes.Join(shards[:m.a.geo.Data], nil)
	again, err := m.a.encode(data)
	if err != nil {
		m.Fatal(err)
	}
	for i := range again {
		if !bytes.Equal(again[i], shards[i]) {
			m.Errorf("chunk %d of version %s is another content's", i, w.version)
		}
	}
}

// TestOverwriteWhereNothingIs: in a hole there is nothing to swap.
func TestOverwriteWhereNothingIs(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		m := newModelled(r, 2)
		defer r.close(m.a)
		m.bytes = append(m.bytes, make([]byte, testBlock)...)
		if err := m.a.Discard(r.Context(), 1); err != nil {
			t.Fatal(err)
		}
		clear(m.bytes[testBlock:])
		for block := uint64(1); block < 3; block++ {
			m.overwrite(block, 1024, []byte("in a hole as yet"))
			m.overwrite(block, 1040, []byte("and then in what"))
		}
		m.check()
		r.flush(m.a)
		m.check()
	})
}

// TestI1ASwapThatWasNeverSent: its home falls silent with as many others under way
// as may be, and its client has given up. W still passes it.
func TestI1ASwapThatWasNeverSent(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		m := newModelled(r, 60)
		defer r.close(m.a)
		r.flush(m.a)
		const home = 3
		r.links[home].Freeze()
		ctx := r.patience(time.Millisecond)
		swaps := 0
		for block := range uint64(60) {
			for i, n := range m.homes(block)[:m.a.geo.Data] {
				if n != home {
					continue
				}
				lo, data := i*m.a.geo.ChunkSize(), []byte("so many of these")
				go m.a.Overwrite(ctx, block, lo, data) // not replied to, and yet it will be
				synctest.Wait()                        // so that each is sent alone
				copy(m.bytes[int(block)*testBlock+lo:], data)
				swaps++
			}
		}
		if swaps <= eagerWindow {
			t.Fatalf("%d swaps", swaps)
		}
		time.Sleep(2 * time.Second) // the home is declared out
		if err := m.a.Flush(r.patience(time.Second)); err != nil {
			t.Error(err)
		}
		m.check()
		r.links[home].Heal()
	})
}

// TestI3ASwapUponWhatItsHomeLacks is not sent: the home was started anew since.
func TestI3ASwapUponWhatItsHomeLacks(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		a := r.open()
		defer r.close(a)
		l := newLedger(a.sb, a.place, 0)
		home := int(a.place.Place(1)[2])
		for n := range l.nodes {
			l.nodes[n].instance = chunk.InstanceID{1}
		}
		sent := func(v chunk.Version) bool {
			return l.add(v, 1, payload{swap: &swap{index: 2, data: make([]byte, 16)}}).swapCopy() != nil
		}
		before := l.add(5, 1, payload{chunks: make([][]byte, l.width)})
		if sent(6) {
			t.Error("sent before the home has the version before")
		}
		for _, c := range before.copies {
			c.state, c.instance = acknowledged, chunk.InstanceID{1}
		}
		l.latest[1] = before
		if !sent(7) {
			t.Error("not sent")
		}
		l.restarted(home, chunk.InstanceID{2})
		l.latest[1] = before
		if sent(8) {
			t.Error("sent to a home that may have lost the version before")
		}
	})
}

// TestAWriteThatIsFlushedIsNoSwap: its nodes are asked to sync all at once.
func TestAWriteThatIsFlushedIsNoSwap(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		m := newModelled(r, 1)
		defer r.close(m.a)
		before := uint64(0)
		for i := range 12 {
			if i == 2 { // it is expected from now on
				before = r.read()
			}
			m.overwrite(0, 0, []byte("and then a flush"))
			r.flush(m.a)
		}
		if n := r.read() - before; n != 10 {
			t.Errorf("of 10 writes %d were not swaps", n)
		}
	})
}
