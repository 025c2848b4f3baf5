// Package crashfs is a file system in memory that loses power, for tests of
// stores. It forgets what was not synced, as real ones may:
//
//	file content: every write since the file's last Sync is kept, lost, or torn
//	              into sectors, each on its own, in any combination
//	names:        of the changes since the last SyncDir a prefix is kept
//
// It can cut the power before any change, answer calls with errors, and tell
// the order of what was done.
package crashfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"

	"rozobox/pkg/chunkstore"
)

// ErrPowerOff is the answer to every call after the power was cut.
var ErrPowerOff = errors.New("crashfs: the power is off")

// sector is the unit that a card writes whole.
const sector = 512

// FS is a directory. It is safe for concurrent use.
type FS struct {
	mu      sync.Mutex // guards all below, and the files
	names   map[string]*node
	durable map[string]*node
	pending []func(names map[string]*node) // changes of names since SyncDir
	changes int
	cut     int
	off     bool
	locked  bool
	trace   []string
	fault   func(op, name string) error
	stall   map[string]chan struct{}
	free    uint64
	size    uint64 // of the disk; 0: endless
}

var _ chunkstore.FS = (*FS)(nil)

// node is a file's content: what is read now, and what a sync has kept.
type node struct {
	content []byte
	durable []byte
	writes  []write // since the last sync
}

// write is one change of a content: a write, or a truncation.
type write struct {
	off      int64
	data     []byte
	truncate bool
}

// New returns an empty directory.
func New() *FS {
	return &FS{names: map[string]*node{}, durable: map[string]*node{}, free: 1 << 40}
}

// CutAfter cuts the power when so many more changes have begun; the last of
// them may or may not happen. 0 means never.
func (f *FS) CutAfter(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes, f.cut = 0, n
}

// Off reports whether the power was cut.
func (f *FS) Off() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.off
}

// Fault answers calls: fault gets the operation (create, write, truncate,
// sync, rename, remove, syncdir, read) and the file's name, and returns nil to
// let it happen. A write that fails has half of its effect.
func (f *FS) Fault(fault func(op, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// Stall makes calls of an operation wait, after they have been noted, until
// the channel is closed.
func (f *FS) Stall(op string, until chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stall = map[string]chan struct{}{op: until}
}

// Resize makes the disk so large: a write that needs more fails with ENOSPC,
// and Available tells what is left.
func (f *FS) Resize(size uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size = size
}

// Used tells how many bytes all files take.
func (f *FS) Used() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used()
}

func (f *FS) used() (n uint64) {
	for _, file := range f.names {
		n += uint64(len(file.content))
	}
	return n
}

// SetAvailable sets what Available answers while the disk is endless.
func (f *FS) SetAvailable(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.free = n
}

// Trace returns what was changed since the last call, in order.
func (f *FS) Trace() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.trace
	f.trace = nil
	return t
}

// Keep says what a crash leaves of what was not synced.
type Keep int

const (
	Nothing    Keep = iota // only what was synced
	Everything             // as when only the process dies
	Torn                   // anything in between
)

// Crash returns what is found after power has come back. The old FS is off.
func (f *FS) Crash(keep Keep, rng *rand.Rand) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.off = true
	after := New()
	after.free, after.size = f.free, f.size
	names := maps.Clone(f.durable)
	n := len(f.pending)
	switch keep {
	case Nothing:
		n = 0
	case Torn:
		n = rng.IntN(n + 1)
	}
	for _, change := range f.pending[:n] {
		change(names)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		content := names[name].survivor(keep, rng)
		after.durable[name] = &node{content: content, durable: slices.Clone(content)}
	}
	after.names = maps.Clone(after.durable)
	return after
}

func (n *node) survivor(keep Keep, rng *rand.Rand) []byte {
	content := slices.Clone(n.durable)
	for _, w := range n.writes {
		if keep == Everything || keep == Torn && rng.IntN(2) == 0 {
			content = w.apply(content)
		} else if keep == Torn && !w.truncate && rng.IntN(2) == 0 {
			content = w.tear(content, rng)
		}
	}
	return content
}

