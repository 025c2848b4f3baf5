package simulate

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"
)

// sectorSize is the piece of the volume that one write changes as a whole.
const sectorSize = 512

// moment orders the beginnings and ends of all requests; 0 is before all.
type moment int64

const never moment = math.MaxInt64

// value is what one request wrote into one sector.
type value struct {
	stamp   uint64 // what the sector reads as; 0 for zeroes
	begin   moment
	end     moment // of the request; after it nothing of it is applied
	applied moment // when it was certainly there; never: not known
	durable bool
	buried  moment // after it the sector was seen to hold something newer
	by      *value // that newer something
}

// model knows what each sector of the volume may read as. A sector is a
// register with many writers, and the model asks for the order that a disk
// keeps (linearizability): a value may be read unless another one, certainly
// applied before the read began, was begun after this one had ended; or unless
// a read has shown that it was overwritten.
type model struct {
	mu      sync.Mutex // guards all below
	now     moment
	stamps  uint64
	sectors [][]*value
}

func newModel(size int64) *model {
	m := &model{sectors: make([][]*value, size/sectorSize)}
	for i := range m.sectors {
		m.sectors[i] = []*value{{durable: true, buried: never}}
	}
	return m
}

func (m *model) tickLocked() moment {
	m.now++
	return m.now
}

// change is a request that is under way.
type change struct {
	first  int
	values []*value
}

// begin enters a request for n sectors from first on, and returns the stamp
// that its data must carry; zeroes have none.
func (m *model) begin(first, n int, zeroes bool) (*change, uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	stamp := uint64(0)
	if !zeroes {
		m.stamps++
		stamp = m.stamps
	}
	c, now := &change{first: first}, m.tickLocked()
	for s := first; s < first+n; s++ {
		v := &value{stamp: stamp, begin: now, end: never, applied: never, buried: never}
		m.sectors[s] = append(m.sectors[s], v)
		c.values = append(c.values, v)
	}
	return c, stamp
}

// end notes the reply to a request: done, or an error that leaves either.
func (m *model) end(c *change, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.tickLocked()
	for _, v := range c.values {
		v.end = now
		if err == nil {
			v.applied = min(v.applied, now)
		}
	}
}

// forbid notes that a request must never show: it was sent to a gateway whose
// term was over.
func (m *model) forbid(c *change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, v := range c.values {
		s := c.first + i
		m.sectors[s] = slices.DeleteFunc(m.sectors[s], func(other *value) bool { return other == v })
	}
}

// start returns the moment at which a read or a flush begins.
func (m *model) start() moment {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tickLocked()
}

// flushed notes a flush that began then and was replied to.
func (m *model) flushed(then moment) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s, values := range m.sectors {
		newest := moment(0)
		for _, v := range values {
			if v.applied < then {
				v.durable = true
				newest = max(newest, v.begin)
			}
		}
		m.sectors[s] = slices.DeleteFunc(values, func(v *value) bool { return v.end < newest })
	}
}

// lost notes that more nodes have lost their memory, together with the
// gateway, than a stripe can do without: what was not flushed may be gone.
func (m *model) lost() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, values := range m.sectors {
		for _, v := range values {
			if !v.durable {
				v.applied = never
			}
			if v.by != nil && !v.by.durable {
				v.buried, v.by = never, nil
			}
		}
	}
}

// read checks what a read that began then has returned.
func (m *model) read(then moment, first int, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.tickLocked()
	for i := 0; i < len(data); i += sectorSize {
		s := first + i/sectorSize
		stamp, err := unstamp(s, data[i:i+sectorSize])
		if err != nil {
			return err
		}
		if err := m.readLocked(then, now, s, stamp); err != nil {
			return err
		}
	}
	return nil
}

func (m *model) readLocked(then, now moment, s int, stamp uint64) error {
	var can []*value
	for _, v := range m.sectors[s] {
		if v.stamp == stamp && m.mayRead(s, v, then) {
			can = append(can, v)
		}
	}
	switch len(can) {
	case 0:
		return fmt.Errorf("sector %d reads as write %d, which cannot be: it may be %s",
			s, stamp, m.describe(s, then))
	case 1:
		m.witness(s, can[0], then, now)
	}
	return nil
}

func (m *model) mayRead(s int, v *value, then moment) bool {
	if v.buried < then {
		return false
	}
	return !slices.ContainsFunc(m.sectors[s], func(w *value) bool {
		return w.applied < then && v.end < w.begin
	})
}

// witness draws the conclusions from having read v: it is applied, and what
// ended before the read began will not come back.
func (m *model) witness(s int, v *value, then, now moment) {
	v.applied = min(v.applied, now)
	for _, w := range m.sectors[s] {
		if w != v && w.end < then && w.buried == never {
			w.buried, w.by = now, v
		}
	}
}

func (m *model) describe(s int, then moment) (list []string) {
	for _, v := range m.sectors[s] {
		if m.mayRead(s, v, then) {
			list = append(list, fmt.Sprintf("%d (durable %v)", v.stamp, v.durable))
		}
	}
	return list
}

// stampSectors fills data, which is for the sectors from first on, with stamp.
func stampSectors(first int, stamp uint64, data []byte) {
	for i := 0; i < len(data); i += 16 {
		binary.BigEndian.PutUint64(data[i:], stamp)
		binary.BigEndian.PutUint64(data[i+8:], uint64(first+i/sectorSize))
	}
}

// unstamp returns the stamp of a sector, and an error if it is not whole.
func unstamp(s int, sector []byte) (uint64, error) {
	stamp := binary.BigEndian.Uint64(sector)
	want := make([]byte, sectorSize)
	if stamp != 0 {
		stampSectors(s, stamp, want)
	}
	if !slices.Equal(sector, want) {
		return 0, fmt.Errorf("sector %d is torn or foreign: begins with %x", s, sector[:32])
	}
	return stamp, nil
}
