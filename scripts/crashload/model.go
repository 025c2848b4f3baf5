package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
)

// unit is what the model knows of one unit of the volume. Writes of a unit are
// made one at a time and numbered. The newest number that was sent, replied to,
// and covered by a flush bound what may be read:
//
//	flushed <= replied <= what a read shows <= sent       while the gateway lives, or dies alone
//	flushed <=            what a read shows <= sent       after power was lost
//
// A write whose reply never came may show or not; but once a flush has followed
// a read that showed it, it stays, and once one has followed a read that did
// not, it never comes.
type unit struct {
	sent, replied, flushed uint64
	zeroed                 map[uint64]bool // writes that left zeroes; of older ones than flushed, none
	base                   uint64          // the write that number mark shows; 0: zeroes
	mark                   uint64          // numbers below it are history
	busy                   bool
}

// model is all units.
type model struct {
	seed uint64
	size int // of a unit

	mu    sync.Mutex // guards units; never kept across I/O
	units []unit
}

func newModel(seed uint64, size, count int) *model {
	m := &model{seed: seed, size: size, units: make([]unit, count)}
	for i := range m.units {
		m.units[i].zeroed = make(map[uint64]bool)
	}
	return m
}

// take reserves a random unit that nobody works on.
func (m *model) take(rng *rand.Rand) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		if i := rng.IntN(len(m.units)); !m.units[i].busy {
			m.units[i].busy = true
			return i
		}
	}
}

func (m *model) release(i int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.units[i].busy = false
}

// send numbers a write of unit i, which the caller has taken.
func (m *model) send(i int, zero bool) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := &m.units[i]
	u.sent++
	if zero {
		u.zeroed[u.sent] = true
	}
	return u.sent
}

// reply notes that write n of unit i succeeded; durable if it had FUA.
func (m *model) reply(i int, n uint64, durable bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := &m.units[i]
	u.replied = n
	if durable {
		u.cover(n)
	}
}

// snapshot returns what a flush that begins now will cover.
func (m *model) snapshot() []uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	covered := make([]uint64, len(m.units))
	for i := range m.units {
		covered[i] = m.units[i].replied
	}
	return covered
}

// flushed notes that the flush succeeded.
func (m *model) flushed(covered []uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, n := range covered {
		m.units[i].cover(n)
	}
}

func (u *unit) cover(n uint64) {
	if n <= u.flushed {
		return
	}
	u.flushed = n
	for old := range u.zeroed {
		if old < n {
			delete(u.zeroed, old)
		}
	}
}

// check compares what was read of unit i with what may be there: nothing older
// than the last replied write, or where power was lost the last flushed one.
func (m *model) check(i int, content []byte, powerLost bool) error {
	shown, zeroes, err := m.parse(i, content)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	u := &m.units[i]
	low := u.replied
	if powerLost {
		low = u.flushed
	}
	for n := low; n <= u.sent; n++ {
		if u.shows(n, shown, zeroes) {
			return nil
		}
	}
	what := fmt.Sprintf("write %d", shown)
	if zeroes {
		what = "zeroes"
	}
	return fmt.Errorf("unit %d reads as %s: sent up to %d, replied %d, flushed %d, settled %d as %d",
		i, what, u.sent, u.replied, u.flushed, u.mark, u.base)
}

// shows reports whether number n looks like what was read.
func (u *unit) shows(n, shown uint64, zeroes bool) bool {
	switch {
	case n == u.mark:
		return zeroes == (u.base == 0) && shown == u.base
	case n < u.mark:
		return false
	}
	return zeroes == u.zeroed[n] && (zeroes || shown == n)
}

// settle makes what was read, and then flushed, the only thing that unit i may
// show from now on: writes without a reply can no longer appear.
func (m *model) settle(i int, content []byte) {
	shown, _, _ := m.parse(i, content) // checked before, and 0 for zeroes
	m.mu.Lock()
	defer m.mu.Unlock()
	u := &m.units[i]
	u.base, u.mark = shown, u.sent
	u.replied, u.flushed = u.sent, u.sent
	clear(u.zeroed)
}

// A unit is sectors of 512 bytes. Each tells the seed of the run, the unit, the
// write and its own place, and the rest of it follows from these: a sector out
// of place or of another write shows.
const sector = 512

// fill writes the content of write n of unit i.
func (m *model) fill(p []byte, i int, n uint64) {
	for s := 0; s < len(p); s += sector {
		rng := rand.NewPCG(m.seed^uint64(i)<<20^uint64(s), n)
		head := p[s:s:len(p)]
		for _, v := range []uint64{m.seed, uint64(i), n, uint64(s)} {
			head = binary.BigEndian.AppendUint64(head, v)
		}
		for at := s + len(head); at < s+sector; at += 8 {
			binary.BigEndian.PutUint64(p[at:], rng.Uint64())
		}
	}
}

// parse tells which write of unit i the content is.
func (m *model) parse(i int, content []byte) (n uint64, zeroes bool, err error) {
	if len(bytes.TrimLeft(content, "\x00")) == 0 {
		return 0, true, nil
	}
	n = binary.BigEndian.Uint64(content[16:])
	want := make([]byte, len(content))
	m.fill(want, i, n)
	for s := 0; s < len(content); s += sector {
		if !bytes.Equal(content[s:s+sector], want[s:s+sector]) {
			return 0, false, fmt.Errorf("unit %d is torn or foreign: sector 0 is of write %d, sector %d begins %x",
				i, n, s/sector, content[s:s+32])
		}
	}
	return n, false, nil
}