func (w *write) apply(b []byte) []byte {
	if w.truncate {
		return append(b, make([]byte, max(0, int(w.off)-len(b)))...)[:w.off]
	}
	if end := int(w.off) + len(w.data); end > len(b) {
		b = append(b, make([]byte, end-len(b))...)
	}
	copy(b[w.off:], w.data)
	return b
}

// tear applies some sectors of the write.
func (w *write) tear(b []byte, rng *rand.Rand) []byte {
	for from := w.off; from < w.off+int64(len(w.data)); {
		to := min((from/sector+1)*sector, w.off+int64(len(w.data)))
		if rng.IntN(2) == 0 {
			b = (&write{off: from, data: w.data[from-w.off : to-w.off]}).apply(b)
		}
		from = to
	}
	return b
}

// begin notes a change, and fails it when the power is off or a fault is set.
func (f *FS) begin(op, name, detail string) error {
	if f.off {
		return ErrPowerOff
	}
	if f.fault != nil {
		if err := f.fault(op, name); err != nil {
			return &fs.PathError{Op: op, Path: name, Err: err}
		}
	}
	f.changes++
	f.trace = append(f.trace, op+" "+name+detail)
	if f.changes == f.cut {
		f.off = true
	}
	return nil
}

// end answers the change during which the power went off.
func (f *FS) end() error {
	if f.off {
		return ErrPowerOff
	}
	return nil
}

func (f *FS) rename(change func(names map[string]*node)) {
	change(f.names)
	f.pending = append(f.pending, change)
}

// Open implements chunkstore.FS.
func (f *FS) Open(name string, create bool) (chunkstore.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return nil, ErrPowerOff
	}
	n, found := f.names[name]
	switch {
	case create && found:
		return nil, &fs.PathError{Op: "create", Path: name, Err: syscall.EEXIST}
	case !create && !found:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
	case create:
		if err := f.begin("create", name, ""); err != nil {
			return nil, err
		}
		n = &node{}
		f.rename(func(names map[string]*node) { names[name] = n })
		if err := f.end(); err != nil {
			return nil, err
		}
	}
	return &file{fs: f, name: name, node: n}, nil
}

// List implements chunkstore.FS.
func (f *FS) List() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return nil, ErrPowerOff
	}
	return slices.Sorted(maps.Keys(f.names)), nil
}

// Rename implements chunkstore.FS.
func (f *FS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin("rename", from, " "+to); err != nil {
		return err
	}
	n := f.names[from]
	if n == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: syscall.ENOENT}
	}
	f.rename(func(names map[string]*node) {
		delete(names, from)
		names[to] = n
	})
	return f.end()
}

// Remove implements chunkstore.FS.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return ErrPowerOff
	}
	if f.names[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOENT}
	}
	if err := f.begin("remove", name, ""); err != nil {
		return err
	}
	f.rename(func(names map[string]*node) { delete(names, name) })
	return f.end()
}

// SyncDir implements chunkstore.FS.
func (f *FS) SyncDir() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin("syncdir", "", ""); err != nil {
		return err
	}
	if err := f.end(); err != nil {
		return err
	}
	f.durable, f.pending = maps.Clone(f.names), nil
	return nil
}

// Lock implements chunkstore.FS.
func (f *FS) Lock(name string) (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.locked {
		return nil, fmt.Errorf("%s: %w", name, syscall.EWOULDBLOCK)
	}
	f.locked = true
	return unlocker{f}, nil
}

type unlocker struct{ f *FS }

func (u unlocker) Close() error {
	u.f.mu.Lock()
	defer u.f.mu.Unlock()
	u.f.locked = false
	return nil
}

// Available implements chunkstore.FS.
func (f *FS) Available() (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size > 0 {
		return f.size - min(f.used(), f.size), nil
	}
	return f.free, nil
}

// Corrupt changes a file behind the store's back, durably.
func (f *FS) Corrupt(name string, change func(content []byte) []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.names[name]
	n.content = change(slices.Clone(n.content))
	n.durable, n.writes = slices.Clone(n.content), nil
}
