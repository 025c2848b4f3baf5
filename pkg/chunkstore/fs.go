package chunkstore

import "io"

// FS is the one directory that a store lives in. Names are plain file names.
// A file or a name is durable only after its Sync or the SyncDir that follows.
type FS interface {
	// Open opens a file for reading and writing; create makes an empty one,
	// and fails if the name exists.
	Open(name string, create bool) (File, error)
	// List returns the names of all files.
	List() ([]string, error)
	// Rename gives a file another name, replacing what has it, in one step.
	Rename(from, to string) error
	// Remove removes a name; who has the file open keeps it.
	Remove(name string) error
	// SyncDir makes all creations, renames and removals before it durable.
	SyncDir() error
	// Lock takes the directory for this process until the result is closed.
	Lock(name string) (io.Closer, error)
	// Available tells how many bytes the file system could still take.
	Available() (uint64, error)
}

// File is one file of an FS. It may be used from many goroutines at once.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes the content and the size durable.
	Sync() error
}
