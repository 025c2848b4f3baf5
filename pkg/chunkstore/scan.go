package chunkstore

import "io"

// gap is a part of a segment in which no record could be read.
type gap struct{ from, to int64 }

// scanned is what a scan of headers found.
type scanned struct {
	end    int64 // behind the last record
	closed bool  // a table stands there
	framed int64 // and takes so much
	low    bool
	gaps   []gap
}

// scan reads the headers of a segment of the given size, calls fn for each
// record, and looks for the next header where there is none.
func (g *segment) scan(size int64, fn func(r record, off int64)) scanned {
	w := window{g: g, size: size}
	s := scanned{low: true} // unless the head says otherwise
	for off := int64(0); off+headerSize <= size; {
		r, err := w.record(off)
		switch {
		case err != nil || off+r.size() > size:
			next := w.resync(off + grain)
			if next < 0 {
				return s
			}
			s.gaps = append(s.gaps, gap{off, next})
			off, s.end = next, next
			continue
		case r.kind == kindTable:
			s.closed, s.framed = true, r.size()
			return s
		case r.kind == kindSeal:
			return s // its table is damaged
		case r.kind == kindHead:
			s.low = r.flags&flagLow != 0
		default:
			fn(r, off)
		}
		off += r.size()
		s.end = off
	}
	return s
}

// window reads a segment in pieces, so that headers that stand close together
// take one read.
type window struct {
	g    *segment
	size int64
	off  int64
	buf  []byte
}

const (
	windowNear = 64 << 10 // read so much where the last header was near
	windowFar  = 4 << 10  // and so much where payloads must be skipped
)

// at returns the header's bytes at off, or nil where they cannot be read.
func (w *window) at(off int64) []byte {
	if off < w.off || off+headerSize > w.off+int64(len(w.buf)) {
		n := int64(windowNear)
		if off >= w.off+int64(len(w.buf))+windowFar {
			n = windowFar
		}
		w.off = off
		w.buf = append(w.buf[:0], make([]byte, min(n, w.size-off))...)
		got, err := w.g.file.ReadAt(w.buf, off)
		if w.buf = w.buf[:got]; err != nil && err != io.EOF || got < headerSize {
			w.buf = w.buf[:0]
			return nil
		}
	}
	i := off - w.off
	return w.buf[i : i+headerSize]
}

func (w *window) record(off int64) (record, error) {
	b := w.at(off)
	if b == nil {
		return record{}, errRecord
	}
	return decodeRecord(b, headerSeed(w.g.seed, at(w.g.id, off)))
}

// resync returns the offset of the next intact header, or -1.
func (w *window) resync(off int64) int64 {
	for off+headerSize <= w.size {
		b := w.at(off)
		if b == nil {
			off += windowFar // the medium cannot read here
			continue
		}
		if _, err := decodeRecord(b, headerSeed(w.g.seed, at(w.g.id, off))); err == nil {
			return off
		}
		off += grain
	}
	return -1
}
