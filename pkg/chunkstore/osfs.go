//go:build linux || darwin

package chunkstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// osFS is a directory of the operating system.
type osFS string

// openOS makes the directory where it is missing.
func openOS(dir string) (FS, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("chunkstore: %w", err)
	}
	return osFS(dir), nil
}

func (d osFS) path(name string) string { return filepath.Join(string(d), name) }

func (d osFS) Open(name string, create bool) (File, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := openOrReadOnly(d.path(name), flags)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// openOrReadOnly lets a store on a read-only disk still serve reads.
func openOrReadOnly(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, unix.EROFS) {
		return os.Open(path)
	}
	return f, err
}

func (d osFS) List() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (d osFS) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func (d osFS) Remove(name string) error { return os.Remove(d.path(name)) }

func (d osFS) SyncDir() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d osFS) Lock(name string) (io.Closer, error) {
	f, err := openOrReadOnly(d.path(name), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is held by another process: %w", d.path(name), err)
	}
	return f, nil
}

func (d osFS) Available() (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(string(d), &s); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", string(d), err)
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) Sync() error { return datasync(f.File) }
