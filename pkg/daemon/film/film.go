package film

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

const (
	// defaultRate is that of the generated film, and of a file whose own is not
	// known: 8 Mbit a second, a film in full HD.
	defaultRate = 1e6

	// generatedFor is how long the generated film lasts: long enough for a
	// lesson's next step, and written in a moment.
	generatedFor = time.Minute

	// leastRate keeps a film that claims to last for ages from standing still.
	leastRate = 1e4
)

// Film is what is played. It is read once, from its beginning to its end.
type Film struct {
	Name           string
	Size           int64
	BytesPerSecond float64
	io.Reader
}

// Generated returns a film that needs no file.
func Generated() *Film {
	size := int64(generatedFor.Seconds() * defaultRate)
	noise := rand.NewChaCha8([32]byte{'f', 'i', 'l', 'm'})
	return &Film{"generated", size, defaultRate, io.LimitReader(noise, size)}
}

// Open returns the film in a file, which stays open until Close.
func Open(path string) (*Film, io.Closer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() == 0) {
		err = &os.PathError{Op: "play", Path: path, Err: errEmpty}
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	rate := defaultRate
	if lasts := duration(f, info.Size()); lasts > 0 {
		rate = max(leastRate, float64(info.Size())/lasts.Seconds())
	}
	return &Film{filepath.Base(path), info.Size(), rate, io.NewSectionReader(f, 0, info.Size())}, f, nil
}
