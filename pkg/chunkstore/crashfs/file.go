package crashfs

import (
	"fmt"
	"io"
	"io/fs"
	"slices"
	"syscall"
)

// file is an open file.
type file struct {
	fs   *FS
	name string
	node *node
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.off {
		return 0, ErrPowerOff
	}
	if f.fs.fault != nil {
		if err := f.fs.fault("read", f.name); err != nil {
			return 0, &fs.PathError{Op: "read", Path: f.name, Err: err}
		}
	}
	if off >= int64(len(f.node.content)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.content[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.fs.begin("write", f.name, fmt.Sprintf(" %d+%d", off, len(p)))
	n := len(p)
	if err == nil {
		err = f.fits(off + int64(n))
	}
	if err != nil {
		n /= 2
	}
	if err == nil || !f.fs.off {
		w := write{off: off, data: slices.Clone(p[:n])}
		f.node.content = w.apply(f.node.content)
		f.node.writes = append(f.node.writes, w)
	}
	if err == nil {
		err = f.fs.end()
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

// fits says whether the disk has room for the file to end there.
func (f *file) fits(end int64) error {
	grows := end - int64(len(f.node.content))
	if f.fs.size == 0 || grows <= 0 || f.fs.used()+uint64(grows) <= f.fs.size {
		return nil
	}
	return &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
}

func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.begin("truncate", f.name, fmt.Sprintf(" %d", size)); err != nil {
		return err
	}
	w := write{off: size, truncate: true}
	f.node.content = w.apply(f.node.content)
	f.node.writes = append(f.node.writes, w)
	return f.fs.end()
}

func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.begin("sync", f.name, ""); err != nil {
		return err
	}
	kept := slices.Clone(f.node.content)
	n := len(f.node.writes)
	if until := f.fs.stall["sync"]; until != nil {
		f.fs.mu.Unlock()
		<-until
		f.fs.mu.Lock()
	}
	if err := f.fs.end(); err != nil {
		return err
	}
	f.node.durable, f.node.writes = kept, f.node.writes[n:]
	return nil
}

func (f *file) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.off {
		return 0, ErrPowerOff
	}
	return int64(len(f.node.content)), nil
}

func (f *file) Close() error { return nil }
