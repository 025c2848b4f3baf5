package chunkstore

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// datasync makes content and size durable, without the times of the file.
func datasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("fdatasync %s: %w", f.Name(), err)
		}
		return nil
	}
}
